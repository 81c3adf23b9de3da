(defpackage #:hydramesh/foreign/outside
  (:use #:cl)
  (:import-from #:cffi)
  (:export #:call-outside)
  (:documentation "Calls of foreign functions that may wait for a disk.

The garbage collector stops every thread of Lisp, and waits for one that waits for a disk until the disk
answers, since the system lets nothing interrupt that. So what may wait for a disk is called on a thread
that Lisp does not know; that a Lisp thread waits for it disturbs nobody."))
(in-package #:hydramesh/foreign/outside)

(defun call-outside (function argument)
  "Call the foreign FUNCTION with ARGUMENT, both pointers, and return the int that it returns."
  (cffi:with-foreign-objects ((thread :unsigned-long) (result :pointer))
    (if (zerop (cffi:foreign-funcall "pthread_create" :pointer thread :pointer (cffi:null-pointer)
                                                      :pointer function :pointer argument :int))
        (progn
          (cffi:foreign-funcall "pthread_join" :unsigned-long (cffi:mem-ref thread :unsigned-long)
                                               :pointer result :int)
          (cffi:mem-ref result :int))
        ;; There are too many threads; better a pause of the collector than nothing.
        (cffi:foreign-funcall-pointer function () :pointer argument :int))))
