(defpackage #:hydramesh/errors
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:task-error #:make-task-error #:task-error-code #:task-error-message #:task-error-remedy
           #:task-error-name #:task-error-to-wire #:task-error-from-wire)
  (:documentation "The errors that a task can end with. TASK-ERROR is what Lisp signals and keeps,
daiic.v1.Error is the same on the wire."))
(in-package #:hydramesh/errors)

(defconstant +max-text+ 2000
  "Characters of a message or a remedy; what a worker says may be of any length.")

(define-condition task-error (error)
  ((code :initarg :code :reader task-error-code)
   (message :initarg :message :reader task-error-message)
   (remedy :initarg :remedy :reader task-error-remedy))
  (:report (lambda (condition stream)
             (format stream "~a~@[: ~a~]"
                     (task-error-message condition)
                     (and (plusp (length (task-error-remedy condition)))
                          (task-error-remedy condition)))))
  (:documentation "A task ended without an answer. CODE is a number of daiic.v1.ErrorCode, MESSAGE says
in one sentence what happened, REMEDY what the reader can do about it."))

(defun make-task-error (code message &optional (remedy ""))
  "Return the condition, to be signalled or kept."
  (make-condition 'task-error :code code :message (bounded message) :remedy (bounded remedy)))

(defun bounded (text)
  (if (<= (length text) +max-text+)
      text
      (concatenate 'string (subseq text 0 +max-text+) "…")))

(defun task-error-name (error)
  "Return the code's name, as logs, metrics and documents spell it.
A newer peer may send a code that has no name here."
  (or (pb:enum-name 'pb:error-code (task-error-code error))
      (format nil "ERROR_CODE_~d" (task-error-code error))))

(defun task-error-to-wire (error task-id)
  "Return the daiic.v1.Error that ends the task TASK-ID."
  (pb:make-error :id task-id
                 :code (task-error-code error)
                 :message (task-error-message error)
                 :remedy (task-error-remedy error)))

(defun task-error-from-wire (said)
  "Return what a daiic.v1.Error says."
  (make-task-error (pb:error-code said) (pb:error-message said) (pb:error-remedy said)))
