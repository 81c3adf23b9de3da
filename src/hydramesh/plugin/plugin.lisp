(defpackage #:hydramesh/plugin/plugin
  (:use #:cl)
  (:import-from #:hydramesh/foreign/stack #:guard-stack-again)
  (:import-from #:hydramesh/service/logs #:describe-condition #:log-debug #:log-fault #:log-warning)
  (:export #:plugin #:make-plugin #:plugin-name #:plugin-version #:plugin-documentation #:plugin-stores
           #:plugin-transport #:plugin-state #:plugin-reason #:plugin-report-text
           #:plugin-unusable #:unusable
           #:*plugins* #:register-plugin #:find-plugin #:plugins #:plugin-of-store
           #:start-plugin #:start-wanted #:stop-plugin #:stop-plugins #:disable-plugin
           #:call-hook #:call-protected)
  (:documentation "Parts of a head that it can do without: which there are, and how each of them goes.

A plugin fails alone: whatever its functions signal disables it, is logged and shown, and the head goes on.
Any thread may ask for a start or a stop; one of them at a time is done for a plugin."))
(in-package #:hydramesh/plugin/plugin)

(define-condition plugin-unusable (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "What a plugin needs is not there; the REASON says what, and what can be done about it.
Plugins signal it, and it is told without a backtrace, unlike a fault."))

(defun unusable (control &rest arguments)
  "Signal PLUGIN-UNUSABLE for the reason that FORMAT makes of CONTROL and ARGUMENTS."
  (error 'plugin-unusable :reason (apply #'format nil control arguments)))

(defstruct plugin
  "What `define-plugin' was given, see there, and how it goes. STORES is an alist of names and functions.
STATE is :idle before it is started and after it was stopped, :running, or :disabled for the REASON, a
sentence. STARTED is what START has returned."
  (name "" :type string :read-only t)
  (version "" :type string :read-only t)
  (documentation "" :type string :read-only t)
  (wanted nil :type (or null function) :read-only t)
  (start nil :type (or null function) :read-only t)
  (stop nil :type (or null function) :read-only t)
  (transport nil :type (or null function) :read-only t)
  (stores '() :type list :read-only t)
  (report nil :type (or null function) :read-only t)
  (lock (sb-thread:make-mutex :name "plugin") :read-only t)
  (state :idle :type (member :idle :running :disabled))
  (reason nil :type (or null string))
  (started nil))

(defmethod print-object ((plugin plugin) stream)
  (print-unreadable-object (plugin stream :type t)
    (format stream "~A ~A ~(~A~)" (plugin-name plugin) (plugin-version plugin) (plugin-state plugin))))

;;; Which there are

(defvar *plugins* '() "Every plugin that is defined, the last one first.")

(defun plugins ()
  "Return every plugin, in the order of their names."
  (sort (copy-list *plugins*) #'string< :key #'plugin-name))

(defun find-plugin (name)
  "Return the plugin called NAME, or NIL."
  (find name *plugins* :key #'plugin-name :test #'string=))

(defun plugin-of-store (store)
  "Return the plugin that has the STORE of that name, or NIL."
  (find-if (lambda (plugin) (assoc store (plugin-stores plugin) :test #'string=)) *plugins*))

(defun register-plugin (plugin)
  "Have PLUGIN be one of those that there are, in place of another of its name, which is stopped. Signal
PLUGIN-UNUSABLE if another one has a store of the same name."
  (let ((before (find-plugin (plugin-name plugin))))
    (loop for (store) in (plugin-stores plugin)
          for other = (plugin-of-store store)
          unless (or (null other) (eq other before))
            do (unusable "the plugin ~A has a store called ~A, as ~A has: give it another name"
                         (plugin-name plugin) store (plugin-name other)))
    (when before
      (stop-plugin before))
    (setf *plugins* (cons plugin (remove before *plugins*))))
  plugin)

;;; What becomes of a failure

(defun reason-for (condition)
  (if (typep condition 'plugin-unusable)
      (princ-to-string condition)
      (format nil "a fault in it: ~A" (describe-condition condition))))

(defun log-failure (plugin)
  "Return a handler that logs a fault of PLUGIN with the calls that led to it."
  (lambda (condition)
    (unless (typep condition 'plugin-unusable)
      (log-fault "a fault in a plugin" condition :plugin (plugin-name plugin)
                                                 :version (plugin-version plugin)))))

(defun call-protected (plugin function)
  "Call FUNCTION; return what it returns and NIL, or NIL and the condition that ended it, which was logged
if it is a fault of PLUGIN's."
  (handler-case (handler-bind ((serious-condition (log-failure plugin)))
                  (values (funcall function) nil))
    (serious-condition (condition)
      (guard-stack-again condition)
      (values nil condition))))

(defun let-go (plugin)
  "Call STOP of PLUGIN if it is running. Its lock is held."
  (when (eq (plugin-state plugin) :running)
    (let ((started (shiftf (plugin-started plugin) nil)))
      (setf (plugin-state plugin) :idle)
      (when (plugin-stop plugin)
        (call-protected plugin (lambda () (funcall (plugin-stop plugin) started)))))))

(defun disable (plugin reason)
  (let-go plugin)
  (unless (equal (shiftf (plugin-reason plugin) reason) reason)
    (log-warning "a plugin is disabled; the head goes on without it"
                 :plugin (plugin-name plugin) :version (plugin-version plugin) :reason reason))
  (setf (plugin-state plugin) :disabled)
  nil)

(defmacro with-plugin ((plugin) &body body)
  `(sb-thread:with-recursive-lock ((plugin-lock ,plugin))
     ,@body))

(defun disable-plugin (plugin condition)
  "Stop PLUGIN, as CONDITION, which its caller has caught and logged if it is a fault, came of it."
  (with-plugin (plugin)
    (disable plugin (reason-for condition))))

;;; Its life

(defun start-plugin (plugin)
  "Have PLUGIN run, also one that was disabled. Return whether it does now; if not, PLUGIN-REASON says why."
  (with-plugin (plugin)
    (or (eq (plugin-state plugin) :running)
        (multiple-value-bind (started condition)
            (if (plugin-start plugin) (call-protected plugin (plugin-start plugin)) (values nil nil))
          (cond (condition (disable plugin (reason-for condition)))
                (t (setf (plugin-started plugin) started
                         (plugin-reason plugin) nil
                         (plugin-state plugin) :running)
                   (log-debug "a plugin runs" :plugin (plugin-name plugin) :version (plugin-version plugin))
                   t))))))

(defun stop-plugin (plugin)
  "End PLUGIN if it is running."
  (with-plugin (plugin)
    (let-go plugin)))

(defun call-hook (plugin hook &rest arguments)
  "Call HOOK, a function of PLUGIN, with what its start has returned and ARGUMENTS. Return what it returns, or
NIL and the condition that it signalled, which disables the plugin."
  (multiple-value-bind (value condition)
      (call-protected plugin (lambda () (apply hook (plugin-started plugin) arguments)))
    (when condition
      (disable-plugin plugin condition))
    (values value condition)))

(defun wanted-p (plugin settings)
  (if (plugin-wanted plugin)
      (multiple-value-bind (wanted condition)
          (call-protected plugin (lambda () (funcall (plugin-wanted plugin) settings)))
        (when condition
          (disable-plugin plugin condition))
        wanted)
      (null (plugin-stores plugin))))

(defun start-wanted (settings)
  "Start the plugins that SETTINGS want; those with a store start when that is opened."
  (dolist (plugin (plugins))
    (when (wanted-p plugin settings)
      (start-plugin plugin))))

(defun stop-plugins ()
  "End all plugins, those that were started last first."
  (mapc #'stop-plugin *plugins*))

(defun plugin-report-text (plugin)
  "Return a line on how PLUGIN goes: why it is disabled, or what it says of itself."
  (with-plugin (plugin)
    (cond ((eq (plugin-state plugin) :disabled) (plugin-reason plugin))
          ((and (eq (plugin-state plugin) :running) (plugin-report plugin))
           (multiple-value-bind (text condition)
               (call-protected plugin (lambda () (funcall (plugin-report plugin) (plugin-started plugin))))
             ;; It goes on: that nobody can say how is no reason to end it.
             (if condition (reason-for condition) (princ-to-string text))))
          (t ""))))
