(defpackage #:hydramesh/sync/exchange
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/events #:message-payload #:message-peer #:microseconds #:seconds #:+sync+)
  (:import-from #:hydramesh/head/link #:link-send #:link-trust)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:hydramesh/sync/addresses
                #:addresses #:make-addresses #:addresses-count #:addresses-due #:addresses-heard
                #:addresses-known-p #:addresses-let-be #:addresses-own)
  (:import-from #:hydramesh/sync/election #:make-member #:role-of)
  (:import-from #:hydramesh/sync/limits #:+heads+ #:+intake+ #:+left+ #:+pace+)
  (:import-from #:hydramesh/sync/messages #:read-sync)
  (:import-from #:hydramesh/sync/neighbour
                #:make-neighbour #:neighbour-address #:neighbour-deaf-p #:neighbour-due-p #:neighbour-id
                #:neighbour-incarnation #:neighbour-link-ms #:neighbour-lost-p #:neighbour-messages
                #:neighbour-mutual-p #:neighbour-ready-p #:neighbour-replica #:neighbour-restarted
                #:neighbour-retired-p #:neighbour-take #:neighbour-voided)
  (:import-from #:hydramesh/sync/replica
                #:replica-assigned #:replica-fact #:replica-links #:replica-workers)
  (:import-from #:hydramesh/sync/state #:state #:make-state #:state-publish)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:exchange #:make-exchange #:exchange-id #:exchange-neighbours #:exchange-role
           #:exchange-take #:exchange-tick #:exchange-name #:exchange-leave
           #:exchange-received #:exchange-ignored #:exchange-sent #:exchange-bytes)
  (:documentation "What heads tell each other: SYNC messages and the time in, SYNC messages out.

Each head says something of itself only, and counts the versions of that; so whatever arrives late, twice,
or not at all, everybody gets to the same in the end. Whoever is told something says which version it has,
and what it has not is sent again. Heads are looked for where settings and workers say that there is one."))
(in-package #:hydramesh/sync/exchange)

(defstruct (exchange (:constructor make-exchange (id incarnation link facts on-assigned strangers))
                     (:copier nil))
  "ID and INCARNATION are this head's. FACTS is a function that returns all facts of its state as it is now,
see HYDRAMESH/SYNC/STATE, but for what is known here. ON-ASSIGNED is called with a worker's id, the number
of tasks that other heads have on it, and whether any of those heads has tasks that wait, when that may have
changed. STRANGERS: heads are listened to wherever they are, as all have the cluster's key.

NEIGHBOURS are the heads that are heard. LEFT are those that said farewell, ids and incarnations. STAMP is
the time that was last written into a message."
  (id "" :type string :read-only t)
  (incarnation 1 :type (unsigned-byte 64) :read-only t)
  (link nil :read-only t)
  (facts nil :type function :read-only t)
  (on-assigned nil :type function :read-only t)
  (strangers nil :type boolean :read-only t)
  (state (make-state) :type state :read-only t)
  (addresses (make-addresses) :type addresses :read-only t)
  (neighbours '() :type list)
  (left '() :type list)
  (publish-at 0 :type microseconds)
  (stamp 0 :type microseconds)
  (second 0 :type microseconds)
  (taken 0 :type fixnum)
  (twin-told nil :type boolean)
  (received 0 :type unsigned-byte)
  (ignored 0 :type unsigned-byte)
  (sent 0 :type unsigned-byte)
  (bytes 0 :type unsigned-byte))

;;; Who is there

(defun exchange-name (exchange addresses)
  "Look for heads at ADDRESSES, a list in which those come first that matter most, and at no others."
  (dolist (address (addresses-let-be (exchange-addresses exchange) addresses))
    (link-trust (exchange-link exchange) address)))

(defun neighbour-of (exchange id)
  (find id (exchange-neighbours exchange) :key #'neighbour-id :test #'string=))

(defun forget (exchange neighbour how)
  (setf (exchange-neighbours exchange) (remove neighbour (exchange-neighbours exchange)))
  (recount exchange (workers-of neighbour))
  (log-info (format nil "a head ~A" how)
            :head (neighbour-id neighbour) :address (format-address (neighbour-address neighbour))))

(defun recount (exchange worker-ids)
  "Tell what other heads have on workers."
  (dolist (id worker-ids)
    (loop with contested = nil
          for neighbour in (exchange-neighbours exchange)
          for assigned = (replica-assigned (neighbour-replica neighbour) id)
          sum assigned into sum
          when (and (plusp assigned) (waiting-p neighbour))
            do (setf contested t)
          finally (funcall (exchange-on-assigned exchange) id sum contested))))

(defun waiting-p (neighbour)
  (plusp (replica-fact (neighbour-replica neighbour) :queued 0)))

(defun workers-of (neighbour)
  "Return the ids of the workers of which NEIGHBOUR tells something."
  (loop for id being the hash-keys of (replica-workers (neighbour-replica neighbour)) collect id))

;;; Who is the master

(defun own-links (exchange)
  (loop for neighbour in (exchange-neighbours exchange)
        when (neighbour-mutual-p neighbour)
          collect (cons (neighbour-id neighbour) (neighbour-link-ms neighbour))))

(defun links-of (neighbour)
  (loop for id being the hash-keys of (replica-links (neighbour-replica neighbour)) using (hash-value rtt)
        collect (cons id rtt)))

(defun exchange-role (exchange ready)
  "Return the role of this head, a PB:ROLE. It is READY to take tasks or not; alone, it is the master."
  (1+ (role-of (exchange-id exchange)
               (cons (make-member (exchange-id exchange) ready (own-links exchange))
                     (loop for neighbour in (exchange-neighbours exchange)
                           collect (make-member (neighbour-id neighbour)
                                                (neighbour-ready-p neighbour)
                                                (links-of neighbour)))))))

;;; Listening

(defun exchange-take (exchange message now)
  "Take MESSAGE, a SYNC from the network."
  (incf (exchange-received exchange))
  (let ((sync (and (room-p exchange now) (read-sync (message-payload message))))
        (from (message-peer message)))
    (if (and sync (welcome-p exchange sync from))
        (take-from exchange sync from now)
        (incf (exchange-ignored exchange)))))

(defun room-p (exchange now)
  "Return whether no more messages have come than are read in a second."
  (when (>= (- now (exchange-second exchange)) (seconds 1))
    (setf (exchange-second exchange) now
          (exchange-taken exchange) 0))
  (<= (incf (exchange-taken exchange)) +intake+))

(defun welcome-p (exchange sync from)
  "Return whether SYNC comes FROM another head that is to be listened to."
  (let* ((id (pb:sync-head-id sync))
         (incarnation (pb:sync-incarnation sync))
         (known (neighbour-of exchange id)))
    (cond ((string= id (exchange-id exchange))
           (if (= incarnation (exchange-incarnation exchange))
               (addresses-own (exchange-addresses exchange) from)
               (tell-of-twin exchange from))
           nil)
          ((not (or (exchange-strangers exchange)
                    (addresses-known-p (exchange-addresses exchange) from)))
           nil)
          ((member (cons id incarnation) (exchange-left exchange) :test #'equal)
           nil)
          (known
           (not (neighbour-retired-p known incarnation)))
          (t
           (< (length (exchange-neighbours exchange)) +heads+)))))

(defun tell-of-twin (exchange from)
  (unless (exchange-twin-told exchange)
    (setf (exchange-twin-told exchange) t)
    (log-warning "another head has the same id, so the two tell each other nothing; give each a state_dir of
its own"
                 :head (exchange-id exchange) :address (format-address from))))

(defun take-from (exchange sync from now)
  (let* ((id (pb:sync-head-id sync))
         (incarnation (pb:sync-incarnation sync))
         (neighbour (neighbour-of exchange id)))
    (cond ((null neighbour)
           (setf neighbour (greet exchange id incarnation from now)))
          ((/= incarnation (neighbour-incarnation neighbour))
           (recount exchange (neighbour-restarted neighbour incarnation))))
    (let* ((waited (waiting-p neighbour))
           (touched (neighbour-take neighbour sync from (exchange-incarnation exchange)
                                    (exchange-state exchange) now)))
      (recount exchange (if (eq waited (waiting-p neighbour))
                            touched
                            (union touched (workers-of neighbour) :test #'string=))))
    (when (= from (neighbour-address neighbour))
      (addresses-heard (exchange-addresses exchange) from now))
    (when (eql (replica-fact (neighbour-replica neighbour) :state) pb:+stopped+)
      (push (cons id incarnation) (exchange-left exchange))
      (when (nthcdr +left+ (exchange-left exchange))
        (setf (exchange-left exchange) (subseq (exchange-left exchange) 0 +left+)))
      (forget exchange neighbour "has stopped"))))

(defun greet (exchange id incarnation from now)
  "Return the neighbour that is new, in place of another one that was there."
  (let ((there (find from (exchange-neighbours exchange) :key #'neighbour-address))
        (neighbour (make-neighbour id incarnation from now)))
    (when there
      (forget exchange there "was replaced"))
    (push neighbour (exchange-neighbours exchange))
    (log-info "a head is heard" :head id :address (format-address from))
    neighbour))

;;; Telling

(defun exchange-tick (exchange now)
  "Do what time demands; to be called several times a second."
  (dolist (neighbour (exchange-neighbours exchange))
    (cond ((neighbour-lost-p neighbour now)
           (forget exchange neighbour "is heard no more"))
          ((neighbour-deaf-p neighbour now)
           (recount exchange (neighbour-voided neighbour)))))
  (when (exchange-neighbours exchange)
    (when (>= now (exchange-publish-at exchange))
      (setf (exchange-publish-at exchange) (+ now +pace+))
      (publish exchange (funcall (exchange-facts exchange))))
    (dolist (neighbour (exchange-neighbours exchange))
      (when (neighbour-due-p neighbour (exchange-state exchange) now)
        (tell exchange neighbour now))))
  (unless (zerop (addresses-count (exchange-addresses exchange)))
    (dolist (address (addresses-due (exchange-addresses exchange) now
                                    (mapcar #'neighbour-address (exchange-neighbours exchange))))
      (transmit exchange address (pb:encode (greeting exchange now))))))

(defun publish (exchange facts)
  (let ((ready (eql (cdr (assoc :state facts)) pb:+ready+)))
    (state-publish (exchange-state exchange)
                   (list* (cons :role (exchange-role exchange ready))
                          (nconc (loop for (id . rtt) in (own-links exchange)
                                       collect (cons (cons :link id) rtt))
                                 facts)))))

(defun exchange-leave (exchange now)
  "Tell the other heads that this one ends."
  (when (exchange-neighbours exchange)
    (publish exchange (acons :state pb:+stopped+
                             (remove :state (funcall (exchange-facts exchange)) :key #'car)))
    (dolist (neighbour (exchange-neighbours exchange))
      (tell exchange neighbour now))))

(defun greeting (exchange now)
  "Return a PB:SYNC that says who sends it, and when."
  (setf (exchange-stamp exchange) (max now (1+ (exchange-stamp exchange))))
  (pb:make-sync :head-id (exchange-id exchange)
                :incarnation (exchange-incarnation exchange)
                :sent-us (exchange-stamp exchange)))

(defun tell (exchange neighbour now)
  (dolist (payload (neighbour-messages neighbour (exchange-state exchange) now
                                       (lambda () (greeting exchange now))))
    (transmit exchange (neighbour-address neighbour) payload)))

(defun transmit (exchange address payload)
  (when (link-send (exchange-link exchange) address +sync+ payload)
    (incf (exchange-sent exchange))
    (incf (exchange-bytes exchange) (length payload))))
