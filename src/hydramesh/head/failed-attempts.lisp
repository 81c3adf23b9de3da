(defpackage #:hydramesh/head/failed-attempts
  (:use #:cl)
  (:import-from #:hydramesh/errors #:task-error-code #:task-error-from-wire)
  (:import-from #:hydramesh/events #:message-payload #:message-peer)
  (:import-from #:hydramesh/head/assignments
                #:assignments-drop-hedge #:assignments-get #:assignments-promote #:assignments-release)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-groups)
  (:import-from #:hydramesh/head/endings #:dispatcher-end-with)
  (:import-from #:hydramesh/head/failover #:dispatcher-blame #:dispatcher-move)
  (:import-from #:hydramesh/head/group-ledger #:group-ledger-failed)
  (:import-from #:hydramesh/head/job
                #:hedge-began-at #:hedge-worker #:job-attempt #:job-attempts #:job-error #:job-failed-here
                #:job-group #:job-hedge #:job-needs #:job-numbers #:job-too-small #:job-too-small-here
                #:job-worker #:numbers-began-at)
  (:import-from #:hydramesh/head/registry #:registry-lending)
  (:import-from #:hydramesh/head/statistics #:statistics-malformed)
  (:import-from #:hydramesh/head/waiting #:dispatcher-assign-waiting)
  (:import-from #:hydramesh/head/worker #:worker-address #:worker-process #:worker-state)
  (:import-from #:hydramesh/head/worker-messages
                #:miss #:miss-second #:worker-messages-assignments #:worker-messages-dispatcher
                #:worker-messages-statistics #:worker-messages-workers)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:can-p #:capability-set)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:worker-messages-error)
  (:documentation "ERRORs of workers: whether another one is tried, and whether the worker is at fault."))
(in-package #:hydramesh/head/failed-attempts)

(defparameter +movable+ (list pb:+worker-lost+ pb:+shutting-down+ pb:+out-of-memory+ pb:+internal+
                              pb:+cancelled+)
  "Errors of a worker after which another one is tried; we never ask for a CANCELLED.")

(defparameter +own-faults+ (list pb:+internal+ pb:+worker-lost+)
  "Errors that speak against the worker, and not against the task or the size of its memory.")

(defun worker-messages-error (messages message now)
  "Act on an ERROR."
  (let* ((said (handler-case (pb:decode 'pb:error (message-payload message))
                 (pb:malformed ()
                   (incf (statistics-malformed (worker-messages-statistics messages)))
                   nil)))
         (job (and said
                   (assignments-get (worker-messages-assignments messages) (pb:error-id said)))))
    (when job
      (cond ((/= (pb:error-id said) (job-attempt job))
             (fail-second messages message job said now))
            ((/= (message-peer message) (worker-address (job-worker job)))
             (miss messages job))
            (t
             (fail-attempt messages job said now))))))

(defun fail-second (messages message job said now)
  "Take JOB off its second worker, which has SAID that it failed. The first one goes on."
  (let* ((assignments (worker-messages-assignments messages))
         (hedge (job-hedge job))
         (worker (hedge-worker hedge)))
    (cond ((/= (message-peer message) (worker-address worker))
           (miss-second messages job now))
          (t
           (assignments-drop-hedge assignments job)
           (note-failed messages job said worker (hedge-began-at hedge) now)
           (dispatcher-assign-waiting (worker-messages-dispatcher messages) now worker)))))

(defun note-failed (messages job said worker began-at now)
  "Note that an attempt at JOB which WORKER began at BEGAN-AT has failed, as was SAID, while another goes on."
  (let ((code (pb:error-code said)))
    (when (at-fault-p code job)
      (dispatcher-blame (worker-messages-dispatcher messages) worker :failed began-at now))
    (when (= code pb:+shutting-down+)
      (setf (worker-state worker) pb:+draining+))
    (job-failed-here job (worker-process worker))))

(defun go-on-with-second (messages job said now)
  "Let the second worker of JOB go on alone, as the first has SAID that it failed."
  (let* ((dispatcher (worker-messages-dispatcher messages))
         (began-at (numbers-began-at (job-numbers job)))
         (worker (assignments-promote (worker-messages-assignments messages) job now)))
    (note-failed messages job said worker began-at now)
    (dispatcher-assign-waiting dispatcher now worker)))

(defun fail-attempt (messages job said now)
  "Move JOB, whose worker has SAID that it failed, or end it."
  (let ((code (pb:error-code said)))
    (if (and (job-hedge job) (or (member code +movable+) (lacks-adapter-p job code)))
        (go-on-with-second messages job said now)
        (move-or-end messages job said now))))

(defun move-or-end (messages job said now)
  (let* ((dispatcher (worker-messages-dispatcher messages))
         (error (task-error-from-wire said))
         (code (pb:error-code said))
         (worker (assignments-release (worker-messages-assignments messages) job now))
         (lacks-adapter (lacks-adapter-p job code)))
    (when (at-fault-p code job)
      (dispatcher-blame dispatcher worker :failed (numbers-began-at (job-numbers job)) now))
    (cond ((and (= code pb:+worker-lost+) (job-group job))
           (group-ledger-failed (dispatcher-groups dispatcher) (job-group job) (pb:error-message said)
                                now)
           (dispatcher-move dispatcher job error nil now))
          ((and (= code pb:+out-of-memory+)
                (null (job-group job))
                (plusp (registry-lending (worker-messages-workers messages)))
                (not (member (worker-process worker) (job-too-small job) :test #'equal)))
           (job-too-small-here job (worker-process worker))
           (decf (job-attempts job))    ; a group may hold what this one could not
           (dispatcher-move dispatcher job error nil now))
          ((or (member code +movable+) lacks-adapter)
           (when (= code pb:+shutting-down+)
             (setf (worker-state worker) pb:+draining+))
           (when (or (= code pb:+shutting-down+) lacks-adapter)
             (decf (job-attempts job))) ; it has not tried
           (dispatcher-move dispatcher job error worker now))
          (t
           (dispatcher-end-with dispatcher error job now)))
    (dispatcher-assign-waiting dispatcher now)))

(defun at-fault-p (code job)
  "Return whether an error with CODE speaks against the worker that had JOB.
A task that fails in the same way on one worker after the other may be what is wrong; and in a group, others
may be."
  (and (member code +own-faults+)
       (null (job-group job))
       (or (null (job-error job))
           (/= code (task-error-code (job-error job))))))

(defun lacks-adapter-p (job code)
  "Return whether CODE says that a worker lacks an adapter: workers have the same model with different ones."
  (and (= code pb:+model-not-found+)
       (can-p (job-needs job) (capability-set pb:+adapters+))))
