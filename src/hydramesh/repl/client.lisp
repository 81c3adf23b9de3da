(defpackage #:hydramesh/repl/client
  (:use #:cl)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/repl/session #:+at-a-terminal+ #:+not-at-a-terminal+ #:+end+)
  (:import-from #:hydramesh/settings #:load-settings #:settings-repl-socket)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:sb-bsd-sockets)
  (:export #:repl-main)
  (:documentation "`hydramesh repl`: standard input goes to a running head, and what it says to standard output."))
(in-package #:hydramesh/repl/client)

(defparameter +help+ "usage: hydramesh repl [--socket PATH] [--SETTING VALUE]...

Looks into a running head whose repl_socket is set. (help) lists what there is. What comes from a pipe is
evaluated form by form; the status is 1 if one of them fails.

options:
  -h, --help            show this help message and exit
  --socket PATH         the head's repl_socket (default: that of --config, or DAIIC_REPL_SOCKET)
")

(defun complain (format &rest arguments)
  (format *error-output* "hydramesh: ~?~%" format arguments)
  (finish-output *error-output*))

(defun as-setting (argument)
  "Return ARGUMENT with --socket under the setting's name."
  (let ((flag (subseq argument 0 (position #\= argument))))
    (if (string= flag "--socket")
        (concatenate 'string "--repl-socket" (subseq argument (length flag)))
        argument)))

(defun repl-main (arguments environment)
  "Do what ARGUMENTS, strings, ask for in ENVIRONMENT, an alist; return the exit status.
Signal SETTINGS-ERROR if they are wrong."
  (cond ((intersection arguments '("-h" "--help") :test #'string=)
         (write-string +help+)
         (finish-output)
         0)
        (t
         (let ((path (settings-repl-socket (load-settings (mapcar #'as-setting arguments) environment))))
           (cond ((string= path "")
                  (complain "which head? Give --socket PATH, the repl_socket of the head's settings")
                  2)
                 (t (attach path)))))))

(defun attach (path)
  (let ((socket (make-instance 'sb-bsd-sockets:local-socket :type :stream)))
    (unwind-protect
         (handler-case (sb-bsd-sockets:socket-connect socket path)
           (sb-bsd-sockets:socket-error (condition)
             (complain "no head can be reached at ~A: ~A. It has to run with repl_socket set to this, and only ~
                        its own user and root can open it"
                       (printable path)
                       (reason-of condition))
             1)
           (error () ; a name that is too long, most of all
             (complain "~A cannot be a socket's name" (printable path))
             1)
           (:no-error (&rest ignored)
             (declare (ignore ignored))
             (exchange (sb-bsd-sockets:socket-file-descriptor socket))))
      (handler-case (sb-bsd-sockets:socket-close socket :abort t)
        (error ())))))

;;; Bytes

(defconstant +shutdown-writing+ 1 "SHUT_WR, Linux's.")

(defun read-some (descriptor buffer)
  "Return how many bytes were read into BUFFER; 0 at the end, or if there can be no more."
  (loop
    (multiple-value-bind (count errno)
        (sb-sys:with-pinned-objects (buffer)
          (sb-unix:unix-read descriptor (sb-sys:vector-sap buffer) (length buffer)))
      (cond (count (return count))
            ((/= errno sb-unix:eintr) (return 0))))))

(defun write-all (descriptor buffer end)
  "Write the first END bytes of BUFFER; return whether that was possible."
  (loop with start = 0
        while (< start end)
        do (multiple-value-bind (count errno) (sb-unix:unix-write descriptor buffer start (- end start))
             (cond (count (incf start count))
                   ((/= errno sb-unix:eintr) (return nil))))
        finally (return t)))

(defun send-input (descriptor)
  "Pass standard input on, until it ends."
  (let ((buffer (make-array 65536 :element-type '(unsigned-byte 8))))
    (loop for count = (read-some 0 buffer)
          while (and (plusp count) (write-all descriptor buffer count)))
    (cffi:foreign-funcall "shutdown" :int descriptor :int +shutdown-writing+ :int)))

(defun exchange (descriptor)
  "Let standard input and output be those of the session at DESCRIPTOR; return its exit status."
  (let* ((terminal (eql 1 (sb-unix:unix-isatty 0)))
         (greeting (sb-ext:string-to-octets
                    (format nil "~A~%" (if terminal +at-a-terminal+ +not-at-a-terminal+))))
         (buffer (make-array 65536 :element-type '(unsigned-byte 8)))
         (ended nil))
    (write-all descriptor greeting (length greeting))
    (sb-thread:make-thread #'send-input :name "input" :arguments (list descriptor))
    (loop
      (let* ((count (read-some descriptor buffer))
             (end (position (char-code +end+) buffer :end count)))
        (when (zerop count)
          (complain "the head has ended the session")
          (return 1))
        (cond (ended (return (status (aref buffer 0))))
              ((not (write-all 1 buffer (or end count))) (return 1))
              ((null end))
              ((< (1+ end) count)
               (return (status (aref buffer (1+ end)))))
              (t (setf ended t)))))))

(defun status (byte)
  (if (= byte (char-code #\0)) 0 1))
