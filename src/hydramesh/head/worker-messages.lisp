(defpackage #:hydramesh/head/worker-messages
  (:use #:cl)
  (:import-from #:hydramesh/answer-order
                #:answer-order-delivered-bytes #:answer-order-finished-p #:answer-order-next-index
                #:answer-order-resume-here #:too-much)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/errors #:task-error-code #:task-error-from-wire)
  (:import-from #:hydramesh/events #:message-payload #:message-peer)
  (:import-from #:hydramesh/head/aside #:read-aside)
  (:import-from #:hydramesh/head/assignments
                #:assignments #:assignments-accept #:assignments-follow #:assignments-earliest
                #:assignments-early-bytes #:assignments-delivered-bytes
                #:assignments-call-off #:assignments-drop-hedge #:assignments-promote
                #:assignments-get #:assignments-of #:assignments-recall #:assignments-release
                #:assignments-stop)
  (:import-from #:hydramesh/head/clients #:client-address)
  (:import-from #:hydramesh/head/completion #:dispatcher-complete)
  (:import-from #:hydramesh/head/dialect #:dialect-encodes-p #:dialect-result)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher #:dispatcher-assignments #:dispatcher-groups #:dispatcher-jobs
                #:dispatcher-limits #:dispatcher-observer #:dispatcher-policy #:dispatcher-races
                #:dispatcher-workers #:described #:policy-breaker #:policy-group-threshold #:policy-hedging)
  (:import-from #:hydramesh/head/endings #:dispatcher-end-with #:dispatcher-fail)
  (:import-from #:hydramesh/head/failover
                #:dispatcher-blame #:dispatcher-lose #:dispatcher-move #:dispatcher-take-back)
  (:import-from #:hydramesh/head/group-ledger #:group-ledger-failed)
  (:import-from #:hydramesh/head/health #:worker-lost-race)
  (:import-from #:hydramesh/head/heartbeats #:read-heartbeat)
  (:import-from #:hydramesh/head/job
                #:hedge-began-at #:hedge-worker #:job-attempt #:job-failed-here #:job-hedge
                #:job-answer #:job-asked-model #:job-attempts #:job-client #:job-dialect #:job-group #:job-id
                #:job-kind #:job-error
                #:job-missed-p #:job-model #:job-told-model #:job-needs #:job-numbers #:job-too-small #:job-too-small-here #:job-worker
                #:numbers-began-at #:numbers-bytes-out #:numbers-first-at #:numbers-made)
  (:import-from #:hydramesh/head/limits
                #:head-limits #:head-limits-ahead-memory #:head-limits-delivered-memory)
  (:import-from #:hydramesh/head/link #:link-ping #:link-send #:message-too-large)
  (:import-from #:hydramesh/head/observer #:observe-rate)
  (:import-from #:hydramesh/head/probing #:probe)
  (:import-from #:hydramesh/head/races #:races-heard #:races-won)
  (:import-from #:hydramesh/head/reading #:note-part)
  (:import-from #:hydramesh/head/registry
                #:registry #:registry-at #:registry-deaf-p #:registry-deafen #:registry-get #:registry-heard #:registry-lending
                #:registry-retire)
  (:import-from #:hydramesh/head/statistics
                #:statistics #:statistics-foreign #:statistics-malformed
                #:statistics-refused-heartbeats)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/waiting #:dispatcher-assign-waiting #:dispatcher-wait)
  (:import-from #:hydramesh/head/worker
                #:worker-address #:worker-awaited #:worker-id #:worker-process #:worker-rate #:worker-state)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/service/logs #:log-info)
  (:import-from #:hydramesh/work #:can-p #:capability-set #:getting-ready-p #:work-kind-made)
  (:local-nicknames (#:pb #:hydramesh/schema)
                    (#:task-errors #:hydramesh/head/task-errors))
  (:export #:worker-messages #:make-worker-messages #:worker-messages-heartbeat
           #:worker-messages-result #:worker-messages-error #:worker-messages-unreachable)
  (:documentation "What workers send: HEARTBEATs, and the RESULTs and ERRORs of their tasks."))
(in-package #:hydramesh/head/worker-messages)

(defparameter +movable+ (list pb:+worker-lost+ pb:+shutting-down+ pb:+out-of-memory+ pb:+internal+
                              pb:+cancelled+)
  "Errors of a worker after which another one is tried; we never ask for a CANCELLED.")

(defparameter +heavy+ '(12 13 25 27)
  "Numbers of Result's `images`, `embeddings`, `speech` and `previews`, which are passed on as they came if
they are large.")

(defparameter +own-faults+ (list pb:+internal+ pb:+worker-lost+)
  "Errors that speak against the worker, and not against the task or the size of its memory.")

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

;;; Heartbeats

(defun worker-messages-heartbeat (messages message now)
  "Act on a worker's HEARTBEAT."
  (let ((statistics (worker-messages-statistics messages))
        (heartbeat (read-heartbeat (message-payload message) (worker-messages-limits messages)))
        (workers (worker-messages-workers messages)))
    (cond
      ((null heartbeat)
       (incf (statistics-malformed statistics)))
      ((registry-deaf-p workers (message-peer message))
       (link-ping (worker-messages-link messages) (message-peer message)))
      (t
        (let* ((known (registry-get workers (pb:heartbeat-worker-id heartbeat)))
               (address (if known (worker-address known) 0))
               (rates (new-rates messages heartbeat known)))
          (multiple-value-bind (worker gone)
              (registry-heard workers heartbeat (message-peer message) now)
            (cond ((null worker)
                   (incf (statistics-refused-heartbeats statistics)))
                  (t
                   (note-gone messages worker gone now)
                   (cond ((null known)
                          (apply #'log-info "worker registered" (described worker)))
                         ((and (eq worker known) (/= address (message-peer message)))
                          (renew-missed messages worker now)))
                   (observe-rates messages worker rates now)
                   (act-on-state messages
                                 worker
                                 (and (eq worker known) (null gone) (= address (message-peer message)))
                                 now)))))))))

(defun note-gone (messages worker gone now)
  "Move the jobs of GONE, the workers that WORKER has replaced."
  (dolist (other gone)
    (dispatcher-take-back (worker-messages-dispatcher messages)
                          other
                          (if (string= (worker-id other) (worker-id worker))
                              "was restarted"
                              "has left its address to another")
                          now)))

(defun renew-missed (messages worker now)
  "Ask again for the answers of which parts came before we knew the new address of WORKER."
  (let ((dispatcher (worker-messages-dispatcher messages)))
    (dolist (job (assignments-of (worker-messages-assignments messages) worker))
      (when (and (job-missed-p job) (eq worker (job-worker job)))
        (assignments-recall (worker-messages-assignments messages) job now)
        (decf (job-attempts job))
        (answer-order-resume-here (job-answer job))
        (dispatcher-wait dispatcher job now)))))

(defun act-on-state (messages worker alone now)
  "Lose WORKER if it has stopped; else there may be something for it to do.
ALONE says that its heartbeat tells of no other worker and makes no job wait. Then only the jobs that it may
run are looked at: what else waits is looked at with the next tick, and not a thousand times between two."
  (let ((dispatcher (worker-messages-dispatcher messages)))
    (cond ((= (worker-state worker) pb:+stopped+)
           (registry-retire (worker-messages-workers messages) worker)
           (dispatcher-lose dispatcher worker "was stopped" now))
          (t
           (probe worker (worker-messages-link messages)
                  (policy-group-threshold (dispatcher-policy dispatcher)) now)
           ;; Who waits for it need not any more if it takes no tasks now, or has another model loaded.
           (dispatcher-assign-waiting dispatcher now
                                      (and alone (zerop (worker-awaited worker)) worker))))))

(defun new-rates (messages heartbeat known)
  "Return the models of HEARTBEAT whose rates KNOWN, what is known of the worker, does not have yet.
NIL if nobody wants to know."
  (when (dispatcher-observer (worker-messages-dispatcher messages))
    (remove-if (lambda (model)
                 (let ((rate (pb:model-status-rate model)))
                   (or (zerop rate)
                       (and known
                            (= rate (worker-rate known (pb:model-status-name model)))))))
               (pb:heartbeat-models heartbeat))))

(defun observe-rates (messages worker models now)
  (dolist (model models)
    (observe-rate (dispatcher-observer (worker-messages-dispatcher messages))
                  (worker-id worker)
                  (pb:model-status-name model)
                  (pb:model-status-rate model)
                  now)))

;;; Answers

(defun worker-messages-result (messages message now)
  "Act on a RESULT."
  (multiple-value-bind (part aside)
      (handler-case (read-aside 'pb:result (message-payload message) +heavy+)
        (pb:malformed ()
          (incf (statistics-malformed (worker-messages-statistics messages)))
          nil))
    (when part
      (let* ((assignments (worker-messages-assignments messages))
             (job (assignments-get assignments (pb:result-id part))))
        (cond ((null job)
               (unless (pb:result-final part) ; of a task that was given up, or from before this start
                 (assignments-stop assignments (message-peer message) (pb:result-id part))))
              ((/= (pb:result-id part) (job-attempt job))
               (take-from-second messages message part aside job now))
              ((/= (message-peer message) (worker-address (job-worker job)))
               (miss messages job))
              (t
               (races-heard (dispatcher-races (worker-messages-dispatcher messages)) job now)
               (pass-on messages message part aside job now)))))))

(defun take-from-second (messages message part aside job now)
  "Act on a PART of the answer to JOB from the second worker that it runs on, which is not late."
  (let* ((dispatcher (worker-messages-dispatcher messages))
         (policy (dispatcher-policy dispatcher)))
    (cond ((/= (message-peer message) (worker-address (hedge-worker (job-hedge job))))
           (miss-second messages job now))
          (t
           (multiple-value-bind (first began-at)
               (races-won (dispatcher-races dispatcher) job part (policy-hedging policy) now)
             (when first
               (worker-lost-race first began-at (policy-breaker policy)
                                 (worker-messages-statistics messages) now)
               (races-heard (dispatcher-races dispatcher) job now)
               (pass-on messages message part aside job now)
               (dispatcher-assign-waiting dispatcher now first)))))))

(defun pass-on (messages message part aside job now)
  "Put PART in order, and send on what can be."
  (let ((made (funcall (work-kind-made (job-kind job)) part))
        (payload (message-payload message)))
    ;; What is not next is kept as it came, or not at all.
    (when (and aside (= (pb:result-index part) (answer-order-next-index (job-answer job))))
      (cond ((dialect-encodes-p (job-dialect job))
             (setf (pb:result-images part) '()
                   (pb:result-embeddings part) '()
                   (pb:result-speech part) nil
                   (pb:result-previews part) '()))
            (t
             (setf part (pb:decode 'pb:result payload)
                   aside nil))))
    (when (handler-case (relay-all messages part payload aside made job now)
            (too-much (reason)
              (disown messages job reason now)
              nil))
      (if (answer-order-finished-p (job-answer job))
          (dispatcher-complete (worker-messages-dispatcher messages) job now)
          (check-memory messages now)))))

(defun relay-all (messages part payload aside made job now)
  "Send PART, of which MADE is made, if it is next, and the early ones behind it, one by one: decoded, all
of them could be far more than is kept. Return true unless one cannot be sent, which ends JOB."
  (let ((assignments (worker-messages-assignments messages)))
    (loop for ready = (assignments-accept assignments job part payload)
            then (assignments-follow assignments job)
          for first = t then nil
          while ready
          do (note-part job ready (worker-messages-statistics messages)
                        (worker-messages-entropy messages))
             (setf (pb:result-id ready) (job-id job)
                   (pb:result-model-name ready) (news-of-model job ready))
             (incf (numbers-made (job-numbers job))
                   (if first made (funcall (work-kind-made (job-kind job)) ready)))
             (when (and (zerop (numbers-first-at (job-numbers job)))
                        (not (getting-ready-p ready)))
               (setf (numbers-first-at (job-numbers job)) now))
             (let ((error (relay messages ready (and first aside) job)))
               (when error
                 (dispatcher-fail (worker-messages-dispatcher messages) job error now)
                 (dispatcher-assign-waiting (worker-messages-dispatcher messages) now)
                 (return nil)))
          finally (return t))))

(defun news-of-model (job part)
  "Return the name of the model that answers JOB if the client, to whom PART goes, takes the answer to be of
another one; else \"\"."
  (when (pb:result-started-over part)
    (setf (job-told-model job) (or (job-asked-model job) (job-model job))))
  (if (string= (job-model job) (job-told-model job))
      ""
      (setf (job-told-model job) (job-model job))))

(defun relay (messages part aside job)
  "Send a PART of the answer to the client; return NIL, or why it cannot be sent."
  (let ((answer (dialect-result (job-dialect job) part aside)))
    (incf (numbers-bytes-out (job-numbers job)) (length (cdr answer)))
    (handler-case
        (if (link-send (worker-messages-link messages) (client-address (job-client job))
                       (car answer) (cdr answer))
            nil
            (task-errors:answer-has-no-room))
      (message-too-large (reason)       ; in JSON a part is larger than it was
        (task-errors:answer-too-large reason)))))

(defun check-memory (messages now)
  "Take the job of which most is kept early from its worker, and end the one of which most was delivered,
if too much is kept of all."
  (check-early-memory messages now)
  (check-delivered-memory messages now))

(defun check-delivered-memory (messages now)
  (let ((most (head-limits-delivered-memory (worker-messages-limits messages)))
        (dispatcher (worker-messages-dispatcher messages)))
    (when (> (assignments-delivered-bytes (worker-messages-assignments messages)) most)
      (flet ((kept (job)
               (answer-order-delivered-bytes (job-answer job))))
        (let ((longest (loop with longest = nil
                             for job being the hash-values of (dispatcher-jobs dispatcher)
                             do (when (or (null longest) (> (kept job) (kept longest)))
                                  (setf longest job))
                             finally (return longest))))
          (dispatcher-fail dispatcher longest (task-errors:answers-too-long most) now)
          (dispatcher-assign-waiting dispatcher now))))))

(defun check-early-memory (messages now)
  (let ((most (head-limits-ahead-memory (worker-messages-limits messages)))
        (assignments (worker-messages-assignments messages)))
    (when (> (assignments-early-bytes assignments) most)
      (disown messages
              (assignments-earliest assignments)
              (make-condition 'too-much :of (format nil "more than others of ~d MiB out of order"
                                                    (ash most -20)))
              now))))

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

(defun lacks-adapter-p (job code)
  "Return whether CODE says that a worker lacks an adapter: workers have the same model with different ones."
  (and (= code pb:+model-not-found+)
       (can-p (job-needs job) (capability-set pb:+adapters+))))

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

(defun disown (messages job reason now)
  "Move a JOB whose worker sends more than can be kept."
  (let ((dispatcher (worker-messages-dispatcher messages))
        (worker (job-worker job)))
    (assignments-recall (worker-messages-assignments messages) job now)
    (dispatcher-blame dispatcher worker :failed (numbers-began-at (job-numbers job)) now)
    (dispatcher-move dispatcher job (task-errors:disorderly worker reason) worker now)
    (dispatcher-assign-waiting dispatcher now)))
