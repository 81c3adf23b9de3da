(defpackage #:hydramesh/foreign/outside
  (:use #:cl)
  (:import-from #:cffi)
  (:export #:call-outside)
  (:documentation "Calls of foreign functions that may wait for a disk.

The garbage collector stops every thread of Lisp, and waits for one that waits for a disk until the disk
answers, since the system lets nothing interrupt that. So what may wait for a disk is called on a thread
that Lisp does not know; that a Lisp thread waits for it disturbs nobody."))
(in-package #:hydramesh/foreign/outside)

(defconstant +attributes+ 128 "Bytes; pthread_attr_t has fewer.")
(defconstant +signals+ 128 "Bytes of a sigset_t.")

(defun block-signals (attributes)
  "Let signals go to other threads than the one that is made with ATTRIBUTES: their handlers are Lisp."
  ;; Where there is no such function, SBCL passes on what it gets there.
  (let ((function (cffi:foreign-symbol-pointer "pthread_attr_setsigmask_np")))
    (when function
      (cffi:with-foreign-object (signals :char +signals+)
        (cffi:foreign-funcall "sigfillset" :pointer signals :int)
        (cffi:foreign-funcall-pointer function () :pointer attributes :pointer signals :int)))))

(defun start-thread (thread function argument)
  "Start a thread that calls FUNCTION with ARGUMENT, and put its name at THREAD. Return whether there is one."
  (cffi:with-foreign-object (attributes :char +attributes+)
    (cffi:foreign-funcall "pthread_attr_init" :pointer attributes :int)
    (unwind-protect
         (progn
           (block-signals attributes)
           (zerop (cffi:foreign-funcall "pthread_create" :pointer thread :pointer attributes
                                                         :pointer function :pointer argument :int)))
      (cffi:foreign-funcall "pthread_attr_destroy" :pointer attributes :int))))

(defun call-outside (function argument)
  "Call the foreign FUNCTION with ARGUMENT, both pointers, and return the int that it returns."
  (cffi:with-foreign-objects ((thread :unsigned-long) (result :pointer))
    (if (start-thread thread function argument)
        (progn
          (cffi:foreign-funcall "pthread_join" :unsigned-long (cffi:mem-ref thread :unsigned-long)
                                               :pointer result :int)
          (cffi:mem-ref result :int))
        ;; There are too many threads; better a pause of the collector than nothing.
        (cffi:foreign-funcall-pointer function () :pointer argument :int))))
