(defpackage #:hydramesh/iot/thresholds
  (:use #:cl)
  (:export #:threshold #:make-threshold #:threshold-name #:threshold-direction #:threshold-limit
           #:threshold-release #:threshold-source #:threshold-crossing)
  (:documentation "Whether a value has crossed a limit, with hysteresis.

A threshold is crossed when the value gets beyond its limit, and over only when it is back at the release,
so that a value which trembles about the limit is one crossing and not many."))
(in-package #:hydramesh/iot/thresholds)

(defstruct (threshold (:copier nil))
  "Crossed when a value is :ABOVE or :BELOW the LIMIT, as DIRECTION says, and over when it is back at RELEASE,
or past it. Of readings, or if SOURCE is the name of a window, of what that makes of them."
  (name nil :type symbol :read-only t)
  (direction :above :type (member :above :below) :read-only t)
  (limit 0 :type rational :read-only t)
  (release 0 :type rational :read-only t)
  (source nil :type symbol :read-only t))

(defun threshold-crossing (threshold crossed-p value)
  "Return :CROSSED if VALUE crosses THRESHOLD, :OVER if it ends that, else NIL. CROSSED-P says how it was."
  (let ((limit (threshold-limit threshold)) (release (threshold-release threshold)))
    (if (eq (threshold-direction threshold) :above)
        (cond ((and (not crossed-p) (> value limit)) :crossed)
              ((and crossed-p (<= value release)) :over))
        (cond ((and (not crossed-p) (< value limit)) :crossed)
              ((and crossed-p (>= value release)) :over)))))
