(defpackage #:hydramesh/head/worker-messages
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/head/assignments #:assignments #:assignments-call-off)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher #:dispatcher-assignments #:dispatcher-limits #:dispatcher-workers)
  (:import-from #:hydramesh/head/failover #:dispatcher-lose)
  (:import-from #:hydramesh/head/job #:job-missed-p)
  (:import-from #:hydramesh/head/limits #:head-limits)
  (:import-from #:hydramesh/head/registry #:registry #:registry-at #:registry-deafen)
  (:import-from #:hydramesh/head/statistics #:statistics #:statistics-foreign)
  (:export #:worker-messages #:make-worker-messages #:worker-messages-unreachable #:miss #:miss-second
           #:worker-messages-assignments #:worker-messages-dispatcher #:worker-messages-entropy
           #:worker-messages-limits #:worker-messages-link #:worker-messages-statistics
           #:worker-messages-workers)
  (:documentation "What acts on the messages of workers: on their HEARTBEATs
(hydramesh/head/registration), and on the RESULTs (hydramesh/head/relaying) and ERRORs
(hydramesh/head/failed-attempts) of their tasks. Here is what these share."))
(in-package #:hydramesh/head/worker-messages)

(defstruct (worker-messages (:constructor %make-worker-messages))
  "Acts on them for the DISPATCHER."
  (dispatcher nil :type dispatcher :read-only t)
  (assignments nil :type assignments :read-only t)
  (workers nil :type registry :read-only t)
  (limits nil :type head-limits :read-only t)
  (link nil :read-only t)
  (statistics nil :type statistics :read-only t)
  (entropy nil :type entropy :read-only t))

(defun make-worker-messages (dispatcher link statistics entropy)
  "Return what acts on the messages of workers; secrets come from ENTROPY."
  (%make-worker-messages :dispatcher dispatcher
                         :assignments (dispatcher-assignments dispatcher)
                         :workers (dispatcher-workers dispatcher)
                         :limits (dispatcher-limits dispatcher)
                         :link link
                         :statistics statistics
                         :entropy entropy))

(defun worker-messages-unreachable (messages peer now)
  "PEER no longer acknowledges anything; if it is a worker, it is lost."
  (let ((worker (registry-at (worker-messages-workers messages) peer)))
    (when worker
      (registry-deafen (worker-messages-workers messages) peer)
      (dispatcher-lose (worker-messages-dispatcher messages) worker "cannot be reached" now))))

(defun miss (messages job)
  "Count what came from elsewhere than the job's worker, or from where it has moved."
  (incf (statistics-foreign (worker-messages-statistics messages)))
  (setf (job-missed-p job) t))

(defun miss-second (messages job now)
  "Call off the second attempt at JOB, of which something came from elsewhere than its worker."
  (incf (statistics-foreign (worker-messages-statistics messages)))
  (assignments-call-off (worker-messages-assignments messages) job now))
