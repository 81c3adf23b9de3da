(defpackage #:hydramesh/bounded-file
  (:use #:cl)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:sb-posix)
  (:export #:read-bounded #:read-standard-input #:unreadable-file #:unreadable-file-reason #:file-mode)
  (:documentation "Reading a file that somebody else wrote: a regular one, and no more than so many
bytes of it."))
(in-package #:hydramesh/bounded-file)

(define-condition unreadable-file (error)
  ((reason :initarg :reason :reader unreadable-file-reason
           :documentation "Why, for people; as the system says it if it was a system call."))
  (:report (lambda (condition stream)
             (write-string (unreadable-file-reason condition) stream)))
  (:documentation "A file cannot be read, is not a regular file, or is larger than allowed."))

(defun refuse (reason)
  (error 'unreadable-file :reason reason))

(defun check-regular (found)
  (let ((kind (logand (sb-posix:stat-mode found) sb-posix:s-ifmt)))
    (cond ((= kind sb-posix:s-ifdir) (refuse "Is a directory"))
          ((/= kind sb-posix:s-ifreg) (refuse "it is not a regular file")))))

(defun amount (size)
  (if (>= size (ash 1 20))
      (format nil "~D MiB" (ash size -20))
      (format nil "~D KiB" (ash size -10))))

(defun check-name (path)
  ;; What foreign functions get ends at the first null, and is UTF-8.
  (when (find-if (lambda (character)
                   (or (char= character (code-char 0))
                       (<= #xd800 (char-code character) #xdfff)))
                 path)
    (refuse "no file can have this name")))

(defmacro with-system-reasons (&body body)
  `(handler-case (progn ,@body)
     (sb-posix:syscall-error (condition)
       (refuse (reason-of condition)))))

(defun read-descriptor (descriptor most)
  "Return all that can be read from DESCRIPTOR, or NIL if that is more than MOST bytes."
  (let* ((buffer (make-array (1+ most) :element-type '(unsigned-byte 8)))
         (end (with-open-stream (stream (sb-sys:make-fd-stream descriptor :buffering :full
                                                               :element-type '(unsigned-byte 8)))
                (read-sequence buffer stream))))
    (when (<= end most)
      (subseq buffer 0 end))))

(defun read-bounded (path most)
  "Return the content of the file PATH, a string, at most MOST bytes; never wait for a pipe or device.
Signal UNREADABLE-FILE if there is no such file, if it cannot be read or is larger."
  (check-name path)
  (with-system-reasons
    ;; A pipe or a device is not even opened: that alone may block, or move a tape.
    (check-regular (sb-posix:stat path))
    (let ((descriptor (sb-posix:open path (logior sb-posix:o-rdonly sb-posix:o-nonblock))))
      (unwind-protect
           (progn
             (check-regular (sb-posix:fstat descriptor))
             (or (handler-case (read-descriptor (shiftf descriptor nil) most)
                   (stream-error () (refuse "Input/output error")))
                 (refuse (format nil "it is larger than ~A" (amount most)))))
        (when descriptor
          (sb-posix:close descriptor))))))

(defun read-standard-input (most)
  "Return all that comes from the standard input, at most MOST bytes. Signal UNREADABLE-FILE if that fails."
  (or (handler-case (with-system-reasons
                      (read-descriptor (sb-posix:dup 0) most))
        (stream-error () (refuse "Input/output error")))
      (refuse (format nil "it is larger than ~A" (amount most)))))

(defun file-mode (path)
  "Return the permission bits of the file PATH. Signal UNREADABLE-FILE if there is none."
  (check-name path)
  (with-system-reasons
    (logand (sb-posix:stat-mode (sb-posix:stat path)) #o7777)))
