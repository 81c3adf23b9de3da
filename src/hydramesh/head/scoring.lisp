(defpackage #:hydramesh/head/scoring
  (:use #:cl)
  (:import-from #:hydramesh/head/job #:job-model #:job-kind #:job-near-p #:job-plan #:job-size #:job-reading)
  (:import-from #:hydramesh/head/model-index #:worker-model-rate)
  (:import-from #:hydramesh/head/proximity #:proximity-delay)
  (:import-from #:hydramesh/head/reading #:saved)
  (:import-from #:hydramesh/head/worker
                #:worker-proximity #:worker-slots #:worker-load #:worker-last-assignment #:worker-number
                #:worker-weight)
  (:import-from #:hydramesh/head/worker-models #:worker-rate)
  (:import-from #:hydramesh/work #:work-kind-shared #:work-kind-usual-rate)
  (:export #:score #:seconds-on #:stretch #:comes-before-p #:cost)
  (:documentation "How long a task takes on a worker: who is done with it first should get it.

The time is what the task has the worker read and make, over the measured rate of one task there, stretched
by what the worker has already: tasks that run together share it, others come one after the other. What the
worker has read before and should still have need not be read. A worker that was not measured counts as the
fastest, so that it gets measured. Where it matters, the way there counts too. What a
policy gives more weight counts as faster by that much."))
(in-package #:hydramesh/head/scoring)

(declaim (inline stretch seconds-on score))

(defun stretch (worker job &optional (load (worker-load worker)))
  "Return how many times longer JOB takes on WORKER beside LOAD other tasks than alone."
  (let ((load (float (the fixnum load) 1d0)))
    (+ 1d0 (if (work-kind-shared (job-kind job))
               (/ load (worker-slots worker))
               load))))

(defun seconds-on (worker model job fastest &optional (load (worker-load worker)))
  "Return in how many seconds WORKER would be done with JOB beside LOAD other tasks.
MODEL is the WORKER-MODEL of it there, NIL if it has none, and FASTEST the highest rate of all that the
choice is among, 0 if none was measured."
  (declare (type double-float fastest))
  (let ((rate (if model (worker-model-rate model) 0d0)))
    (+ (* (/ (- (+ (job-size job) (job-reading job)) (saved worker job))
             (cond ((plusp rate) rate) ((plusp fastest) fastest) (t 1d0)))
          (stretch worker job load))
       (proximity-delay (worker-proximity worker) (job-near-p job)))))

(defun score (worker model job fastest)
  "Return the same, divided by the weight that the policy in force has just given WORKER; the least is best."
  (let ((seconds (seconds-on worker model job fastest)))
    (if (job-plan job) (/ seconds (worker-weight worker)) seconds)))

(defun comes-before-p (worker other)
  "Return whether WORKER gets a task that OTHER would be done with in the same time."
  (let ((one (worker-last-assignment worker))
        (two (worker-last-assignment other)))
    (or (< one two)
        (and (= one two) (< (worker-number worker) (worker-number other))))))

(defun cost (worker job)
  "Return roughly for how many seconds JOB takes one of the slots of WORKER."
  (let ((rate (worker-rate worker (job-model job))))
    (/ (+ (job-size job) (job-reading job))
       (if (plusp rate) rate (work-kind-usual-rate (job-kind job))))))
