(defpackage #:hydramesh/policy/check
  (:use #:cl)
  (:import-from #:hydramesh/policy/effects #:effect-kind)
  (:import-from #:hydramesh/policy/mistakes #:policy-errors #:policy-errors-lines)
  (:import-from #:hydramesh/policy/policy
                #:load-policy #:policy-digest #:policy-name #:policy-price-names #:policy-rule-count
                #:policy-rules #:rule-effects #:rule-line #:rule-name)
  (:import-from #:hydramesh/policy/warnings #:policy-warnings)
  (:import-from #:hydramesh/shown #:counted #:printable)
  (:export #:check #:+check-help+ #:summary-lines)
  (:documentation "`hydramesh policy check`: whether files are policies, and what is wrong with those
that are not."))
(in-package #:hydramesh/policy/check)

(defparameter +check-help+ "usage: hydramesh policy check [--config FILE] [--SETTING VALUE]... FILE...

Reads policies as a head would. For each it prints its rules, or where and what its mistakes are. With
settings of a head, in its file or as its flags, it warns of rules that do nothing there.
Exit status: 0 if all are right, 1 if one is not, 2 if the arguments are not understood.
")

(defun check (files hedge-share stream errors)
  "Write to STREAM what is in FILES, names of policies, and to ERRORS what is wrong with them; return the exit
status. HEDGE-SHARE is the setting of the head that they are for, NIL if it is not known."
  (let ((status 0))
    (dolist (file files status)
      (handler-case (let ((policy (load-policy file)))
                      (format stream "~A: ~{~A~%~}" (printable file) (summary-lines policy))
                      (when hedge-share
                        (loop for (line text) in (policy-warnings policy hedge-share)
                              do (format errors "~A:~D: warning: ~A~%" (printable file) line text))))
        (policy-errors (condition)
          (format errors "~{~A~%~}" (policy-errors-lines condition))
          (setf status 1))))))

(defun summary-lines (policy)
  "Return what POLICY has, as lines for people."
  (let ((prices (policy-price-names policy))
        (digits (format nil "~D" (reduce #'max (policy-rules policy) :key #'rule-line :initial-value 1))))
    (cons (format nil "policy ~S, ~A~@[, ~A~], ~A" (policy-name policy)
                  (counted (policy-rule-count policy) "rule")
                  (and prices (counted (length prices) "price"))
                  (subseq (policy-digest policy) 0 12))
          (loop for rule across (policy-rules policy)
                collect (format nil "  ~VD  ~A (~(~{~A~^, ~}~))" (length digits) (rule-line rule)
                                (rule-name rule)
                                (remove-duplicates (mapcar #'effect-kind (rule-effects rule))
                                                   :from-end t))))))
