(defpackage #:hydramesh/policy/warnings
  (:use #:cl)
  (:import-from #:hydramesh/policy/effects #:effect-about #:effect-kind #:hedge-allowed)
  (:import-from #:hydramesh/policy/policy #:policy-rules #:rule-effects #:rule-line #:rule-name)
  (:export #:policy-warnings)
  (:documentation "What is right in a policy and does nothing, because of the head's settings."))
(in-package #:hydramesh/policy/warnings)

(defun policy-warnings (policy hedge-share)
  "Return what to tell of POLICY in a head with that HEDGE-SHARE: a list of the number of a line and a text."
  (if (plusp hedge-share)
      '()
      (loop for rule across (policy-rules policy)
            when (some #'hedges-p (rule-effects rule))
              collect (list (rule-line rule)
                            (format nil "the rule ~S hedges nothing while hedge_share is 0; set that to 0.05 or so"
                                    (rule-name rule))))))

(defun hedges-p (effect)
  "Return whether EFFECT lets tasks run on a second worker."
  (and (eq (effect-kind effect) :hedge)
       (hedge-allowed (effect-about effect))))
