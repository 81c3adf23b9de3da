(defpackage #:hydramesh/head/core
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:make-entropy #:entropy-bits #:entropy-draw)
  (:import-from #:hydramesh/events
                #:message #:message-payload #:message-peer #:message-type
                #:pong #:pong-peer #:pong-rtt
                #:unreachable #:unreachable-peer
                #:+heartbeat+ #:+task+ #:+result+ #:+cancel+ #:+error+ #:+mesh+ #:+sync+)
  (:import-from #:hydramesh/head/client-messages
                #:client-messages #:make-client-messages #:client-messages-cancel
                #:client-messages-closed #:client-messages-pong #:client-messages-task
                #:client-messages-tick #:client-messages-unreachable)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher #:make-dispatcher #:dispatcher-heads #:dispatcher-jobs #:dispatcher-observer
                #:dispatcher-policy #:dispatcher-races #:dispatcher-workers #:policy-group-threshold
                #:policy-worker-timeout)
  (:import-from #:hydramesh/head/endings #:dispatcher-fail)
  (:import-from #:hydramesh/head/failed-attempts #:worker-messages-error)
  (:import-from #:hydramesh/head/faults #:logging-faults #:skipping-faults)
  (:import-from #:hydramesh/head/heads #:make-heads #:heads-leave #:heads-take #:heads-tick)
  (:import-from #:hydramesh/head/job #:job-number)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-nodes)
  (:import-from #:hydramesh/head/link #:link-send)
  (:import-from #:hydramesh/head/nodes #:nodes #:make-nodes #:nodes-take #:nodes-tick)
  (:import-from #:hydramesh/head/presence #:presence)
  (:import-from #:hydramesh/head/probing #:probe-all)
  (:import-from #:hydramesh/head/races #:races-next)
  (:import-from #:hydramesh/head/registration #:worker-messages-heartbeat)
  (:import-from #:hydramesh/head/registry #:registry-answered #:registry-workers)
  (:import-from #:hydramesh/head/relaying #:worker-messages-result)
  (:import-from #:hydramesh/head/statistics #:statistics #:make-statistics #:statistics-malformed)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/head/timeouts #:dispatcher-race #:dispatcher-tick)
  (:import-from #:hydramesh/head/worker-messages
                #:worker-messages #:make-worker-messages #:worker-messages-unreachable)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema)
                    (#:task-errors #:hydramesh/head/task-errors))
  (:export #:core #:make-core #:core-dispatcher #:core-statistics #:core-nodes #:core-closed #:core-observer
           #:core-take #:core-tick #:core-due #:core-act #:core-abandon #:core-leave #:core-heads)
  (:documentation "The whole head without its socket: events and the time in, messages out."))
(in-package #:hydramesh/head/core)

(defstruct (core (:constructor %make-core (statistics link dispatcher nodes clients workers)))
  "Everything the head knows. Times are of a monotonic clock that stands still while this process does."
  (statistics nil :type statistics :read-only t)
  (link nil :read-only t)
  (dispatcher nil :type dispatcher :read-only t)
  (nodes nil :type nodes :read-only t)
  (clients nil :type client-messages :read-only t)
  (workers nil :type worker-messages :read-only t))

(defun make-core (policy link now &key (paused (constantly 0)) (limits +limits+) (node 0)
                                    id sealed (reachable-p (constantly t)))
  "Return a head that knows nobody and sends its messages through LINK.
PAUSED is a function that tells how much time NOW has left out since the start, and NODE this head's
number in DCF's mesh. For other heads: ID is what they know this one by, or NIL for any; SEALED, whether all that
comes is from members of the cluster; REACHABLE-P a function that tells of an address whether a head there may be
spoken to."
  (let* ((statistics (make-statistics))
         (entropy (make-entropy))
         (dispatcher (make-dispatcher policy limits link statistics now paused entropy))
         (nodes (make-nodes node (head-limits-nodes limits) link))
         (core (%make-core statistics
                           link
                           dispatcher
                           nodes
                           (make-client-messages dispatcher nodes link statistics entropy)
                           (make-worker-messages dispatcher link statistics entropy))))
    (setf (dispatcher-heads dispatcher)
          (make-heads dispatcher
                      link
                      (or id (format nil "~(~16,'0X~)" (entropy-draw entropy)))
                      (1+ (entropy-bits entropy 62))
                      :closed-p (lambda () (core-closed core))
                      :reachable-p reachable-p
                      :sealed sealed))
    core))

(defun core-heads (core)
  "Return what knows the other heads."
  (dispatcher-heads (core-dispatcher core)))

(defun core-closed (core)
  "Return whether new tasks are refused."
  (client-messages-closed (core-clients core)))

(defun (setf core-closed) (closed core)
  (setf (client-messages-closed (core-clients core)) closed))

(defun core-observer (core)
  "Return who is told of tasks that end, see HYDRAMESH/HEAD/OBSERVER; NIL if nobody is."
  (dispatcher-observer (core-dispatcher core)))

(defun (setf core-observer) (observer core)
  (setf (dispatcher-observer (core-dispatcher core)) observer))

(defun core-take (core event now)
  "Act on what the mesh reports."
  (logging-faults ("the message")
    (etypecase event
      (message
       (take-message core event now))
      (pong
       (client-messages-pong (core-clients core) (pong-peer event) now)
       (registry-answered (dispatcher-workers (core-dispatcher core)) (pong-peer event)
                          (pong-rtt event) (group-threshold core)))
      (unreachable
       (client-messages-unreachable (core-clients core) (unreachable-peer event) now)
       (worker-messages-unreachable (core-workers core) (unreachable-peer event) now)))))

(defun take-message (core message now)
  (let ((type (message-type message)))
    (cond ((= type +task+) (client-messages-task (core-clients core) message now))
          ((= type +result+) (worker-messages-result (core-workers core) message now))
          ((= type +error+) (worker-messages-error (core-workers core) message now))
          ((= type +cancel+) (client-messages-cancel (core-clients core) message now))
          ((= type +heartbeat+)
           (if (plusp (length (message-payload message)))
               (worker-messages-heartbeat (core-workers core) message now) ; a worker registers
               (answer-presence core (message-peer message))))            ; a client asks
          ((= type +mesh+)
           (unless (nodes-take (core-nodes core) (message-peer message) (message-payload message) now)
             (incf (statistics-malformed (core-statistics core)))))
          ((= type +sync+) (heads-take (core-heads core) message now))
          (t (error "Nobody here reads messages of the type ~d." type)))))

(defun answer-presence (core client)
  (link-send (core-link core)
             client
             +heartbeat+
             (pb:encode (presence (registry-workers (dispatcher-workers (core-dispatcher core)))
                                  (core-closed core)
                                  client))))

(defun core-tick (core now)
  "Do what time demands; call it several times a second."
  (logging-faults ("this tick")
    (probe-all (dispatcher-workers (core-dispatcher core)) (core-link core) (group-threshold core) now)
    (dispatcher-tick (core-dispatcher core) now)
    (client-messages-tick (core-clients core) now)
    (nodes-tick (core-nodes core)
                (policy-worker-timeout (dispatcher-policy (core-dispatcher core)))
                now)
    (heads-tick (core-heads core) now)))

(defun group-threshold (core)
  (policy-group-threshold (dispatcher-policy (core-dispatcher core))))

(defun core-leave (core now)
  "Tell the other heads that this one ends."
  (logging-faults ("the farewell")
    (heads-leave (core-heads core) now)))

(defun core-due (core)
  "Return when CORE-ACT has something to do, NIL if never."
  (races-next (dispatcher-races (core-dispatcher core))))

(defun core-act (core now)
  "Do what would come too late with the next tick: run what is late on a second worker, too."
  (logging-faults ("what is due")
    (dispatcher-race (core-dispatcher core) now)))

(defun core-abandon (core now)
  "End every task with SHUTTING_DOWN."
  (let* ((dispatcher (core-dispatcher core))
         (jobs (loop for job being the hash-values of (dispatcher-jobs dispatcher) collect job)))
    (logging-faults ("the rest")
      (dolist (job (sort jobs #'< :key #'job-number))
        (skipping-faults ("the job")
          (dispatcher-fail dispatcher job (task-errors:stopping) now))))))
