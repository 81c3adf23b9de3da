(defpackage #:hydramesh/head/timeouts
  (:use #:cl)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/deadlines #:deadlines-missed)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-deadlines #:dispatcher-groups #:dispatcher-jobs #:dispatcher-patience
                #:dispatcher-policy #:dispatcher-queue #:dispatcher-races #:dispatcher-stalls-at
                #:dispatcher-workers #:policy-hedging #:policy-worker-timeout)
  (:import-from #:hydramesh/head/endings #:dispatcher-fail)
  (:import-from #:hydramesh/head/failover #:dispatcher-blame #:dispatcher-lose)
  (:import-from #:hydramesh/head/faults #:skipping-faults)
  (:import-from #:hydramesh/head/group-ledger #:group-ledger-tick)
  (:import-from #:hydramesh/head/hedging #:stall)
  (:import-from #:hydramesh/head/job
                #:job-error #:job-group #:job-heard-at #:job-numbers #:job-pace #:job-stalled-p
                #:job-worker #:numbers-began-at)
  (:import-from #:hydramesh/head/job-queue
                #:group-first #:group-jobs #:group-unservable-since #:job-queue-groups)
  (:import-from #:hydramesh/head/races #:races-run)
  (:import-from #:hydramesh/head/registry #:registry-silent-since)
  (:import-from #:hydramesh/head/rulings #:why-late #:why-unservable)
  (:import-from #:hydramesh/head/waiting #:can-be-served-p #:dispatcher-assign-waiting #:lose-patience)
  (:export #:dispatcher-race #:dispatcher-tick)
  (:documentation "What time demands: jobs that are late or that none can serve, workers that are silent or stall."))
(in-package #:hydramesh/head/timeouts)

(defun dispatcher-tick (dispatcher now)
  "Do what time demands: deadlines, silent workers, jobs that waited long enough."
  (loop for job = (deadlines-missed (dispatcher-deadlines dispatcher) now)
        while job
        do (skipping-faults ("ending a job")
             (dispatcher-fail dispatcher job (why-late (dispatcher-workers dispatcher) job) now)))
  (dolist (worker (registry-silent-since
                   (dispatcher-workers dispatcher)
                   (- now (policy-worker-timeout (dispatcher-policy dispatcher)))))
    (skipping-faults ("losing a worker")
      (dispatcher-lose dispatcher worker "was silent for too long" now)))
  (skipping-faults ("hedging jobs")
    (dispatcher-race dispatcher now))
  (skipping-faults ("looking for stalls")
    (blame-stalls dispatcher now))
  (skipping-faults ("forgetting groups")
    (group-ledger-tick (dispatcher-groups dispatcher) now))
  (skipping-faults ("assigning jobs")
    (loop for job = (deadlines-missed (dispatcher-patience dispatcher) now)
          while job
          do (lose-patience dispatcher job now))
    (dispatcher-assign-waiting dispatcher now))
  (skipping-faults ("ending jobs that no worker can serve")
    (fail-unservable dispatcher now)))

(defconstant +look-for-stalls+ (seconds 1))

(defun blame-stalls (dispatcher now)
  "Blame the workers of which no part of an answer has come for far longer than is usual there."
  (when (>= now (dispatcher-stalls-at dispatcher))
    (setf (dispatcher-stalls-at dispatcher) (+ now +look-for-stalls+))
    (loop for job being the hash-values of (dispatcher-jobs dispatcher)
          when (and (job-worker job) (job-pace job) (not (job-stalled-p job)))
            do (let* ((began-at (numbers-began-at (job-numbers job)))
                      (quiet (- now (or (job-heard-at job) began-at)))
                      (most (and (>= quiet +look-for-stalls+) (stall (job-pace job)))))
                 (when (and most (> quiet most))
                   (setf (job-stalled-p job) t)
                   (dispatcher-blame dispatcher (job-worker job) :stalled began-at now))))))

(defun dispatcher-race (dispatcher now)
  "Run the jobs that are late on a second worker too, see hydramesh/head/races; there are none before
RACES-NEXT."
  (races-run (dispatcher-races dispatcher) (policy-hedging (dispatcher-policy dispatcher)) now))

(defun fail-unservable (dispatcher now)
  "Fail the jobs that no worker can serve, after giving workers time to return."
  (let ((patience (policy-worker-timeout (dispatcher-policy dispatcher))))
    (dolist (group (job-queue-groups (dispatcher-queue dispatcher)))
      (cond ((can-be-served-p dispatcher (group-first group) now)
             (setf (group-unservable-since group) nil))
            ((null (group-unservable-since group))
             (setf (group-unservable-since group) now))
            ((>= (- now (group-unservable-since group)) patience)
             (dolist (job (group-jobs group))
               (skipping-faults ("ending a job")
                 (dispatcher-fail dispatcher
                                  job
                                  ;; Of a group that is gone, who was lost says less than what there is.
                                  (or (and (null (job-group job)) (job-error job))
                                      (why-unservable (dispatcher-workers dispatcher) job))
                                  now))))))))
