(defpackage #:hydramesh/head/waiting
  (:use #:cl)
  (:import-from #:hydramesh/errors #:task-error)
  (:import-from #:hydramesh/head/assignments #:assignments-assign)
  (:import-from #:hydramesh/head/deadlines #:deadlines-add)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-assignments #:dispatcher-groups #:dispatcher-patience #:dispatcher-policy
                #:dispatcher-queue #:dispatcher-races #:dispatcher-started-at #:dispatcher-statistics
                #:dispatcher-workers #:policy-hedging #:policy-queue-size #:policy-worker-timeout)
  (:import-from #:hydramesh/head/eligibility #:may-run-p)
  (:import-from #:hydramesh/head/endings #:dispatcher-fail)
  (:import-from #:hydramesh/head/fallbacks #:place-or-fall-back #:return-to-asked-model)
  (:import-from #:hydramesh/head/job
                #:job-asked-model #:job-awaits #:job-decision #:job-error #:job-number
                #:job-patient-until #:job-queued-at #:job-share)
  (:import-from #:hydramesh/head/job-queue
                #:group-unservable-since #:job-queue-add #:job-queue-await #:job-queue-length
                #:job-queue-serve)
  (:import-from #:hydramesh/head/link #:message-too-large)
  (:import-from #:hydramesh/head/patience #:wait-saving #:wait-worker #:worth-waiting)
  (:import-from #:hydramesh/head/races #:races-begin)
  (:import-from #:hydramesh/head/reading #:note-assigned)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/head/reservations #:note-reservations)
  (:import-from #:hydramesh/head/rulings #:classify #:considering #:decided #:servable)
  (:import-from #:hydramesh/head/scoring #:cost)
  (:import-from #:hydramesh/head/statistics
                #:durations-add #:statistics-patient #:statistics-queued #:statistics-rewarded)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/turnaround #:turnaround-began)
  (:import-from #:hydramesh/head/worker #:worker-free-p #:worker-turnaround)
  (:local-nicknames (#:task-errors #:hydramesh/head/task-errors))
  (:export #:dispatcher-wait #:dispatcher-assign-waiting #:dispatcher-consider #:can-be-served-p
           #:lose-patience #:placed #:room-to-wait-p #:settled-at)
  (:documentation "Jobs that wait, and how they get to the workers that have room for them."))
(in-package #:hydramesh/head/waiting)

(defun settled-at (dispatcher)
  "Return when every worker that was there before this head has been heard from."
  (+ (dispatcher-started-at dispatcher)
     (policy-worker-timeout (dispatcher-policy dispatcher))))

(defun dispatcher-consider (dispatcher job now)
  "Have the policy in force look at JOB, for who explains it."
  (funcall (considering (dispatcher-workers dispatcher) (dispatcher-queue dispatcher) now) job))

(defun can-be-served-p (dispatcher job now)
  "Return whether JOB can run somewhere, now or later."
  (servable (dispatcher-workers dispatcher) (dispatcher-groups dispatcher) (dispatcher-queue dispatcher)
            job now))

(defun room-to-wait-p (dispatcher)
  "Return whether one more job may wait."
  (< (job-queue-length (dispatcher-queue dispatcher))
     (policy-queue-size (dispatcher-policy dispatcher))))

(defun dispatcher-wait (dispatcher job now)
  "Put JOB into the queue."
  (return-to-asked-model job)
  (classify (dispatcher-workers dispatcher) (dispatcher-queue dispatcher) job now)
  (let ((group (job-queue-add (dispatcher-queue dispatcher) job now)))
    (when (and (null (job-error job))
               (< now (settled-at dispatcher)))
      (setf (group-unservable-since group) (dispatcher-started-at dispatcher)))))

(defun dispatcher-assign-waiting (dispatcher now &optional freed)
  "Assign the waiting jobs that workers have room for.
If only the worker FREED has changed, no others are looked at than it may run."
  (let ((queue (dispatcher-queue dispatcher)))
    (when (plusp (job-queue-length queue))
      (let* ((workers (dispatcher-workers dispatcher))
             (free (remove-if-not #'worker-free-p (if freed (list freed) (registry-workers workers))))
             (unsendable '()))
        (job-queue-serve queue
                         (lambda (job)
                           (and (or (null freed) (may-run-p freed job))
                                (let ((worker (handler-case (placed dispatcher job now)
                                                (task-error (error)
                                                  (push (cons job error) unsendable)
                                                  nil))))
                                  (and worker (cost worker job)))))
                         (lambda () (some #'worker-free-p free)))
        (loop for (job . error) in unsendable
              do (dispatcher-fail dispatcher job error now))))))

(defun placed (dispatcher job now)
  "Assign JOB to the worker that should get it now, if there is one; return that.
Signal a TASK-ERROR as `assign` does."
  (multiple-value-bind (worker group)
      (place-or-fall-back (dispatcher-workers dispatcher) (dispatcher-groups dispatcher) job now
                          (considering (dispatcher-workers dispatcher) (dispatcher-queue dispatcher) now))
    (cond ((null worker) nil)
          ((unless group (patient-p dispatcher job worker now)) nil)
          (t
           (job-share job group)
           (note-reservations job)
           (setf (job-decision job) (unless group (decided (dispatcher-workers dispatcher) job worker)))
           (and (assign dispatcher job worker now) worker)))))

(defun patient-p (dispatcher job chosen now)
  "Return whether JOB rather waits for a worker than go to CHOSEN, and let it.
What that saves the first time bounds how long."
  (let ((wait (and (null (job-asked-model job))
                   (room-to-wait-p dispatcher)
                   (worth-waiting (dispatcher-workers dispatcher) chosen job now))))
    (when wait
      (job-queue-await (dispatcher-queue dispatcher) job (wait-worker wait))
      (unless (job-patient-until job)
        (let ((until (+ now (round (* 1000000 (wait-saving wait))))))
          (setf (job-patient-until job) until)
          (deadlines-add (dispatcher-patience dispatcher) until (job-number job))
          (incf (statistics-patient (dispatcher-statistics dispatcher)))))
      t)))

(defun lose-patience (dispatcher job now)
  "Let JOB wait for no worker any more while others are free."
  (setf (job-patient-until job) now)
  (job-queue-await (dispatcher-queue dispatcher) job nil))

(defun assign (dispatcher job worker now)
  "Assign JOB to WORKER; return false if there is no room to tell it.
Signal a TASK-ERROR if it can be told to no worker."
  (when (handler-case (assignments-assign (dispatcher-assignments dispatcher) job worker now)
          (message-too-large (reason)
            (error (task-errors:task-too-large reason))))
    (turnaround-began (worker-turnaround worker) now)
    (when (eq worker (job-awaits job))
      (incf (statistics-rewarded (dispatcher-statistics dispatcher))))
    (durations-add (statistics-queued (dispatcher-statistics dispatcher)) (- now (job-queued-at job)))
    (note-assigned job worker (dispatcher-statistics dispatcher))
    (races-begin (dispatcher-races dispatcher) job (policy-hedging (dispatcher-policy dispatcher)) now)
    t))
