(defpackage #:hydramesh/repl/console
  (:use #:cl)
  (:import-from #:hydramesh/repl/bounds #:within-time #:with-bounded-output)
  (:import-from #:hydramesh/service/event-loop #:event-loop #:on-loop)
  (:export #:console #:make-console #:*console* #:*core* #:look #:in-loop)
  (:documentation "The way from a session of the REPL to the running head."))
(in-package #:hydramesh/repl/console)

(defconstant +most-seconds+ 1 "On the loop, where everything else waits.")

(defconstant +most-characters+ 65536 "That one form prints there.")

(defstruct console
  "The CORE of the head, its EVENT-LOOP, and NOW, a function of no arguments that only the loop may call."
  (core nil :read-only t)
  (event-loop nil :type event-loop :read-only t)
  (now nil :type function :read-only t))

(defvar *console* nil "The head that this session looks at.")

(defvar *core* nil "Its core; only what `in-loop` runs may look into it.")

(define-condition stopped (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream) (write-string (slot-value condition 'reason) stream)))
  (:documentation "What was to be done on the loop did not come to its end."))

(defun look (function)
  "Call FUNCTION with the core and the time on the head's loop; return its values.
Signal LOOP-UNAVAILABLE as ON-LOOP does, and what FUNCTION signals."
  (let ((console *console*))
    (on-loop (console-event-loop console)
             (lambda ()
               (let ((*console* console) (*core* (console-core console)))
                 (funcall function *core* (funcall (console-now console))))))))

(defun guarded (function)
  "Call FUNCTION so that neither a break nor endless work keeps the loop; return its values."
  (let* ((tag (list 'broken))
         (results (catch tag
                    (let ((sb-ext:*invoke-debugger-hook*
                            (lambda (condition hook)
                              (declare (ignore hook))
                              (throw tag (make-condition 'stopped :reason (princ-to-string condition))))))
                      (multiple-value-list
                       (within-time +most-seconds+
                                    (lambda (lift)
                                      (declare (ignore lift))
                                      (funcall function))
                                    (lambda ()
                                      (error 'stopped
                                             :reason (format nil "it took the head's loop more than ~D s"
                                                             +most-seconds+)))))))))
    (if (typep results 'condition)
        (error results)
        (values-list results))))

(defun call-in-loop (function)
  (let ((printed '()) (package *package*) (cut nil) (results nil))
    (unwind-protect
         (setf results
               (look (lambda (core now)
                       (declare (ignore core now))
                       (guarded
                        (lambda ()
                          (let ((*package* package))
                            (multiple-value-bind (values more)
                                (with-bounded-output (*standard-output* +most-characters+
                                                                        (lambda (text) (push text printed)))
                                  (multiple-value-list (funcall function)))
                              (setf cut more)
                              values)))))))
      (mapc #'write-string (reverse printed)))
    (unless cut
      (values-list results))))

(defmacro in-loop (&body body)
  "Do BODY on the head's own thread, between two of its events, and return what it returns.
It may look at anything in *CORE*, for a second at most: the whole head waits meanwhile."
  `(call-in-loop (lambda () ,@body)))
