(defpackage #:hydramesh/head/exclusions
  (:use #:cl)
  (:import-from #:hydramesh/head/eligibility #:may-run-p)
  (:import-from #:hydramesh/head/group-candidates #:fit-to-lead-p)
  (:import-from #:hydramesh/head/in-force #:in-force-policy #:judged #:model-on)
  (:import-from #:hydramesh/head/job #:job-plan)
  (:import-from #:hydramesh/head/registry #:registry-in-force #:registry-workers)
  (:import-from #:hydramesh/head/worker #:worker-offer #:worker-serving-p)
  (:import-from #:hydramesh/head/job #:job-model)
  (:import-from #:hydramesh/head/worker-models #:worker-holds-p)
  (:import-from #:hydramesh/policy/policy #:policy-name)
  (:import-from #:hydramesh/shown #:shown)
  (:export #:exclusion)
  (:documentation "Whether it is the policy in force that keeps a task from all workers, and which of its rules."))
(in-package #:hydramesh/head/exclusions)

(defconstant +most-rules+ 4 "Rules that are named.")

(defun exclusion (registry job)
  "Return, in words, that the policy keeps JOB from every worker that could run it, and by which rules; NIL if
that is not why it waits."
  (when (job-plan job)
    (let ((able (remove-if-not (lambda (worker)
                                 (and (worker-serving-p worker)
                                      (or (and (may-run-p worker job)
                                               (worker-holds-p worker (job-model job)))
                                          (may-have-led-p worker job))))
                               (registry-workers registry)))
          (rules '()))
      (when (and able
                 (every (lambda (worker)
                          (multiple-value-bind (weight said) (judged (registry-in-force registry) worker job)
                            (loop for (name . factor) in said
                                  unless factor
                                    do (pushnew name rules :test #'string=))
                            (null weight)))
                        able))
        (described (policy-name (in-force-policy (registry-in-force registry))) (reverse rules))))))

(defun may-have-led-p (worker job)
  "Return whether WORKER could lead those that hold the model of JOB together, but for the policy."
  (and (worker-offer worker)
       (model-on worker job)
       (fit-to-lead-p worker job)))

(defun described (policy rules)
  (format nil "the policy ~S keeps it from every worker that could run it~@[, by its rule~{~A~}~]"
          (shown policy)
          (and rules
               (let ((named (subseq rules 0 (min +most-rules+ (length rules)))))
                 (list (format nil "~P ~{~S~^, ~}" (length rules) (mapcar #'shown named))
                       (if (nthcdr +most-rules+ rules)
                           (format nil " and ~D more" (- (length rules) +most-rules+))
                           ""))))))
