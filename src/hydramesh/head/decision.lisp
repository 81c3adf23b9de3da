(defpackage #:hydramesh/head/decision
  (:use #:cl)
  (:import-from #:hydramesh/head/contenders
                #:contenders #:contenders-count #:contenders-next #:contenders-next-score #:contenders-score)
  (:import-from #:hydramesh/head/worker #:worker-title)
  (:export #:decision #:decision-seconds #:decision-among #:decision-next #:decision-next-seconds
           #:decision-of #:decision-text)
  (:documentation "What is kept of the choice of a worker while the task runs there.

What spoke for the others is worked out anew when somebody asks, as of then."))
(in-package #:hydramesh/head/decision)

(defstruct (decision (:copier nil))
  "The worker's score was SECONDS, the least of so many AMONG whom the choice was. NEXT is what the one with
the second least is called, NIL if there was no other, and NEXT-SECONDS its score."
  (seconds 0d0 :type double-float :read-only t)
  (among 1 :type (unsigned-byte 32) :read-only t)
  (next nil :type (or null string) :read-only t)
  (next-seconds 0d0 :type double-float :read-only t))

(defun decision-of (contenders)
  "Return what is to be kept of the choice that was among CONTENDERS."
  (declare (type contenders contenders))
  (let ((next (contenders-next contenders)))
    (make-decision :seconds (contenders-score contenders)
                   :among (contenders-count contenders)
                   :next (and next (worker-title next))
                   :next-seconds (contenders-next-score contenders))))

(defun decision-text (decision)
  "Return what DECISION, or NIL for that of a group, was, in words."
  (cond ((null decision)
         "it leads the group that holds the model")
        ((decision-next decision)
         (format nil "it was the best of ~D free workers, at about ~,1F s (next: ~A, ~,1F s)"
                 (decision-among decision) (decision-seconds decision)
                 (decision-next decision) (decision-next-seconds decision)))
        (t
         (format nil "nobody else was free that could run it as soon; done in about ~,1F s"
                 (decision-seconds decision)))))
