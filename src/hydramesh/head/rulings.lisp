(defpackage #:hydramesh/head/rulings
  (:use #:cl)
  (:import-from #:hydramesh/head/decision #:decision-of)
  (:import-from #:hydramesh/head/exclusions #:exclusion)
  (:import-from #:hydramesh/head/fallbacks #:servable-somehow-p)
  (:import-from #:hydramesh/head/in-force #:class-of-job #:consider-policy #:judged)
  (:import-from #:hydramesh/head/job #:job-class #:job-plan #:job-worker)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length)
  (:import-from #:hydramesh/head/registry
                #:registry-contenders #:registry-count #:registry-in-force #:registry-workers)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/unservable #:excluded #:unservable)
  (:local-nicknames (#:task-errors #:hydramesh/head/task-errors))
  (:export #:considering #:classify #:servable #:why-unservable #:why-late #:decided)
  (:documentation "What the policy in force says of a job, for who leads it through its life.

WORKERS is the registry, GROUPS the ledger and QUEUE where jobs wait."))
(in-package #:hydramesh/head/rulings)

(defun considering (workers queue now)
  "Return the function that has the policy look at a job as of NOW."
  (lambda (job)
    (consider-policy (registry-in-force workers) job now
                     (job-queue-length queue) (registry-count workers))))

(defun classify (workers queue job now)
  "Note which jobs have to wait when the policy lets JOB wait."
  (funcall (considering workers queue now) job)
  (setf (job-class job) (class-of-job (registry-in-force workers) job)))

(defun servable (workers groups queue job now)
  "Return whether JOB can run somewhere, now or later, with its model or a fallback."
  (servable-somehow-p workers groups job (considering workers queue now)))

(defun why-unservable (workers job)
  "Return the TASK-ERROR of JOB, which no worker can serve."
  (let ((exclusion (exclusion workers job)))
    (if exclusion
        (excluded exclusion)
        (unservable job (registry-workers workers)))))

(defun why-late (workers job)
  "Return the TASK-ERROR of JOB, whose deadline has passed."
  (task-errors:late job (and (null (job-worker job)) (exclusion workers job))))

(defun decided (workers job worker)
  "Return the decision by which JOB goes to WORKER, as the last choice was that."
  (decision-of (registry-contenders workers)
               (and (job-plan job)
                    (nth-value 1 (judged (registry-in-force workers) worker job)))))
