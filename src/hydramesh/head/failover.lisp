(defpackage #:hydramesh/head/failover
  (:use #:cl)
  (:import-from #:hydramesh/answer-order #:answer-order-resume-here)
  (:import-from #:hydramesh/errors #:task-error-code)
  (:import-from #:hydramesh/head/assignments
                #:assignments-drop-hedge #:assignments-of #:assignments-promote #:assignments-recall
                #:assignments-release #:assignments-with-part-on)
  (:import-from #:hydramesh/head/dispatcher
                #:described #:dispatcher-assignments #:dispatcher-groups #:dispatcher-in-flight
                #:dispatcher-link #:dispatcher-policy #:dispatcher-statistics #:dispatcher-workers
                #:policy-breaker #:policy-max-attempts)
  (:import-from #:hydramesh/head/endings #:dispatcher-end-with)
  (:import-from #:hydramesh/head/group-ledger #:group-ledger-lost)
  (:import-from #:hydramesh/head/health #:worker-failed)
  (:import-from #:hydramesh/head/job
                #:job-answer #:job-attempts #:job-error #:job-failed-here #:job-hedge #:job-numbers
                #:job-too-small #:job-worker #:numbers-moved)
  (:import-from #:hydramesh/head/link #:link-forget)
  (:import-from #:hydramesh/head/registry #:registry-remove)
  (:import-from #:hydramesh/head/statistics #:statistics-moved)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/waiting #:can-be-served-p #:dispatcher-assign-waiting #:dispatcher-wait)
  (:import-from #:hydramesh/head/worker #:worker-address #:worker-process #:worker-state)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:local-nicknames (#:pb #:hydramesh/schema)
                    (#:task-errors #:hydramesh/head/task-errors))
  (:export #:dispatcher-lose #:dispatcher-take-back #:dispatcher-blame #:dispatcher-move)
  (:documentation "What becomes of the jobs of workers that are lost or fail, and how these are blamed."))
(in-package #:hydramesh/head/failover)

(defun dispatcher-lose (dispatcher worker what now)
  "Forget WORKER and move its jobs; WHAT says in which way it was lost."
  (let ((jobs (assignments-of (dispatcher-assignments dispatcher) worker)))
    ;; However many it had: they were lost together.
    (unless (or (null jobs) (= (worker-state worker) pb:+stopped+))
      (dispatcher-blame dispatcher worker :lost now now)))
  (registry-remove (dispatcher-workers dispatcher) worker)
  (dispatcher-take-back dispatcher worker what now)
  (dispatcher-assign-waiting dispatcher now))

(defun dispatcher-take-back (dispatcher worker what now)
  "Move the jobs of a process that is gone."
  (let ((jobs (assignments-of (dispatcher-assignments dispatcher) worker)))
    (apply (if (and (= (worker-state worker) pb:+stopped+) (null jobs)) #'log-info #'log-warning)
           (format nil "worker ~a" what)
           :tasks (length jobs)
           (described worker))
    (link-forget (dispatcher-link dispatcher) (worker-address worker))
    (dolist (job jobs)
      (take-from dispatcher job worker what now))
    (group-ledger-lost (dispatcher-groups dispatcher) (worker-process worker))
    ;; The leader of a group may take long to notice, or be told nothing.
    (when (plusp (dispatcher-in-flight dispatcher))
      (dolist (job (assignments-with-part-on (dispatcher-assignments dispatcher)
                                             (worker-process worker)))
        (assignments-recall (dispatcher-assignments dispatcher) job now)
        (dispatcher-move dispatcher job (task-errors:worker-lost worker what) nil now)))))

(defun take-from (dispatcher job worker what now)
  "Move JOB, which WORKER had and is gone, unless another one has it too."
  (let ((assignments (dispatcher-assignments dispatcher)))
    (cond ((not (eq worker (job-worker job)))
           (assignments-drop-hedge assignments job))
          ((job-hedge job)
           (assignments-promote assignments job now))
          (t
           (assignments-release assignments job now)
           (dispatcher-move dispatcher job (task-errors:worker-lost worker what) worker now)))))

(defun dispatcher-blame (dispatcher worker what began-at now)
  "Count that an attempt which WORKER had begun at BEGAN-AT has failed by its fault, see WORKER-FAILED."
  (worker-failed worker what began-at (policy-breaker (dispatcher-policy dispatcher))
                 (dispatcher-statistics dispatcher) now))

(defun passing-p (error)
  "Return whether it is worth waiting for a worker to come (back) after ERROR."
  (member (task-error-code error) (list pb:+worker-lost+ pb:+shutting-down+)))

(defun dispatcher-move (dispatcher job error worker now)
  "Let JOB, which has failed on WORKER, wait for another, or end it with ERROR.
It may go to the same one again if that was not at fault, and WORKER is NIL."
  (setf (job-error job) error)
  (when worker
    (job-failed-here job (worker-process worker)))
  (cond ((or (>= (job-attempts job) (policy-max-attempts (dispatcher-policy dispatcher)))
             (not (or (passing-p error)
                      ;; A worker's heartbeat may tell only later how much the model takes.
                      (and (job-too-small job) (= (task-error-code error) pb:+out-of-memory+))
                      (can-be-served-p dispatcher job now))))
         (dispatcher-end-with dispatcher error job now))
        (t
         (incf (statistics-moved (dispatcher-statistics dispatcher)))
         (incf (numbers-moved (job-numbers job)))
         (answer-order-resume-here (job-answer job))
         (dispatcher-wait dispatcher job now))))
