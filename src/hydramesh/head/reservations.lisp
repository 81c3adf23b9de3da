(defpackage #:hydramesh/head/reservations
  (:use #:cl)
  (:import-from #:hydramesh/head/job #:job-hedge-worker #:job-inside #:job-plan #:job-worker)
  (:import-from #:hydramesh/head/worker #:worker-inside)
  (:import-from #:hydramesh/policy/limits #:+reservations+)
  (:import-from #:hydramesh/policy/plan #:plan #:plan-inside)
  (:export #:count-in #:count-out #:note-reservations #:recount)
  (:documentation "How many tasks on each worker are of those for which the policy in force reserves something."))
(in-package #:hydramesh/head/reservations)

(defun note-reservations (job)
  "Note of which reservations JOB is, by the plan that it has."
  (setf (job-inside job)
        (if (typep (job-plan job) 'plan) (plan-inside (job-plan job)) 0)))

(defun add (job worker number)
  (let ((counts (worker-inside worker)))
    (dotimes (index (integer-length (job-inside job)))
      (when (logbitp index (job-inside job))
        (incf (svref counts index) number)))))

(defun count-in (job worker)
  "JOB runs on WORKER from now on."
  (unless (zerop (job-inside job))
    (unless (worker-inside worker)
      (setf (worker-inside worker) (make-array +reservations+ :initial-element 0)))
    (add job worker 1)))

(defun count-out (job worker)
  "JOB no longer runs on WORKER."
  (unless (zerop (job-inside job))
    (add job worker -1)))

(defun recount (workers jobs)
  "Count anew, as there is another policy: JOBS are all that run on WORKERS, each with its new plan."
  (dolist (worker workers)
    (setf (worker-inside worker) nil))
  (dolist (job jobs)
    (note-reservations job)
    (count-in job (job-worker job))
    (when (job-hedge-worker job)
      (count-in job (job-hedge-worker job)))))
