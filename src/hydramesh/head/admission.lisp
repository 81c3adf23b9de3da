(defpackage #:hydramesh/head/admission
  (:use #:cl)
  (:import-from #:hydramesh/answer-order #:answer-order-delivered-bytes)
  (:import-from #:hydramesh/head/assignments #:assignments-delivered-bytes)
  (:import-from #:hydramesh/head/clients #:client-began)
  (:import-from #:hydramesh/head/deadlines #:deadlines-add)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-assignments #:dispatcher-deadlines #:dispatcher-jobs #:dispatcher-limits
                #:dispatcher-queue #:dispatcher-tasks-bytes #:dispatcher-workers)
  (:import-from #:hydramesh/head/endings #:dispatcher-fail)
  (:import-from #:hydramesh/head/job
                #:job-answer #:job-bytes #:job-client #:job-deadline #:job-id #:job-number)
  (:import-from #:hydramesh/head/job-queue
                #:job-queue-giving-way #:job-queue-group-of #:job-queue-length #:job-queue-patient)
  (:import-from #:hydramesh/head/limits #:head-limits-tasks-memory)
  (:import-from #:hydramesh/head/rulings #:classify #:why-unservable)
  (:import-from #:hydramesh/head/shares #:share-bytes #:share-queued)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/waiting
                #:can-be-served-p #:dispatcher-assign-waiting #:dispatcher-wait #:lose-patience #:placed
                #:room-to-wait-p #:settled-at)
  (:local-nicknames (#:task-errors #:hydramesh/head/task-errors))
  (:export #:dispatcher-submit)
  (:documentation "Which new jobs are taken, and which of those that wait give way to them."))
(in-package #:hydramesh/head/admission)

(defun dispatcher-submit (dispatcher job now)
  "Assign a new JOB, or let it wait.
When the queue is full, a job of the client that has most in it gives way. Signal a TASK-ERROR if that is
the client of this job, or if no worker can serve it."
  (make-room dispatcher job now)
  (let ((queue (dispatcher-queue dispatcher)))
    (classify (dispatcher-workers dispatcher) queue job now)
    (when (or (zerop (job-queue-length queue))
              (null (job-queue-group-of queue job)))
      (when (placed dispatcher job now)
        (accepted dispatcher job)
        (return-from dispatcher-submit))
      (unless (or (can-be-served-p dispatcher job now)
                  (< now (settled-at dispatcher)))
        (error (why-unservable (dispatcher-workers dispatcher) job))))
    (loop until (room-to-wait-p dispatcher)
          do (make-way dispatcher job #'share-queued 1 (task-errors:queue-full (job-queue-length queue))
                       now)))
  (dispatcher-wait dispatcher job now)
  (accepted dispatcher job))

(defun make-room (dispatcher job now)
  "Let jobs that wait give way until there is memory for JOB."
  (let ((most (head-limits-tasks-memory (dispatcher-limits dispatcher))))
    (loop while (> (+ (dispatcher-tasks-bytes dispatcher) (job-bytes job)) most)
          do (make-way dispatcher job #'share-bytes (job-bytes job) (task-errors:no-memory most) now))))

(defun accepted (dispatcher job)
  "Keep JOB, which runs or waits now, until it ends."
  (incf (dispatcher-tasks-bytes dispatcher) (job-bytes job))
  (incf (assignments-delivered-bytes (dispatcher-assignments dispatcher))
        (answer-order-delivered-bytes (job-answer job)))
  (setf (gethash (job-number job) (dispatcher-jobs dispatcher)) job)
  (client-began (job-client job) (job-id job) job)
  (deadlines-add (dispatcher-deadlines dispatcher) (job-deadline job) (job-number job)))

(defun make-way (dispatcher job measure size refusal now)
  "Fail a waiting job of the client that has most, or refuse JOB by signalling REFUSAL.
If some wait that need not, none fails, but these wait no longer."
  (let* ((queue (dispatcher-queue dispatcher))
         (patient (loop for other being the hash-values of (job-queue-patient queue) collect other)))
    (cond (patient
           (dolist (other patient)
             (lose-patience dispatcher other now))
           (dispatcher-assign-waiting dispatcher now))
          (t
           (let ((leaving (or (job-queue-giving-way queue job measure size)
                              (error refusal))))
             (dispatcher-fail dispatcher leaving (task-errors:gave-way (job-queue-length queue)) now))))))
