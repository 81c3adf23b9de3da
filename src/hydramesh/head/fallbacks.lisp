(defpackage #:hydramesh/head/fallbacks
  (:use #:cl)
  (:import-from #:hydramesh/answer-order #:answer-order-empty-p #:answer-order-made-by #:answer-order-task)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/eligibility #:same-model-among)
  (:import-from #:hydramesh/head/job
                #:job-answer #:job-asked-model #:job-model #:job-plan #:job-queued-at)
  (:import-from #:hydramesh/head/placement #:place #:servable-p)
  (:import-from #:hydramesh/policy/effects #:fallback-after #:fallback-model)
  (:import-from #:hydramesh/policy/plan #:plan #:plan-fallbacks)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:place-or-fall-back #:servable-somehow-p #:return-to-asked-model)
  (:documentation "The models that a policy lets a task have in place of the one that it asks for.

A task gets one only before its answer has begun: if no worker can run its own model, or none could begin
with it for as long as the policy says. An answer that was begun with a fallback goes on with it, at another
head too."))
(in-package #:hydramesh/head/fallbacks)

(defun use-model (job model)
  "Let JOB be run with MODEL."
  (let ((asked (or (job-asked-model job) (job-model job))))
    (setf (job-model job) model
          (job-asked-model job) (if (string= model asked) nil asked)
          (pb:task-model (answer-order-task (job-answer job))) model)))

(defun begun-p (job)
  "Return whether the client of JOB has had some of the text that it asks for."
  (not (answer-order-empty-p (job-answer job))))

(defun return-to-asked-model (job)
  "Let JOB have the model that its client asked for again, unless its answer was begun with another."
  (when (and (job-asked-model job) (not (begun-p job)))
    (use-model job (job-asked-model job))))

(defun fallbacks-of (job)
  (if (and (typep (job-plan job) 'plan) (not (begun-p job)))
      (plan-fallbacks (job-plan job))
      '()))

(defmacro with-fallbacks ((fallback job consider) &body body)
  "Run BODY with JOB having the model of each FALLBACK in turn; return its values once the first is true. If none
is, JOB has its own model again. CONSIDER is called with JOB after each change of its model."
  (let ((own (gensym)) (plan (gensym)) (values (gensym)))
    `(let ((,own (job-model ,job)) (,plan (job-plan ,job)))
       (dolist (,fallback (fallbacks-of ,job))
         (use-model ,job (fallback-model ,fallback))
         (funcall ,consider ,job)
         (let ((,values (multiple-value-list (progn ,@body))))
           (when (first ,values)
             (return (values-list ,values))))
         (use-model ,job ,own)
         (setf (job-plan ,job) ,plan)))))

(defun take-up-fallback (workers job consider)
  "Let JOB, whose answer another head began with a fallback, go on with that if a worker can."
  (when (and (begun-p job)
             (null (job-asked-model job))
             (answer-order-made-by (job-answer job))
             (typep (job-plan job) 'plan)
             (not (same-model-among workers job)))
    (let ((own (job-model job)))
      (dolist (fallback (plan-fallbacks (job-plan job)))
        (use-model job (fallback-model fallback))
        (funcall consider job)
        (when (same-model-among workers job)
          (return))
        (use-model job own)
        (funcall consider job)))))

(defun place-or-fall-back (workers groups job now consider)
  "Return what PLACE does; if that is nobody, with the first of the fallback models of JOB that may be used now
and can. CONSIDER is a function that lets the policy look at the job."
  (funcall consider job)
  (take-up-fallback workers job consider)
  (multiple-value-bind (lead group) (place workers groups job now)
    (if (or lead (null (fallbacks-of job)))
        (values lead group)
        (let ((hopeless (not (servable-p workers groups job))))
          (with-fallbacks (fallback job consider)
            (when (or hopeless
                      (>= (- now (job-queued-at job)) (seconds (fallback-after fallback))))
              (place workers groups job now)))))))

(defun servable-somehow-p (workers groups job consider)
  "Return whether JOB can run on a worker or a group, now or later, with its model or a fallback."
  (funcall consider job)
  (or (servable-p workers groups job)
      (let* ((own (job-model job))
             (found (with-fallbacks (fallback job consider)
                      (servable-p workers groups job))))
        (when found
          (use-model job own)
          (funcall consider job))
        found)))
