(defpackage #:hydramesh/service/setting
  (:use #:cl)
  (:import-from #:hydramesh/service/setting-kinds #:kind)
  (:export #:setting #:make-setting #:setting-key #:setting-kind #:setting-default
           #:setting-description #:setting-variable #:setting-flag
           #:settings-error #:refuse #:+environment-prefix+)
  (:documentation "One setting of a daemon, which is a key of the file, a flag and a variable."))
(in-package #:hydramesh/service/setting)

(defparameter +environment-prefix+ "DAIIC_")

(defstruct setting
  "KEY is as in the file. DESCRIPTION is the help about it."
  (key "" :type string)
  (kind nil :type kind)
  (default nil)
  (description "" :type string))

(defun setting-variable (setting)
  "Return the name of the environment's variable that sets it."
  (format nil "~A~:@(~A~)" +environment-prefix+ (setting-key setting)))

(defun setting-flag (setting)
  "Return its flag."
  (format nil "--~A" (substitute #\- #\_ (setting-key setting))))

(define-condition settings-error (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "A setting cannot be used. What is printed names the key, the value and what would be
right."))

(defun refuse (control &rest arguments)
  "Signal SETTINGS-ERROR with what FORMAT makes of CONTROL and ARGUMENTS."
  (error 'settings-error :reason (apply #'format nil control arguments)))
