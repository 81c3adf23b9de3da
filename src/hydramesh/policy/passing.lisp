(defpackage #:hydramesh/policy/passing
  (:use #:cl)
  (:import-from #:hydramesh/policy/reader #:form #:form-kind #:form-value)
  (:export #:passing-p)
  (:documentation "Which rules may say something else later of the same task and worker.

A task that a lasting rule keeps from all workers fails at once; one that a passing rule keeps waits."))
(in-package #:hydramesh/policy/passing)

(defparameter +passing+
  '("task.waited" "task.attempts" "worker.group" "worker.rtt" "worker.free-ram" "worker.free-vram"
    "worker.power" "worker.load" "worker.free-slots" "worker.waiting" "worker.rate" "worker.loaded"
    "worker.readiness" "between" "reserve")
  "Words of what changes by itself, or with what else the cluster does.")

(defparameter +passing-subjects+ '("time." "head." "price.")
  "What words begin with of which all that follows changes so.")

(defun passing-p (form)
  "Return whether there is a word in FORM whose meaning may be another one later."
  (let ((value (form-value form)))
    (case (form-kind form)
      (:list (some #'passing-p value))
      (:word (or (and (member value +passing+ :test #'string=) t)
                 (some (lambda (subject) (eql (mismatch subject value) (length subject)))
                       +passing-subjects+))))))
