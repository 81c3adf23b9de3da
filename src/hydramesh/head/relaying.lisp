(defpackage #:hydramesh/head/relaying
  (:use #:cl)
  (:import-from #:hydramesh/answer-order
                #:answer-order-delivered-bytes #:answer-order-finished-p #:answer-order-next-index
                #:too-much)
  (:import-from #:hydramesh/events #:message-payload #:message-peer)
  (:import-from #:hydramesh/head/aside #:read-aside)
  (:import-from #:hydramesh/head/assignments
                #:assignments-accept #:assignments-delivered-bytes #:assignments-earliest
                #:assignments-early-bytes #:assignments-follow #:assignments-get #:assignments-recall
                #:assignments-stop)
  (:import-from #:hydramesh/head/clients #:client-address)
  (:import-from #:hydramesh/head/completion #:dispatcher-complete)
  (:import-from #:hydramesh/head/dialect #:dialect-encodes-p #:dialect-result)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-jobs #:dispatcher-policy #:dispatcher-races #:policy-breaker #:policy-hedging)
  (:import-from #:hydramesh/head/endings #:dispatcher-fail)
  (:import-from #:hydramesh/head/failover #:dispatcher-blame #:dispatcher-move)
  (:import-from #:hydramesh/head/health #:worker-lost-race)
  (:import-from #:hydramesh/head/job
                #:hedge-worker #:job-answer #:job-asked-model #:job-attempt #:job-client #:job-dialect
                #:job-hedge #:job-id #:job-kind #:job-model #:job-numbers #:job-told-model #:job-worker
                #:numbers-began-at #:numbers-bytes-out #:numbers-first-at #:numbers-made)
  (:import-from #:hydramesh/head/limits #:head-limits-ahead-memory #:head-limits-delivered-memory)
  (:import-from #:hydramesh/head/link #:link-send #:message-too-large)
  (:import-from #:hydramesh/head/races #:races-heard #:races-won)
  (:import-from #:hydramesh/head/reading #:note-part)
  (:import-from #:hydramesh/head/statistics #:statistics-malformed)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/waiting #:dispatcher-assign-waiting)
  (:import-from #:hydramesh/head/worker #:worker-address)
  (:import-from #:hydramesh/head/worker-messages
                #:miss #:miss-second #:worker-messages-assignments #:worker-messages-dispatcher
                #:worker-messages-entropy #:worker-messages-limits #:worker-messages-link
                #:worker-messages-statistics)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:getting-ready-p #:work-kind-made)
  (:local-nicknames (#:pb #:hydramesh/schema)
                    (#:task-errors #:hydramesh/head/task-errors))
  (:export #:worker-messages-result)
  (:documentation "RESULTs of workers: put in order, sent on to the client, and bounded in what is kept of them."))
(in-package #:hydramesh/head/relaying)

(defparameter +heavy+ '(12 13 25 27)
  "Numbers of Result's `images`, `embeddings`, `speech` and `previews`, which are passed on as they came if
they are large.")

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

(defun disown (messages job reason now)
  "Move a JOB whose worker sends more than can be kept."
  (let ((dispatcher (worker-messages-dispatcher messages))
        (worker (job-worker job)))
    (assignments-recall (worker-messages-assignments messages) job now)
    (dispatcher-blame dispatcher worker :failed (numbers-began-at (job-numbers job)) now)
    (dispatcher-move dispatcher job (task-errors:disorderly worker reason) worker now)
    (dispatcher-assign-waiting dispatcher now)))
