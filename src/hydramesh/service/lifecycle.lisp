(defpackage #:hydramesh/service/lifecycle
  (:use #:cl)
  (:import-from #:hydramesh/service/logs #:configure #:log-info #:log-warning #:log-error #:log-fault)
  (:import-from #:hydramesh/service/notify
                #:notifier #:make-notifier #:notifier-ready #:notifier-reloading #:notifier-stopping)
  (:import-from #:hydramesh/settings
                #:settings #:load-settings #:settings-error #:changeable-p #:differences
                #:settings-log-level)
  (:export #:lifecycle #:lifecycle-settings #:lifecycle-notifier #:lifecycle-stop
           #:lifecycle-attach #:lifecycle-ready #:lifecycle-on-reload #:lifecycle-turn
           #:run #:cannot-start #:cannot-continue #:+failed+ #:+bad-settings+)
  (:documentation "A daemon's life: settings, logs, signals, and how it ends."))
(in-package #:hydramesh/service/lifecycle)

(defconstant +failed+ 1 "Exit status of a daemon that cannot go on.")
(defconstant +bad-settings+ 2 "Exit status of one whose settings cannot be used.")

(define-condition cannot-start (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "What the settings name cannot be used: a key, an address."))

(define-condition cannot-continue (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "The system does not give what the daemon needs."))

(defstruct (lifecycle (:constructor %make-lifecycle))
  "What a running daemon is told from outside, and how it speaks to systemd.

STOP is true once it is to end. A signal's handler sets only STOP or RELOAD and wakes the loop, which
then acts on them: a handler may run in the middle of anything."
  (load nil :type function)
  (settings nil :type settings)
  (at-start nil :type settings)
  (notifier nil :type notifier)
  (serving nil)
  (stop nil)
  (reload nil)
  (apply #'identity :type function))

(defun make-lifecycle (arguments environment)
  (flet ((fresh ()
           (load-settings arguments environment)))
    (let ((settings (fresh)))
      (%make-lifecycle :load #'fresh :settings settings :at-start settings
                       :notifier (make-notifier environment)))))

(defun lifecycle-attach (lifecycle wake)
  "From now on SIGTERM and SIGINT set LIFECYCLE-STOP, and SIGHUP has the settings read again.
WAKE is a function that ends the loop's wait."
  (flet ((handle (signal action)
           (sb-sys:enable-interrupt signal
                                    (lambda (signal info context)
                                      (declare (ignore signal info context))
                                      (funcall action)
                                      (funcall wake)))))
    (dolist (signal (list sb-unix:sigterm sb-unix:sigint))
      (handle signal (lambda () (setf (lifecycle-stop lifecycle) t))))
    (handle sb-unix:sighup (lambda () (setf (lifecycle-reload lifecycle) t)))))

(defun lifecycle-ready (lifecycle)
  "Tell systemd that the daemon serves now."
  (setf (lifecycle-serving lifecycle) t)
  (notifier-ready (lifecycle-notifier lifecycle)))

(defun lifecycle-on-reload (lifecycle apply)
  "Call APPLY with freshly read settings each time SIGHUP has come.
It may signal SETTINGS-ERROR to refuse them. Changes of what is not changeable are logged as needing a
restart. The log level follows by itself."
  (setf (lifecycle-apply lifecycle) apply))

(defun lifecycle-turn (lifecycle)
  "Do what signals have asked for since the last call; the loop calls it each turn."
  (when (shiftf (lifecycle-reload lifecycle) nil)
    (reload lifecycle)))

(defun reload (lifecycle)
  (notifier-reloading (lifecycle-notifier lifecycle))
  (handler-case
      (let ((settings (funcall (lifecycle-load lifecycle))))
        (funcall (lifecycle-apply lifecycle) settings)
        settings)
    (settings-error (condition)
      (log-error "settings not reloaded" :reason (princ-to-string condition)))
    (:no-error (settings)
      (follow lifecycle settings)))
  (when (lifecycle-serving lifecycle)
    (notifier-ready (lifecycle-notifier lifecycle))))

(defun follow (lifecycle settings)
  (let ((changed (differences (lifecycle-settings lifecycle) settings))
        (fixed (remove-if #'changeable-p (differences (lifecycle-at-start lifecycle) settings))))
    (setf (lifecycle-settings lifecycle) settings)
    (configure (settings-log-level settings))
    (log-info "settings reloaded" :changed (format nil "~:[nothing~;~:*~{~A~^, ~}~]" changed))
    (when fixed
      (log-warning "some changes need a restart"
                   :settings (format nil "~{~A~^, ~}" (sort (copy-list fixed) #'string<))))))

(defun run (arguments environment serve)
  "Run a daemon until SERVE, a function of a LIFECYCLE, returns; return its exit status.
SERVE should return soon after LIFECYCLE-STOP is set. 0 after that, 1 if the daemon failed, 2 if its
settings cannot be used. Signal SETTINGS-ERROR before anything else happens, and what LOAD-SETTINGS
does."
  (let ((lifecycle (make-lifecycle arguments environment)))
    (configure (settings-log-level (lifecycle-settings lifecycle)))
    (handler-case
        (handler-bind ((serious-condition #'log-unexpected))
          (funcall serve lifecycle)
          (notifier-stopping (lifecycle-notifier lifecycle))
          0)
      ((or cannot-start settings-error) (condition)
        (log-error "cannot start" :reason (princ-to-string condition))
        +bad-settings+)
      (cannot-continue (condition)
        (log-error "cannot continue" :reason (princ-to-string condition))
        +failed+)
      (serious-condition ()
        +failed+))))

(defun log-unexpected (condition)
  (unless (typep condition '(or cannot-start cannot-continue settings-error))
    (log-fault "a fault in the head ends it; please report this" condition)))
