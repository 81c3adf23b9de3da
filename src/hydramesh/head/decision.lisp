(defpackage #:hydramesh/head/decision
  (:use #:cl)
  (:import-from #:hydramesh/head/contenders
                #:contenders #:contenders-count #:contenders-next #:contenders-next-score #:contenders-score)
  (:import-from #:hydramesh/head/worker #:worker-title)
  (:import-from #:hydramesh/shown #:shown)
  (:export #:decision #:decision-of #:decision-text #:rule-text)
  (:documentation "What is kept of the choice of a worker while the task runs there.

What spoke for the others is worked out anew when somebody asks, as of then."))
(in-package #:hydramesh/head/decision)

(defconstant +most-rules+ 16 "Rules that are kept of a choice.")

(defstruct (decision (:copier nil))
  "The worker's score was SCORE, the least of so many AMONG whom the choice was. NEXT is what the one with the
second least is called, NIL if there was no other, and NEXT-SCORE its score. RULES are those of the policy that
spoke of the worker, each with its factor; the score is what they made of the seconds."
  (score 0d0 :type double-float :read-only t)
  (among 1 :type (unsigned-byte 32) :read-only t)
  (next nil :type (or null string) :read-only t)
  (next-score 0d0 :type double-float :read-only t)
  (rules '() :type list :read-only t))

(defun decision-of (contenders rules)
  "Return what is to be kept of the choice that was among CONTENDERS, and what RULES said of who was chosen."
  (declare (type contenders contenders))
  (let ((next (contenders-next contenders)))
    (make-decision :score (contenders-score contenders)
                   :among (contenders-count contenders)
                   :next (and next (worker-title next))
                   :next-score (contenders-next-score contenders)
                   :rules (subseq rules 0 (min +most-rules+ (length rules))))))

(defun rule-text (rule)
  "Return RULE, a cons of the name of one and its factor, as explanations show it."
  (destructuring-bind (name . factor) rule
    (if factor
        (format nil "~A: × ~,3F" (shown name) factor)
        (format nil "~A: excluded" (shown name)))))

(defun decision-text (decision)
  "Return what DECISION, or NIL for that of a group, was, in words."
  (if (null decision)
      "it leads the group that holds the model"
      (format nil "~:[nobody else was free that could run it as soon, ~*~;it was the best of ~D free workers, ~]~
                   at about ~,1F s~@[ by the rules ~{~A~^, ~}~]~@[ (next: ~A, ~,1F s)~]"
              (decision-next decision) (decision-among decision) (decision-score decision)
              (mapcar #'rule-text (decision-rules decision))
              (decision-next decision) (decision-next-score decision))))
