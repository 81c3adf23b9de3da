(defpackage #:hydramesh/foreign/descriptors
  (:use #:cl)
  (:import-from #:sb-posix)
  (:export #:open-standard-descriptors)
  (:documentation "The descriptors with which every process begins."))
(in-package #:hydramesh/foreign/descriptors)

(defun open-standard-descriptors ()
  "Let none of the descriptors 0, 1 and 2 be that of the file that is opened next.
To be called before any is: the log of a process that was started without one would be written there."
  (dotimes (descriptor 3)
    (handler-case (sb-posix:fcntl descriptor sb-posix:f-getfd)
      (sb-posix:syscall-error ()
        ;; The lowest that is free, which is this one.
        (sb-posix:open "/dev/null" sb-posix:o-rdwr)))))
