(defpackage #:hydramesh/foreign/poll
  (:use #:cl)
  (:import-from #:cffi #:defcfun #:mem-ref #:with-foreign-object)
  (:export #:poll)
  (:documentation "Waiting for several file descriptors."))
(in-package #:hydramesh/foreign/poll)

(defcfun ("poll" %poll) :int (fds :pointer) (count :unsigned-long) (milliseconds :int))

;; Linux's numbers.
(defconstant +pollin+ 1)
(defconstant +pollout+ 4)

(defconstant +size+ 8 "Bytes of a struct pollfd.")

(defun poll (descriptors milliseconds)
  "Wait until one of DESCRIPTORS is ready: a list of (descriptor . interest), which is :input or :output.
Return those that are, or that have failed, as a list of descriptors: none after MILLISECONDS, or at a
signal."
  (with-foreign-object (block :uint8 (* +size+ (length descriptors)))
    (flet ((at (index)
             (cffi:inc-pointer block (* index +size+))))
      (loop for (descriptor . interest) in descriptors
            for index from 0
            do (setf (mem-ref (at index) :int) descriptor
                     (mem-ref (at index) :short 4) (ecase interest
                                                     (:input +pollin+)
                                                     (:output +pollout+))
                     (mem-ref (at index) :short 6) 0))
      (when (plusp (%poll block (length descriptors) milliseconds))
        (loop for (descriptor) in descriptors
              for index from 0
              unless (zerop (mem-ref (at index) :short 6))
                collect descriptor)))))
