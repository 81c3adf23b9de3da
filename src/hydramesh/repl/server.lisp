(defpackage #:hydramesh/repl/server
  (:use #:cl)
  (:import-from #:hydramesh/foreign/poll #:poll)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/repl/console #:make-console)
  (:import-from #:hydramesh/repl/session #:converse #:+end+)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:sb-bsd-sockets)
  (:import-from #:sb-posix)
  (:export #:open-repl #:close-repl #:repl-refused)
  (:documentation "The Unix socket at which sessions of the REPL begin.

Whoever can open it can do whatever the head can, so only its owner can, and it lies in a folder where
nobody else can put another in its place. Each session has a thread of its own."))
(in-package #:hydramesh/repl/server)

(defconstant +most-sessions+ 8 "At a time; more are turned away.")

(defconstant +longest-path+ 107 "Bytes of a Unix socket's name.")

(define-condition repl-refused (error)
  ((text :initarg :text))
  (:report (lambda (condition stream) (write-string (slot-value condition 'text) stream)))
  (:documentation "There can be no REPL at the path that was named; the text says what to do."))

(defun refuse (path format &rest arguments)
  (error 'repl-refused :text (format nil "repl_socket ~A cannot be used: ~?" path format arguments)))

(defstruct repl
  (path "" :type string :read-only t)
  (socket nil :read-only t)
  (console nil :read-only t)
  (sessions 0 :type sb-ext:word)
  (thread nil)
  (closing nil))

;;; The socket

(defmacro with-reasons ((path) &body body)
  `(handler-case (progn ,@body)
     (sb-posix:syscall-error (condition)
       (refuse ,path "~A" (reason-of condition)))))

(defun check-folder (path)
  "Refuse PATH if others could put another socket there."
  (let* ((slash (position #\/ path :from-end t))
         (folder (cond ((null slash) ".")
                       ((zerop slash) "/")
                       (t (subseq path 0 slash))))
         (found (with-reasons (path) (sb-posix:stat folder))))
    (unless (member (sb-posix:stat-uid found) (list 0 (sb-posix:geteuid)))
      (refuse path "~A belongs to another user" folder))
    (when (logtest (sb-posix:stat-mode found) #o022)
      (refuse path "other users can write to ~A: choose a folder of this user's own, or run `chmod go-w ~A`"
              folder folder))))

(defun answered-p (path)
  "Return whether a process answers at PATH."
  (let ((socket (make-instance 'sb-bsd-sockets:local-socket :type :stream)))
    (unwind-protect
         (handler-case (progn (sb-bsd-sockets:socket-connect socket path) t)
           (sb-bsd-sockets:socket-error () nil))
      (sb-bsd-sockets:socket-close socket))))

(defun clear (path)
  "Remove the socket that a head which has crashed left at PATH. Refuse PATH if anything else is there."
  (let ((found (handler-case (sb-posix:lstat path)
                 (sb-posix:syscall-error (condition)
                   (unless (= (sb-posix:syscall-errno condition) sb-posix:enoent)
                     (refuse path "~A" (reason-of condition)))))))
    (when found
      (unless (= (logand (sb-posix:stat-mode found) sb-posix:s-ifmt) sb-posix:s-ifsock)
        (refuse path "something is there already, and it is no socket"))
      (when (answered-p path)
        (refuse path "another process serves there"))
      (with-reasons (path) (sb-posix:unlink path)))))

(defun listening-socket (path)
  (let ((socket (make-instance 'sb-bsd-sockets:local-socket :type :stream)) (opened nil))
    (unwind-protect
         (progn
           ;; Linux makes the socket's file with the mode that the descriptor has.
           (sb-posix:fchmod (sb-bsd-sockets:socket-file-descriptor socket) #o600)
           (handler-case (sb-bsd-sockets:socket-bind socket path)
             (sb-bsd-sockets:socket-error (condition)
               (refuse path "~A" (reason-of condition))))
           (with-reasons (path) (sb-posix:chmod path #o600))
           (sb-bsd-sockets:socket-listen socket +most-sessions+)
           (setf (sb-bsd-sockets:non-blocking-mode socket) t
                 opened t)
           socket)
      (unless opened
        (sb-bsd-sockets:socket-close socket)))))

(defun open-repl (path core event-loop now)
  "Serve sessions at PATH, a string, that look at CORE through EVENT-LOOP; NOW is a function for the time.
Return what `close-repl` takes, NIL if PATH is empty. Signal REPL-REFUSED if PATH cannot be used."
  (unless (string= path "")
    (when (or (find (code-char 0) path)
              (> (length (sb-ext:string-to-octets path :external-format :utf-8)) +longest-path+))
      (refuse path "a socket's name has ~D bytes at most" +longest-path+))
    (check-folder path)
    (clear path)
    (let ((repl (make-repl :path path
                           :socket (listening-socket path)
                           :console (make-console :core core :event-loop event-loop :now now))))
      (setf (repl-thread repl)
            (sb-thread:make-thread #'serve :name "REPL" :arguments (list repl)))
      (log-info "repl" :socket path)
      repl)))

(defun close-repl (repl)
  "Serve no more sessions; those that are open are not waited for. NIL is left alone."
  (when repl
    (setf (repl-closing repl) t)
    (sb-thread:join-thread (repl-thread repl) :default nil :timeout 2)))

;;; Sessions

(defun serve (repl)
  (let* ((socket (repl-socket repl))
         (interests (list (cons (sb-bsd-sockets:socket-file-descriptor socket) :input))))
    (unwind-protect
         (loop until (repl-closing repl)
               do (handler-case
                      (when (poll interests 500)
                        (let ((connection (sb-bsd-sockets:socket-accept socket)))
                          (when connection
                            (begin repl connection))))
                    (error (condition)
                      (log-warning "a connection to the REPL could not be taken"
                                   :reason (princ-to-string condition))
                      (sleep 1))))
      (handler-case (progn (sb-bsd-sockets:socket-close socket)
                           (sb-posix:unlink (repl-path repl)))
        (error ())))))

(defun begin (repl connection)
  "Let CONNECTION be a session, if there are not too many."
  (setf (sb-bsd-sockets:non-blocking-mode connection) nil)
  (cond ((< (repl-sessions repl) +most-sessions+)
         (sb-ext:atomic-incf (repl-sessions repl))
         (sb-thread:make-thread #'run-session :name "REPL session" :arguments (list repl connection)))
        (t
         (let ((text (format nil ";; there are ~D sessions already~%~C1" +most-sessions+ +end+)))
           (sb-bsd-sockets:socket-send connection (sb-ext:string-to-octets text) nil :nosignal t))
         (sb-bsd-sockets:socket-close connection))))

(defun run-session (repl connection)
  (unwind-protect
       (converse (sb-bsd-sockets:socket-make-stream connection
                                                    :input t :output t :buffering :full
                                                    :external-format '(:utf-8 :replacement #\?))
                 (repl-console repl))
    (handler-case (sb-bsd-sockets:socket-close connection :abort t)
      (error ()))
    (sb-ext:atomic-decf (repl-sessions repl))))
