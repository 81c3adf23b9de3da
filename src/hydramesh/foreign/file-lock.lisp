(defpackage #:hydramesh/foreign/file-lock
  (:use #:cl)
  (:import-from #:cffi)
  (:import-from #:sb-posix)
  (:export #:lock-file #:unlock-file)
  (:documentation "Locks on files that end with the process, however it ends."))
(in-package #:hydramesh/foreign/file-lock)

(defconstant +exclusive+ 2)
(defconstant +at-once+ 4)
(defconstant +close-on-exec+ #o2000000 "O_CLOEXEC on Linux.")

(defun lock-file (path)
  "Lock the file at PATH, a native name, which is made if there is none.
Return what `unlock-file` takes, or NIL if another has it. Signal SB-POSIX:SYSCALL-ERROR."
  (let ((descriptor (sb-posix:open path (logior sb-posix:o-rdwr sb-posix:o-creat +close-on-exec+) #o600)))
    (if (zerop (cffi:foreign-funcall "flock" :int descriptor :int (logior +exclusive+ +at-once+) :int))
        descriptor
        (progn (sb-posix:close descriptor) nil))))

(defun unlock-file (descriptor)
  "Give up the lock that `lock-file` returned."
  (sb-posix:close descriptor))
