(defpackage #:hydramesh/head/explanations
  (:use #:cl)
  (:import-from #:hydramesh/head/decision #:decision-text #:rule-text)
  (:import-from #:hydramesh/head/job #:job-decision #:job-number #:job-plan #:job-worker)
  (:import-from #:hydramesh/head/reasons #:reason-text)
  (:import-from #:hydramesh/head/verdicts
                #:explain-choice #:verdict-rank #:verdict-rules #:verdict-seconds
                #:verdict-worker)
  (:import-from #:hydramesh/head/worker #:worker-id #:worker-title)
  (:import-from #:hydramesh/policy/plan #:plan #:plan-rules)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:explanation-of #:verdict-text)
  (:documentation "Why a task is where it is, for everybody who asks: the REPL, `daiic status`, the page."))
(in-package #:hydramesh/head/explanations)

(defconstant +most-verdicts+ 1000 "Workers that an explanation tells of; the best come first.")

(defun verdict-text (verdict job)
  "Return what VERDICT says of its worker for JOB, in words; for the one that runs it, also why it got it."
  (let ((now (reason-text verdict job)))
    (if (eq (verdict-worker verdict) (job-worker job))
        (format nil "runs here: ~A; as of now: ~A" (decision-text (job-decision job)) now)
        now)))

(defun explanation-of (registry job now)
  "Return the PB:EXPLANATION of where JOB is, with what speaks for and against each worker of REGISTRY."
  (let* ((verdicts (explain-choice registry job now))
         (here (find (job-worker job) verdicts :key #'verdict-worker)))
    (pb:make-explanation
     :number (job-number job)
     :rules (let ((plan (job-plan job)))
              (and (typep plan 'plan) (plan-rules plan)))
     :verdicts (loop repeat +most-verdicts+
                     for verdict in (if here (cons here (remove here verdicts)) verdicts)
                     for worker = (verdict-worker verdict)
                     collect (pb:make-verdict
                              :worker-id (worker-id worker)
                              :name (worker-title worker)
                              :chosen (if (job-worker job)
                                          (eq verdict here)
                                          (eql (verdict-rank verdict) 1))
                              :reason (verdict-text verdict job)
                              :rules (mapcar #'rule-text (verdict-rules verdict))
                              :seconds (or (verdict-seconds verdict) 0d0))))))
