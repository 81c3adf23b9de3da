(defpackage #:hydramesh/head/dispatcher
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/assignments
                #:assignments #:assignments-count #:assignments-unload #:make-assignments)
  (:import-from #:hydramesh/head/breaker #:breaker-rules #:make-breaker-rules)
  (:import-from #:hydramesh/head/deadlines #:deadlines #:make-deadlines)
  (:import-from #:hydramesh/head/group-ledger #:group-ledger #:make-group-ledger)
  (:import-from #:hydramesh/head/hedging #:hedging #:make-hedging)
  (:import-from #:hydramesh/head/job-queue #:job-queue #:job-queue-patient #:make-job-queue)
  (:import-from #:hydramesh/head/limits #:head-limits)
  (:import-from #:hydramesh/head/races #:make-races #:races)
  (:import-from #:hydramesh/head/registry #:make-registry #:registry)
  (:import-from #:hydramesh/head/statistics #:statistics)
  (:import-from #:hydramesh/head/worker #:worker-address #:worker-heartbeat #:worker-id)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:policy #:make-policy #:policy-worker-timeout #:policy-queue-size #:policy-task-deadline
           #:policy-max-attempts #:policy-breaker #:policy-group-threshold #:policy-hedging #:dispatcher
           #:make-dispatcher #:dispatcher-policy #:dispatcher-limits #:dispatcher-workers
           #:dispatcher-groups #:dispatcher-queue #:dispatcher-jobs #:dispatcher-assignments
           #:dispatcher-started-at #:dispatcher-observer #:dispatcher-heads #:dispatcher-tasks-bytes
           #:dispatcher-races #:dispatcher-in-flight #:described #:dispatcher-deadlines #:dispatcher-link
           #:dispatcher-patience #:dispatcher-stalls-at #:dispatcher-statistics)
  (:documentation "The life of a task, sans-IO: start reading here.

A job is assigned to a worker at once (hydramesh/head/admission), or waits in the queue until one has room
(hydramesh/head/waiting). A model that no worker can hold alone is run by several, of which one gets the job.
On a worker it is an attempt with an id of its own, whose RESULTs are put in order and relayed. A job whose
worker is lost, or fails in a way that another worker may not, is assigned again and continues after what was
relayed (hydramesh/head/failover). It ends by being answered or cancelled (hydramesh/head/completion), by an
error (hydramesh/head/endings) or at its deadline (hydramesh/head/timeouts).

Here is what all of these share. Clients' messages come through hydramesh/head/client-messages, workers'
through hydramesh/head/worker-messages."))
(in-package #:hydramesh/head/dispatcher)

(defstruct policy
  "What the head's settings say about tasks and workers. Times are microseconds."
  (worker-timeout 0 :type microseconds)
  (queue-size 0 :type unsigned-byte)
  (task-deadline 0 :type microseconds)
  (max-attempts 1 :type (integer 1))
  (breaker (make-breaker-rules) :type breaker-rules)
  (group-threshold 50000 :type (and microseconds (integer 1)))
  (hedging (make-hedging) :type hedging))

(defstruct (dispatcher (:constructor %make-dispatcher))
  "Every worker and every job; DISPATCHER-TICK has to be called several times a second.
JOBS are all that are not over, by their numbers, and TASKS-BYTES what they take; whether workers stall with
them is looked at next at STALLS-AT. DEADLINES watches all of them, PATIENCE those that wait for a worker
though others are free. OBSERVER is told of tasks that end. HEADS are the other heads, see
HYDRAMESH/HEAD/HEADS."
  (policy nil :type policy)
  (limits nil :type head-limits :read-only t)
  (workers nil :type registry :read-only t)
  (groups nil :type group-ledger :read-only t)
  (queue nil :type job-queue :read-only t)
  (patience nil :type deadlines :read-only t)
  (jobs nil :type hash-table :read-only t)
  (assignments nil :type assignments :read-only t)
  (started-at 0 :type microseconds :read-only t)
  (link nil :read-only t)
  (statistics nil :type statistics :read-only t)
  (deadlines nil :type deadlines :read-only t)
  (races nil :type races :read-only t)
  (stalls-at 0 :type microseconds)
  (tasks-bytes 0 :type fixnum)
  (observer nil)
  (heads nil))

(defun make-dispatcher (policy limits link statistics now paused entropy)
  "Return a dispatcher without workers and jobs.
PAUSED is a function that tells how much time NOW has left out since the start."
  (let ((jobs (make-hash-table))
        (queue (make-job-queue))
        (workers (make-registry limits))
        (assignments (make-assignments link entropy)))
    (%make-dispatcher :policy policy
                      :limits limits
                      :workers workers
                      :groups (make-group-ledger workers limits
                                                (lambda (worker model)
                                                  (assignments-unload assignments worker model)))
                      :queue queue
                      :patience (make-deadlines paused (job-queue-patient queue))
                      :jobs jobs
                      :assignments assignments
                      :started-at now
                      :link link
                      :statistics statistics
                      :deadlines (make-deadlines paused jobs)
                      :races (make-races assignments workers statistics limits jobs))))

(defun dispatcher-in-flight (dispatcher)
  "Return the number of jobs that are on a worker."
  (assignments-count (dispatcher-assignments dispatcher)))

(defun described (worker)
  "Return what a log says of WORKER."
  (list :worker (worker-id worker)
        :name (pb:heartbeat-name (worker-heartbeat worker))
        :address (format-address (worker-address worker))))
