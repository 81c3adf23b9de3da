(defpackage #:hydramesh/head/endings
  (:use #:cl)
  (:import-from #:hydramesh/answer-order #:answer-order-delivered-bytes #:answer-order-next-index)
  (:import-from #:hydramesh/errors #:task-error-name)
  (:import-from #:hydramesh/head/assignments #:assignments-delivered-bytes #:assignments-recall)
  (:import-from #:hydramesh/head/clients #:client-conclude #:client-ended)
  (:import-from #:hydramesh/head/dialect #:dialect-error)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-assignments #:dispatcher-jobs #:dispatcher-link #:dispatcher-observer
                #:dispatcher-queue #:dispatcher-statistics #:dispatcher-tasks-bytes)
  (:import-from #:hydramesh/head/finished #:tell-finished)
  (:import-from #:hydramesh/head/job
                #:job-answer #:job-arrived-at #:job-bytes #:job-client #:job-dialect #:job-id
                #:job-kind #:job-number #:job-numbers #:job-queued-at #:job-worker #:numbers-queued)
  (:import-from #:hydramesh/head/job-queue #:job-queue-remove)
  (:import-from #:hydramesh/head/statistics #:durations-add #:statistics-count-outcome #:statistics-total)
  (:import-from #:hydramesh/work #:work-kind-name)
  (:export #:dispatcher-fail #:dispatcher-end-with #:dispatcher-end #:dispatcher-withdraw)
  (:documentation "How a job ends: it is taken from where it is, counted, and its client told."))
(in-package #:hydramesh/head/endings)

(defun dispatcher-fail (dispatcher job error now)
  "End JOB with ERROR."
  (dispatcher-withdraw dispatcher job now)
  (dispatcher-end-with dispatcher error job now))

(defun dispatcher-end-with (dispatcher error job now)
  "End JOB, which is neither on a worker nor in the queue, with ERROR."
  (unwind-protect                       ; it is nowhere, so it must not stay
       (client-conclude (job-client job)
                        (job-id job)
                        (dialect-error (job-dialect job) error (job-id job)
                                       (answer-order-next-index (job-answer job)))
                        (dispatcher-link dispatcher))
    (dispatcher-end dispatcher job (task-error-name error) now)))

(defun dispatcher-withdraw (dispatcher job now)
  "Take JOB from where it is, and tell its worker."
  (cond ((job-worker job)
         (assignments-recall (dispatcher-assignments dispatcher) job now))
        (t
         (incf (numbers-queued (job-numbers job)) (- now (job-queued-at job)))
         (job-queue-remove (dispatcher-queue dispatcher) job))))

(defun dispatcher-end (dispatcher job outcome now)
  "Forget JOB, which is neither on a worker nor in the queue, and count its OUTCOME."
  (let ((statistics (dispatcher-statistics dispatcher)))
    (decf (dispatcher-tasks-bytes dispatcher) (job-bytes job))
    (decf (assignments-delivered-bytes (dispatcher-assignments dispatcher))
          (answer-order-delivered-bytes (job-answer job)))
    (remhash (job-number job) (dispatcher-jobs dispatcher))
    (client-ended (job-client job) (job-id job))
    (statistics-count-outcome statistics (work-kind-name (job-kind job)) outcome)
    (durations-add (statistics-total statistics) (- now (job-arrived-at job)))
    (tell-finished (dispatcher-observer dispatcher) job outcome now)))
