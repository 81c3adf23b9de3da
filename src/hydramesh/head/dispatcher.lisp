(defpackage #:hydramesh/head/dispatcher
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/answer-order
                #:answer-order-delivered-bytes #:answer-order-next-index #:answer-order-resume-here)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/errors #:task-error #:task-error-code #:task-error-name)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/assignments
                #:assignments #:make-assignments #:assignments-count #:assignments-assign
                #:assignments-delivered-bytes #:assignments-drop-hedge #:assignments-promote
                #:assignments-of #:assignments-with-part-on #:assignments-recall #:assignments-release
                #:assignments-unload)
  (:import-from #:hydramesh/head/breaker #:breaker-rules #:make-breaker-rules)
  (:import-from #:hydramesh/head/clients
                #:client-began #:client-conclude #:client-ended)
  (:import-from #:hydramesh/head/deadlines
                #:deadlines #:make-deadlines #:deadlines-add #:deadlines-missed)
  (:import-from #:hydramesh/head/dialect #:dialect-error)
  (:import-from #:hydramesh/head/eligibility #:may-run-p)
  (:import-from #:hydramesh/head/fallbacks #:place-or-fall-back #:return-to-asked-model)
  (:import-from #:hydramesh/head/faults #:skipping-faults)
  (:import-from #:hydramesh/head/finished #:tell-finished)
  (:import-from #:hydramesh/head/group-ledger
                #:group-ledger #:make-group-ledger #:group-ledger-lost #:group-ledger-tick)
  (:import-from #:hydramesh/head/health #:worker-failed #:worker-succeeded)
  (:import-from #:hydramesh/head/hedging #:hedging #:make-hedging #:stall)
  (:import-from #:hydramesh/head/job
                #:job-heard-at #:job-hedge #:job-pace #:job-stalled-p
                #:job #:job-answer #:job-asked-model #:job-awaits #:job-patient-until #:job-arrived-at #:job-attempts #:job-bytes #:job-client #:job-deadline #:job-decision
                #:job-dialect #:job-error #:job-group #:job-share #:job-failed-here #:job-too-small #:job-id #:job-kind #:job-number #:job-numbers
                #:job-queued-at #:job-worker #:numbers-began-at #:numbers-moved #:numbers-queued
                #:numbers-ran)
  (:import-from #:hydramesh/head/job-queue
                #:job-queue #:make-job-queue #:job-queue-add #:job-queue-giving-way #:job-queue-group-of
                #:job-queue-await #:job-queue-groups #:job-queue-length #:job-queue-patient #:job-queue-remove
                #:job-queue-serve
                #:group-first #:group-jobs #:group-unservable-since)
  (:import-from #:hydramesh/head/limits #:head-limits #:head-limits-tasks-memory)
  (:import-from #:hydramesh/head/link #:link-forget #:message-too-large)
  (:import-from #:hydramesh/head/patience #:wait-saving #:wait-worker #:worth-waiting)
  (:import-from #:hydramesh/head/races #:races #:make-races #:races-begin #:races-run)
  (:import-from #:hydramesh/head/reading #:note-assigned)
  (:import-from #:hydramesh/head/registry
                #:registry #:make-registry #:registry-remove #:registry-silent-since #:registry-workers)
  (:import-from #:hydramesh/head/reservations #:note-reservations)
  (:import-from #:hydramesh/head/rulings
                #:classify #:considering #:decided #:servable #:why-late #:why-unservable)
  (:import-from #:hydramesh/head/scoring #:cost)
  (:import-from #:hydramesh/head/shares #:share-bytes #:share-queued)
  (:import-from #:hydramesh/head/statistics
                #:statistics #:statistics-count-outcome #:statistics-moved #:statistics-patient
                #:statistics-queued #:statistics-rewarded
                #:statistics-total #:durations-add #:+done+ #:+cancelled+)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/turnaround #:turnaround-began #:turnaround-ended)
  (:import-from #:hydramesh/head/worker
                #:worker-address #:worker-free-p #:worker-heartbeat #:worker-id #:worker-process
                #:worker-state #:worker-turnaround)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:hydramesh/work #:work-kind-name)
  (:local-nicknames (#:pb #:hydramesh/schema)
                    (#:task-errors #:hydramesh/head/task-errors))
  (:export #:policy #:make-policy #:policy-worker-timeout #:policy-queue-size #:policy-task-deadline
           #:policy-max-attempts #:policy-breaker #:policy-group-threshold #:policy-hedging
           #:dispatcher #:make-dispatcher #:dispatcher-policy #:dispatcher-limits #:dispatcher-workers
           #:dispatcher-groups #:dispatcher-queue #:dispatcher-jobs #:dispatcher-assignments #:dispatcher-started-at
           #:dispatcher-observer #:dispatcher-heads #:dispatcher-tasks-bytes
           #:dispatcher-races #:dispatcher-race
           #:dispatcher-in-flight #:dispatcher-tick #:dispatcher-submit #:dispatcher-cancel
           #:dispatcher-fail #:dispatcher-complete #:dispatcher-end-with #:dispatcher-lose
           #:dispatcher-take-back #:dispatcher-blame #:dispatcher-move #:dispatcher-wait #:dispatcher-assign-waiting
           #:dispatcher-consider
           #:described)
  (:documentation "The life of a task, sans-IO: start reading here.

A job is assigned to a worker at once, or waits in the queue until one has room. A model that no worker can
hold alone is run by several, of which one gets the job. On a worker it is an
attempt with an id of its own, whose RESULTs are put in order and relayed. A job whose worker is lost, or
fails in a way that another worker may not, is assigned again and continues after what was relayed. It
ends by being answered, by an error, by being cancelled or at its deadline.

Clients' messages come through hydramesh/head/client-messages, workers' through
hydramesh/head/worker-messages."))
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
  "Every worker and every job; TICK has to be called several times a second.
JOBS are all that are not over, by their numbers; whether workers stall with them is looked at next at
STALLS-AT. PATIENCE watches those that wait for a worker though others are free. OBSERVER is told of tasks that end. HEADS are the other heads, see HYDRAMESH/HEAD/HEADS."
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

;;; Jobs in

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
          do (make-way dispatcher job #'share-queued 1 (task-errors:queue-full (job-queue-length queue)) now)))
  (dispatcher-wait dispatcher job now)
  (accepted dispatcher job))

(defun make-room (dispatcher job now)
  "Let jobs that wait give way until there is memory for JOB."
  (let ((most (head-limits-tasks-memory (dispatcher-limits dispatcher))))
    (loop while (> (+ (dispatcher-tasks-bytes dispatcher) (job-bytes job)) most)
          do (make-way dispatcher job #'share-bytes (job-bytes job) (task-errors:no-memory most) now))))

(defun accepted (dispatcher job)
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

(defun room-to-wait-p (dispatcher)
  (< (job-queue-length (dispatcher-queue dispatcher))
     (policy-queue-size (dispatcher-policy dispatcher))))

;;; Jobs out

(defun dispatcher-cancel (dispatcher jobs now)
  "End JOBS, a list, without telling their client."
  (dolist (job jobs)
    (withdraw dispatcher job now)
    (end dispatcher job +cancelled+ now))
  (dispatcher-assign-waiting dispatcher now))

(defun dispatcher-fail (dispatcher job error now)
  "End JOB with ERROR."
  (withdraw dispatcher job now)
  (dispatcher-end-with dispatcher error job now))

(defun dispatcher-complete (dispatcher job now)
  "End JOB, whose answer has been relayed."
  (let ((worker (assignments-release (dispatcher-assignments dispatcher) job now)))
    (worker-succeeded worker (numbers-began-at (job-numbers job)))
    (turnaround-ended (worker-turnaround worker) (numbers-ran (job-numbers job)) now)
    (end dispatcher job +done+ now)
    (dispatcher-assign-waiting dispatcher now worker)))

(defun dispatcher-end-with (dispatcher error job now)
  "End JOB, which is neither on a worker nor in the queue, with ERROR."
  (unwind-protect                       ; it is nowhere, so it must not stay
       (client-conclude (job-client job)
                        (job-id job)
                        (dialect-error (job-dialect job) error (job-id job)
                                       (answer-order-next-index (job-answer job)))
                        (dispatcher-link dispatcher))
    (end dispatcher job (task-error-name error) now)))

(defun withdraw (dispatcher job now)
  "Take JOB from where it is, and tell its worker."
  (cond ((job-worker job)
         (assignments-recall (dispatcher-assignments dispatcher) job now))
        (t
         (incf (numbers-queued (job-numbers job)) (- now (job-queued-at job)))
         (job-queue-remove (dispatcher-queue dispatcher) job))))

(defun end (dispatcher job outcome now)
  (let ((statistics (dispatcher-statistics dispatcher)))
    (decf (dispatcher-tasks-bytes dispatcher) (job-bytes job))
    (decf (assignments-delivered-bytes (dispatcher-assignments dispatcher))
          (answer-order-delivered-bytes (job-answer job)))
    (remhash (job-number job) (dispatcher-jobs dispatcher))
    (client-ended (job-client job) (job-id job))
    (statistics-count-outcome statistics (work-kind-name (job-kind job)) outcome)
    (durations-add (statistics-total statistics) (- now (job-arrived-at job)))
    (tell-finished (dispatcher-observer dispatcher) job outcome now)))

;;; Lost workers

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

;;; Waiting jobs

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

(defun described (worker)
  "Return what a log says of WORKER."
  (list :worker (worker-id worker)
        :name (pb:heartbeat-name (worker-heartbeat worker))
        :address (format-address (worker-address worker))))
