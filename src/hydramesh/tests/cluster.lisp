(defpackage #:hydramesh/tests/cluster
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events
                #:make-message #:make-pong #:make-unreachable #:seconds
                #:+heartbeat+ #:+task+ #:+result+ #:+cancel+ #:+error+)
  (:import-from #:hydramesh/head/breaker #:make-breaker-rules)
  (:import-from #:hydramesh/head/core #:make-core #:core-take #:core-tick #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:make-policy #:dispatcher-policy)
  (:import-from #:hydramesh/head/hedging #:make-hedging)
  (:import-from #:hydramesh/head/limits #:make-head-limits)
  (:import-from #:hydramesh/head/link #:link-send #:link-ping #:link-forget #:link-trust)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:cluster #:make-cluster #:cluster-core #:cluster-now #:cluster-room-p #:cluster-paused
           #:new-cluster #:next-number #:restart-head #:pass-time
           #:member #:member-address #:member-inbox #:send #:received #:unreachable #:move-to
           #:worker #:add-worker #:worker-alive-p #:worker-rtt #:worker-heartbeat #:beat #:say #:restart-worker #:die
           #:tasks #:task #:cancelled #:answer #:fail-task
           #:client #:add-client #:client-answers-pings-p #:ask #:cancel #:results #:result
           #:task-errors #:task-error #:status #:code-name)
  (:shadow #:member)
  (:documentation "A head without a network: workers and clients are objects, and time passes when told to."))
(in-package #:hydramesh/tests/cluster)

(defparameter +heartbeat-interval+ (seconds 2))
(defparameter +step+ (seconds 0.1d0))

(defstruct cluster
  "One head with workers and clients. ROOM-P is a function that tells whether a message of that type and
payload may be sent now; it may signal too. PAUSED is how long the head's process was stopped so far."
  (core nil)
  (now (seconds 1000))
  (numbers 0)
  (members (make-hash-table))
  (limits (make-head-limits))
  (room-p (constantly t))
  (paused 0))

(defstruct member
  "Anything at an address; INBOX holds what the head has sent it and it has not read."
  (cluster nil)
  (address 0)
  (inbox '()))

(defstruct (worker (:include member))
  "A worker that does what the test says. While it is ALIVE-P it sends heartbeats, and answers PINGs after
RTT microseconds unless that is NIL."
  (heartbeat nil)
  (alive-p t)
  (rtt 1000)
  (beat-at 0))

(defstruct (client (:include member))
  (answers-pings-p nil))

(defun new-cluster (&key (limits (make-head-limits)) (worker-timeout 10) (queue-size 100)
                         (task-deadline 600) (max-attempts 3) (breaker (make-breaker-rules))
                         (hedging (make-hedging)))
  "Return a cluster whose head is past the time in which it waits for workers; times are in seconds."
  (let ((cluster (make-cluster :limits limits)))
    (start cluster (make-policy :worker-timeout (seconds worker-timeout)
                                :queue-size queue-size
                                :task-deadline (seconds task-deadline)
                                :max-attempts max-attempts
                                :breaker breaker
                                :hedging hedging))
    (incf (cluster-now cluster) (seconds worker-timeout))
    cluster))

(defun start (cluster policy)
  (setf (cluster-core cluster)
        (make-core policy cluster (cluster-now cluster)
                   :paused (lambda () (cluster-paused cluster))
                   :limits (cluster-limits cluster))))

(defun restart-head (cluster)
  (start cluster (dispatcher-policy (core-dispatcher (cluster-core cluster)))))

(defun next-number (cluster)
  (incf (cluster-numbers cluster)))

(defun pass-time (cluster seconds)
  "Let the head tick and live workers beat."
  (loop with end = (+ (cluster-now cluster) (seconds seconds))
        while (< (cluster-now cluster) end)
        do (setf (cluster-now cluster) (min (+ (cluster-now cluster) +step+) end))
           (loop for member being the hash-values of (cluster-members cluster)
                 when (and (worker-p member)
                           (worker-alive-p member)
                           (>= (- (cluster-now cluster) (worker-beat-at member))
                               +heartbeat-interval+))
                   collect member into due
                 finally (mapc #'beat due))
           (core-tick (cluster-core cluster) (cluster-now cluster))))

;;; The head's way out

(defmethod link-send ((cluster cluster) to type payload)
  (when (funcall (cluster-room-p cluster) type payload)
    (let ((member (gethash to (cluster-members cluster))))
      (when member
        (setf (member-inbox member) (append (member-inbox member) (list (cons type payload))))))
    t))

(defmethod link-ping ((cluster cluster) to)
  (let ((member (gethash to (cluster-members cluster))))
    (cond ((and (client-p member) (client-answers-pings-p member))
           (take cluster (make-pong :peer to :rtt 1000)))
          ((and (worker-p member) (worker-alive-p member) (worker-rtt member))
           (take cluster (make-pong :peer to :rtt (worker-rtt member)))))))

(defmethod link-forget ((cluster cluster) peer)
  (declare (ignore peer)))

(defmethod link-trust ((cluster cluster) peer)
  (declare (ignore peer)))

(defun take (cluster event)
  (core-take (cluster-core cluster) event (cluster-now cluster)))

;;; Members

(defun address-on (host cluster)
  "Return the address of a new port on HOST, the last byte of its IP address."
  (ipv4 (logior #xc0000200 host) (next-number cluster)))

(defun join (member host)
  (let ((cluster (member-cluster member)))
    (setf (member-address member) (address-on host cluster)
          (gethash (member-address member) (cluster-members cluster)) member)))

(defun move-to (member host)
  "Give MEMBER another address, as after a new DHCP lease."
  (remhash (member-address member) (cluster-members (member-cluster member)))
  (join member host))

(defun send (member type payload &optional (sequence 1))
  "Send PAYLOAD, octets or a message of the schema."
  (take (member-cluster member)
        (make-message :peer (member-address member)
                      :type type
                      :sequence sequence
                      :payload (if (typep payload '(vector (unsigned-byte 8)))
                                   (coerce payload '(simple-array (unsigned-byte 8) (*)))
                                   (pb:encode payload)))))

(defun received (member type)
  "Take what has come of TYPE out of the inbox."
  (loop for (kind . payload) in (shiftf (member-inbox member)
                                        (remove type (member-inbox member) :key #'car))
        when (= kind type)
          collect payload))

(defun unreachable (member)
  "Let the head find that MEMBER acknowledges nothing."
  (take (member-cluster member) (make-unreachable :peer (member-address member))))

;;; Workers

(defun add-worker (cluster &rest fields &key (id "w") (models '("m")) rate (host 1) (rtt 1000)
                   &allow-other-keys)
  "Add a worker. MODELS are names of loaded ones, conses of a name and a state, or PB:MODEL-STATUSes;
other FIELDS are those of a heartbeat."
  (let ((worker (make-worker :cluster cluster :rtt rtt)))
    (dolist (key '(:id :models :rate :host :rtt))
      (remf fields key))
    (join worker host)
    (setf (worker-heartbeat worker)
          (apply #'pb:make-heartbeat
                 :worker-id id
                 :name id
                 :models (loop for model in models collect (model-of model (or rate 0d0)))
                 (append fields (list :incarnation 1 :state pb:+ready+ :slots 4))))
    (beat worker)
    worker))

(defun model-of (model rate)
  (etypecase model
    (pb:model-status model)
    (string (pb:make-model-status :name model :state pb:+loaded+ :rate rate))
    (cons (pb:make-model-status :name (car model) :state (cdr model) :rate rate))))

(defun beat (worker)
  (setf (worker-beat-at worker) (cluster-now (member-cluster worker)))
  (send worker +heartbeat+ (worker-heartbeat worker)))

(defmacro say (worker &rest changes)
  "Let WORKER send a heartbeat with CHANGES: readers of PB:HEARTBEAT and values, in turn."
  (let ((said (gensym)))
    `(let ((,said (worker-heartbeat ,worker)))
       (setf ,@(loop for (reader value) on changes by #'cddr
                     append `((,reader ,said) ,value)))
       (beat ,worker))))

(defun restart-worker (worker)
  (setf (member-inbox worker) '())
  (say worker pb:heartbeat-incarnation (1+ (pb:heartbeat-incarnation (worker-heartbeat worker)))))

(defun die (worker)
  (setf (worker-alive-p worker) nil))

(defun tasks (worker)
  (loop for payload in (received worker +task+) collect (pb:decode 'pb:task payload)))

(defun only (things)
  "Return the only one of THINGS."
  (assert (= (length things) 1) () "There should be one, and not ~s." things)
  (first things))

(defun task (worker)
  (only (tasks worker)))

(defun cancelled (worker)
  (loop for payload in (received worker +cancel+)
        collect (pb:cancel-id (pb:decode 'pb:cancel payload))))

(defun answer (worker task &rest fields &key index (final t) &allow-other-keys)
  "Send a RESULT of TASK, the last one unless FINAL is NIL."
  (dolist (key '(:index :final))
    (remf fields key))
  (send worker +result+
        (apply #'pb:make-result
               :id (pb:task-id task)
               :final final
               :index (cond (index)
                            ((pb:task-resume task) (pb:resume-index (pb:task-resume task)))
                            (t 0))
               fields)))

(defun fail-task (worker task code &optional (message "it failed"))
  (send worker +error+ (pb:make-error :id (pb:task-id task) :code code :message message)))

;;; Clients

(defun add-client (cluster &optional (host 1))
  (let ((client (make-client :cluster cluster)))
    (join client host)
    client))

(defun ask (client &rest fields &key (model "m") (id (next-number (member-cluster client)))
                                  text image embed load manage transcribe speak rerank &allow-other-keys)
  "Send a text task, or another one in FIELDS; return its id."
  (dolist (key '(:model :id))
    (remf fields key))
  (unless (or text image embed load manage transcribe speak rerank)
    (setf fields (list* :text (pb:make-text-task :prompt "hello") fields)))
  (send client +task+ (apply #'pb:make-task :id id :model model fields))
  id)

(defun cancel (client id)
  (send client +cancel+ (pb:make-cancel :id id)))

(defun results (client)
  (loop for payload in (received client +result+) collect (pb:decode 'pb:result payload)))

(defun result (client)
  (only (results client)))

(defun task-errors (client)
  (loop for payload in (received client +error+) collect (pb:decode 'pb:error payload)))

(defun task-error (client)
  (only (task-errors client)))

(defun code-name (error)
  (pb:enum-name 'pb:error-code (pb:error-code error)))

(defun status (client &rest asked)
  "Return what the head answers to a status task with the fields ASKED."
  (send client +task+ (pb:make-task :id (next-number (member-cluster client))
                                    :status (apply #'pb:make-status-task asked)))
  (pb:result-status (first (last (results client)))))
