(defpackage #:hydramesh/main
  (:use #:cl)
  (:import-from #:hydramesh/daemon #:serve)
  (:import-from #:hydramesh/foreign/float-traps #:without-float-traps)
  (:import-from #:hydramesh/foreign/descriptors #:open-standard-descriptors)
  (:import-from #:hydramesh/iot/command #:readings-main)
  (:import-from #:hydramesh/memory #:prepare-heap)
  (:import-from #:hydramesh/plugin/plugin #:plugin-name #:plugin-version #:plugins)
  (:import-from #:hydramesh/policy/command #:policy-main)
  (:import-from #:hydramesh/repl/client #:repl-main)
  (:import-from #:hydramesh/run/command #:run-main)
  (:import-from #:hydramesh/service/flags #:help)
  (:import-from #:hydramesh/service/health #:health-main)
  (:import-from #:hydramesh/service/lifecycle #:run #:+bad-settings+ #:+failed+)
  (:import-from #:hydramesh/service/logs #:log-fault #:describe-condition)
  (:import-from #:hydramesh/settings #:settings-error)
  (:import-from #:hydramesh/storage/history #:history-main)
  (:import-from #:hydramesh/usb4/command #:usb4-main)
  (:import-from #:hydramesh/version #:+version+)
  (:import-from #:sb-posix)
  (:export #:main)
  (:documentation "The program `hydramesh`: what its arguments ask for, and how it ends."))
(in-package #:hydramesh/main)

(defun command (arguments environment)
  "Do what ARGUMENTS, strings, say in ENVIRONMENT, an alist; return the exit status."
  (let ((word (first arguments)))
    (cond ((equal word "--version")
           (show "hydramesh ~A~%~:{plugin ~A ~A~%~}" +version+
                 (loop for plugin in (plugins)
                       collect (list (plugin-name plugin) (plugin-version plugin))))
           0)
          ((equal word "health")
           (health-main (rest arguments) environment))
          ((equal word "history")
           (history-main (rest arguments) environment))
          ((equal word "policy")
           (policy-main (rest arguments) environment))
          ((equal word "readings")
           (readings-main (rest arguments) environment))
          ((equal word "usb4")
           (usb4-main (rest arguments) environment))
          ((equal word "repl")
           (repl-main (rest arguments) environment))
          ((equal word "run")
           (without-float-traps
             (run-main (rest arguments) environment)))
          (t
           (serve-quietly arguments environment)))))

(defun serve-quietly (arguments environment)
  ;; A number of a peer's that is too large or none at all is no fault of arithmetic, here or in C.
  (without-float-traps
    (run arguments environment #'serve)))

(defun main ()
  "Do what the arguments say, and end the process with a status that says how it went."
  (prepare)
  (finish (handler-case (tell (lambda () (command (arguments) (environment))))
            (settings-error (condition)
              (say *error-output* "hydramesh: ~A~%" condition)
              +bad-settings+)
            (serious-condition (condition)
              (say *error-output* "hydramesh: ~A~%" (describe-condition condition))
              +failed+))))

(defun tell (function)
  "Call FUNCTION and return the exit status that it returns; print the help if it signals HELP."
  (handler-case (handler-case (funcall function)
                  (help (condition)
                    (show "~A" condition)
                    0))
    (stream-error (condition)
      (let ((reason (princ-to-string condition)))
        (flet ((because (number)
                 (let ((text (sb-int:strerror number)))
                   (and (search text reason) text))))
          ;; Who reads a pipe and leaves has seen enough.
          (unless (because sb-posix:epipe)
            (say *error-output* "hydramesh: standard output cannot be written~@[: ~A~]~%"
                 (some #'because (list sb-posix:enospc sb-posix:eio sb-posix:ebadf sb-posix:efbig))))))
      +failed+)))

(defparameter +lenient+ (list :utf-8 :replacement (code-char #xdcff))
  "UTF-8 in which what is none becomes half of a surrogate pair, which no setting may have.")

(defun text-at (bytes)
  "Return the C string at the alien pointer BYTES."
  (let* ((size (loop for index from 0
                     when (zerop (sb-alien:deref bytes index)) return index))
         (octets (make-array size :element-type '(unsigned-byte 8))))
    (dotimes (index size)
      (setf (aref octets index) (sb-alien:deref bytes index)))
    (sb-ext:octets-to-string octets :external-format +lenient+)))

(defmacro c-strings (name)
  "Return what C's array of strings called NAME holds up to a null."
  `(loop with array = (sb-alien:extern-alien ,name (* (* (sb-alien:unsigned 8))))
         for index from 0
         for bytes = (sb-alien:deref array index)
         until (sb-alien:null-alien bytes)
         collect (text-at bytes)))

(defun arguments ()
  ;; Of SBCL there are none at all if one of them is not UTF-8: the cluster key would be left out.
  (rest (c-strings "posix_argv")))

(defun environment ()
  (loop for entry in (c-strings "environ")
        for end = (position #\= entry)
        when end
          collect (cons (subseq entry 0 end) (subseq entry (1+ end)))))

;;; The process

(defun prepare ()
  "Make this process a program's, whatever started it."
  (prepare-heap)
  (open-standard-descriptors)
  ;; What goes on in a cluster is nobody else's business, whoever may open the folder that it is kept in.
  (sb-posix:umask #o077)
  ;; SBCL's own debugger would print what functions were called with, which is nobody's business.
  (sb-ext:disable-debugger)
  (setf sb-ext:*invoke-debugger-hook* #'end-at-fault)
  ;; Until somebody handles them, as in any program.
  (dolist (signal (list sb-unix:sigint sb-unix:sigterm sb-unix:sighup))
    (sb-sys:enable-interrupt signal :default))
  (sb-sys:enable-interrupt sb-unix:sigpipe :ignore)
  ;; Text is UTF-8 whatever the locale says.
  (setf sb-ext:*default-external-format* :utf-8
        *standard-output* (output 1)
        *error-output* (output 2)))

(defun end-at-fault (condition hook)
  (declare (ignore hook))
  (log-fault "a fault in a thread ends the program; please report this" condition)
  (finish +failed+))

(defun output (descriptor)
  (sb-sys:make-fd-stream descriptor :output t :buffering :full
                                    :external-format '(:utf-8 :replacement #\?)))

(defun show (control &rest arguments)
  "Write to standard output. Signal STREAM-ERROR if that is not possible."
  (apply #'format *standard-output* control arguments)
  (finish-output *standard-output*))

(defun say (stream control &rest arguments)
  "Write to STREAM, if anybody still reads it."
  (handler-case (progn (apply #'format stream control arguments)
                       (finish-output stream))
    (stream-error ())))

(defun finish (status)
  "End the process at once; no thread is waited for."
  (sb-ext:exit :code status :abort t))
