(defpackage #:hydramesh/policy/explaining
  (:use #:cl)
  (:import-from #:hydramesh/head/fallbacks #:place-or-fall-back)
  (:import-from #:hydramesh/head/group-ledger #:make-group-ledger)
  (:import-from #:hydramesh/head/in-force #:consider-policy #:in-force-policy)
  (:import-from #:hydramesh/head/job
                #:job-kind #:job-model #:job-plan #:job-reading #:job-size)
  (:import-from #:hydramesh/head/limits #:+limits+)
  (:import-from #:hydramesh/head/reasons #:rank-text #:reason-text)
  (:import-from #:hydramesh/head/registry #:registry-count #:registry-in-force)
  (:import-from #:hydramesh/head/verdicts
                #:explain-choice #:verdict-rules #:verdict-weight #:verdict-worker)
  (:import-from #:hydramesh/head/worker #:worker-id #:worker-title)
  (:import-from #:hydramesh/policy/effects
                #:effect-about #:effect-kind #:effect-of #:fallback-after #:fallback-model #:hedge-after
                #:hedge-allowed #:hedge-lateness)
  (:import-from #:hydramesh/policy/plan #:plan #:plan-matching #:plan-situation)
  (:import-from #:hydramesh/policy/policy
                #:policy-digest #:policy-name #:policy-rule-count #:policy-rules #:rule-effects #:rule-line
                #:rule-name)
  (:import-from #:hydramesh/policy/views #:situation-clock #:situation-waiting #:situation-weekday)
  (:import-from #:hydramesh/repl/tables #:print-rows)
  (:import-from #:hydramesh/shown #:counted #:shown)
  (:import-from #:hydramesh/work #:work-kind-name #:work-kind-unit #:+read-per-written+)
  (:export #:print-explanation)
  (:documentation "What a policy says of a task, rule by rule and worker by worker, for people."))
(in-package #:hydramesh/policy/explaining)

(defconstant +most-names+ 5 "Workers that are named of those of which a rule says the same.")

(defun names-text (workers)
  (format nil "~{~A~^, ~}~[~:;~:* and ~D more~]"
          (loop for worker in workers
                repeat +most-names+
                collect (shown (worker-title worker) 40))
          (max 0 (- (length workers) +most-names+))))

;;; Rules

(defun about-text (effect)
  "Return what EFFECT says of a task whatever its worker, NIL if nothing."
  (let ((about (effect-about effect)))
    (case (effect-kind effect)
      (:fallback
       (format nil "fallback ~A after ~,1F s" (shown (fallback-model about)) (fallback-after about)))
      (:hedge
       (cond ((not (hedge-allowed about)) "no hedging")
             ((hedge-after about) (format nil "hedging after ~,1F s" (hedge-after about)))
             ((hedge-lateness about)
              (format nil "hedging at ~D % of the time" (round (* 100 (hedge-lateness about)))))
             (t "hedging when it is late"))))))

(defun workers-texts (rule verdicts)
  "Return what RULE says of the workers of VERDICTS: a text for each factor that it has for some."
  (let ((said '()))
    (dolist (verdict verdicts)
      (let ((entry (assoc (rule-name rule) (verdict-rules verdict) :test #'string=)))
        (when entry
          (let ((same (or (assoc (cdr entry) said)
                          (first (push (list (cdr entry)) said)))))
            (push (verdict-worker verdict) (cdr same))))))
    (loop for (factor . workers) in (nreverse said)
          for names = (names-text (reverse workers))
          collect (if factor
                      (format nil "× ~,3F for ~A" factor names)
                      (format nil "excludes ~A" names)))))

(defun says-text (rule plan verdicts cluster-p)
  "Return what RULE says of the task of PLAN, and of the workers of VERDICTS if CLUSTER-P."
  (if (not (member rule (plan-matching plan)))
      "does not match"
      (let* ((effects (rule-effects rule))
             (kinds (loop for effect in effects
                          when (effect-of effect)
                            collect (string-downcase (effect-kind effect))))
             (said (append (remove nil (mapcar #'about-text effects))
                           (cond ((null kinds) '())
                                 (cluster-p (or (workers-texts rule verdicts)
                                                (list "says nothing of these workers")))
                                 (t (list (format nil "matches: ~{~A~^, ~}" kinds)))))))
        (format nil "~{~A~^; ~}" said))))

(defun print-rules (policy plan verdicts cluster-p)
  (print-rows '("LINE" "RULE")
              (loop for rule across (policy-rules policy)
                    collect (list (rule-line rule)
                                  (format nil "~A: ~A" (rule-name rule)
                                          (says-text rule plan verdicts cluster-p))))
              "rules"))

;;; Workers

(defun print-workers (verdicts job)
  (print-rows '("" "WORKER" "ID" "WEIGHT" "WHY")
              (loop for verdict in verdicts
                    for worker = (verdict-worker verdict)
                    collect (list (rank-text verdict)
                                  (worker-title worker)
                                  (worker-id worker)
                                  (if (verdict-weight verdict)
                                      (format nil "~,3F" (verdict-weight verdict))
                                      "none")
                                  (reason-text verdict job)))
              "workers"))

(defun print-choice (registry job cluster-p now)
  "Print what each rule and each worker is for JOB with the model that it has."
  (let ((policy (in-force-policy (registry-in-force registry)))
        (verdicts (and cluster-p (explain-choice registry job now))))
    (terpri)
    (if (typep (job-plan job) 'plan)
        (print-rules policy (job-plan job) verdicts cluster-p)
        (format t "policies have no say in tasks that manage a model~%"))
    (when cluster-p
      (terpri)
      (print-workers verdicts job))))

;;; All of it

(defun moment-text (situation)
  (multiple-value-bind (hour minute) (floor (round (situation-clock situation)) 60)
    (format nil "~:(~A~) ~2,'0D:~2,'0D, ~A waiting" (situation-weekday situation) hour minute
            (counted (round (situation-waiting situation)) "task"))))

(defun print-heading (policy job)
  (format t "policy ~S, ~A, ~A~@[; ~A~]~%" (shown (policy-name policy))
          (counted (policy-rule-count policy) "rule")
          (subseq (policy-digest policy) 0 12)
          (and (typep (job-plan job) 'plan) (moment-text (plan-situation (job-plan job)))))
  (format t "task: ~A with ~A, about ~D ~A to make, ~D tokens to read~%"
          (work-kind-name (job-kind job)) (shown (job-model job))
          (round (job-size job)) (work-kind-unit (job-kind job))
          (round (* +read-per-written+ (job-reading job)))))

(defun print-explanation (registry job waiting cluster-p now)
  "Print what the policy in force in REGISTRY says of JOB when so many tasks are WAITING; if CLUSTER-P, also
where it sends the job, and why not elsewhere."
  (flet ((consider (job)
           (consider-policy (registry-in-force registry) job now waiting (registry-count registry))))
    (consider job)
    (print-heading (in-force-policy (registry-in-force registry)) job)
    (print-choice registry job cluster-p now)
    (when cluster-p
      (let ((asked (job-model job)))
        (multiple-value-bind (lead group)
            (place-or-fall-back registry (make-group-ledger registry +limits+ (constantly nil))
                                job now #'consider)
          (unless (string= asked (job-model job))
            (format t "~%no worker begins with ~A now, so a fallback takes its place: ~A~%" (shown asked)
                    (shown (job-model job)))
            (print-choice registry job cluster-p now))
          (terpri)
          (format t "~:[no worker gets it now~*~*~;~A gets it~:[~;, and leads a group of workers that hold ~
                     the model together~]~]~%"
                  lead (and lead (shown (worker-title lead))) group))))))
