(defpackage #:hydramesh/head/registration
  (:use #:cl)
  (:import-from #:hydramesh/answer-order #:answer-order-resume-here)
  (:import-from #:hydramesh/events #:message-payload #:message-peer)
  (:import-from #:hydramesh/head/assignments #:assignments-of #:assignments-recall)
  (:import-from #:hydramesh/head/dispatcher
                #:described #:dispatcher-observer #:dispatcher-policy #:policy-group-threshold)
  (:import-from #:hydramesh/head/failover #:dispatcher-lose #:dispatcher-take-back)
  (:import-from #:hydramesh/head/heartbeats #:read-heartbeat)
  (:import-from #:hydramesh/head/job #:job-answer #:job-attempts #:job-missed-p #:job-worker)
  (:import-from #:hydramesh/head/link #:link-ping)
  (:import-from #:hydramesh/head/observer #:observe-rate)
  (:import-from #:hydramesh/head/probing #:probe)
  (:import-from #:hydramesh/head/registry #:registry-deaf-p #:registry-get #:registry-heard #:registry-retire)
  (:import-from #:hydramesh/head/statistics #:statistics-malformed #:statistics-refused-heartbeats)
  (:import-from #:hydramesh/head/waiting #:dispatcher-assign-waiting #:dispatcher-wait)
  (:import-from #:hydramesh/head/worker #:worker-address #:worker-awaited #:worker-id #:worker-state)
  (:import-from #:hydramesh/head/worker-messages
                #:worker-messages-assignments #:worker-messages-dispatcher #:worker-messages-limits
                #:worker-messages-link #:worker-messages-statistics #:worker-messages-workers)
  (:import-from #:hydramesh/head/worker-models #:worker-rate)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/service/logs #:log-info)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:worker-messages-heartbeat)
  (:documentation "HEARTBEATs of workers: they register, move, say what they can, and stop."))
(in-package #:hydramesh/head/registration)

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
  "Tell who wants to know of the rates of MODELS on WORKER."
  (dolist (model models)
    (observe-rate (dispatcher-observer (worker-messages-dispatcher messages))
                  (worker-id worker)
                  (pb:model-status-name model)
                  (pb:model-status-rate model)
                  now)))
