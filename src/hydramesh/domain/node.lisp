(defpackage #:hydramesh/domain/node
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/events
                #:microseconds #:octets #:seconds #:wall-clock #:message #:message-peer #:message-type
                #:message-sequence
                #:message-payload #:delivered-peer #:delivered-sequence #:delivered #:unreachable
                #:unreachable-peer
                #:forgotten #:forgotten-peer)
  (:import-from #:hydramesh/head/link #:link-send #:link-forget #:link-trust)
  (:import-from #:hydramesh/service/logs #:log-fault #:log-warning)
  (:import-from #:hydramesh/domain/in-order
                #:make-sender #:sender-put #:sender-next #:sender-sent #:sender-delivered #:sender-idle-p
                #:make-receiver #:receiver-accept #:receiver-gap-p #:receiver-skip
                #:receiver-early-bytes #:read-reliable)
  (:import-from #:hydramesh/domain/limits #:+bare-bytes+ #:+reliable-bytes+ #:+early-bytes+ #:+early-peer-bytes+)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/domain/service
                #:service-name #:start-service #:take-message #:lose-peer #:stop-service)
  (:import-from #:hydramesh/domain/timers
                #:make-timers #:timers-add #:timers-stop #:timers-next #:timers-take)
  (:import-from #:hydramesh/domain/types
                #:+reliable+ #:+game-channel+ #:+iot-channel+ #:bare-type-p #:make-reliable-message)
  (:export #:node #:make-node #:*node* #:*acting* #:*service* #:node-calls #:node-now #:node-peers
           #:node-address #:node-random #:node-store #:node-client
           #:node-counters #:node-add #:node-take #:node-act #:node-due #:node-stop #:node-services
           #:send-bare #:send-reliable #:call-after #:call-every #:stop-timer #:trust #:forget #:count-one
           #:acting)
  (:documentation "A node of DCF: services, their timers, and the order of their messages. It does no I/O:
events and the time come in, messages go out through a link.

Whatever a service does is done inside of `node-take`, `node-act`, `node-add` or `node-stop`, with *NODE*
bound, and an error in it is logged and ends nothing else."))
(in-package #:hydramesh/domain/node)

(defconstant +late-ticks+ 5 "Periods by which a call may be late; more are left out.")
(defparameter +between-faults+ (seconds 5) "Between two reports of faults in the same service.")
(defparameter +look+ (seconds 1) "Between two looks for messages that will not come.")

(defvar *node* nil "The node whose service is doing something.")
(defvar *acting* "a service" "The name of that service.")
(defvar *service* nil "What START-SERVICE returned for it; NIL while it starts, unless that binds it.")

(defstruct peer
  "What is known of an address: SENDERS and RECEIVERS by channel, alists. EARLY-BYTES is what its messages
take that wait for earlier ones."
  (senders '() :type list)
  (receivers '() :type list)
  (early-bytes 0 :type fixnum))

(defstruct (node (:constructor %make-node))
  "PEERS are addresses that the settings name, ADDRESS its own, or NIL without a network, as LINK then is.
KNOWN are peers by address; CALLS counts tasks that are not answered; GAPS has (address . channel) of
receivers whose messages wait for earlier ones. COUNTERS is a hash table."
  (link nil)
  (now 0 :type microseconds)
  (peers '() :type list)
  (address nil :type (or null address))
  (random nil :type random-state)
  (store nil)
  (client nil)
  (calls 0 :type fixnum)
  (services '() :type list)
  (timers (make-timers))
  (known (make-hash-table) :type hash-table)
  (gaps (make-hash-table :test 'eq) :type hash-table)
  (look-at 0 :type microseconds)
  (epoch 0 :type (unsigned-byte 64))
  (early-bytes 0 :type fixnum)
  (counts (make-hash-table :test 'equal) :type hash-table)
  (faults '() :type list))

(defun make-node (link now &key (peers '()) address (random (make-random-state t)) store client)
  "Return a node that sends through LINK, or NIL to send nothing; NOW is the time. CLIENT is what tasks are
given to."
  (let ((node (%make-node :link link :now now :peers peers :address address :random random
                          :store store :client client)))
    (when link
      (dolist (peer peers)
        (link-trust link peer)))
    node))

(defun count-one (node what)
  "Count something by the name WHAT, a string."
  (incf (gethash what (node-counts node) 0)))

(defun node-counters (node)
  "Return an alist of what has been counted, by name."
  (sort (loop for name being the hash-keys of (node-counts node) using (hash-value count)
              collect (cons name count))
        #'string< :key #'car))

;;; Services

(defmacro acting ((node name &optional (service '*service*)) &body body)
  "Do BODY for SERVICE, which is called NAME; return its values; NIL if it fails, which is logged;
and T if a payload is malformed, which is counted."
  `(call-acting ,node ,name ,service (lambda () ,@body)))

(defun call-acting (node name service function)
  (let ((*node* node) (*acting* name) (*service* service))
    (block acting
      (handler-bind ((malformed-payload (lambda (condition)
                                          (declare (ignore condition))
                                          (count-one node "malformed")
                                          (return-from acting t)))
                     (serious-condition (lambda (condition)
                                          (note-fault node name condition)
                                          (return-from acting nil))))
        (funcall function)))))

(defun note-fault (node name condition)
  (count-one node "faults")
  (let ((last (assoc name (node-faults node) :test #'equal)))
    (when (or (null last) (>= (node-now node) (+ (cdr last) +between-faults+)))
      (if last
          (setf (cdr last) (node-now node))
          (push (cons name (node-now node)) (node-faults node)))
      (log-fault (format nil "a handler of ~A failed, and was left" name) condition))))

(defun node-add (node definition)
  "Start DEFINITION on NODE; return what runs. What it signals is not caught."
  (let* ((*node* node)
         (*acting* (service-name definition))
         (running (start-service definition node)))
    (setf (node-services node) (append (node-services node) (list (cons *acting* running))))
    running))

(defun node-stop (node)
  "Stop all services."
  (loop for (name . running) in (node-services node)
        do (acting (node name running) (stop-service running))))

;;; Sending

(defun send-bare (node to type octets)
  "Send OCTETS to the address TO once, as TYPE says; return its number, or NIL without a network, or if too
much waits."
  (declare (type octets octets))
  (assert (bare-type-p type) (type) "~A is not a type that goes once" type)
  (when (> (length octets) +bare-bytes+)
    (error "a message that goes once may have ~D bytes, and this has ~D: send it with send-reliable, or in ~
            parts" +bare-bytes+ (length octets)))
  (and (node-link node)
       (link-send (node-link node) to type octets)))

(defun peer-of (node address)
  (or (gethash address (node-known node))
      (setf (gethash address (node-known node)) (make-peer))))

(defun new-epoch (node)
  (setf (node-epoch node) (max (wall-clock) (1+ (node-epoch node)))))

(defun send-reliable (node to channel octets)
  "Send OCTETS to the address TO until they are acknowledged, after all that was sent on CHANNEL before.
Return whether that is to be: there may be no network, or too many that wait."
  (declare (type octets octets))
  (when (> (length octets) +reliable-bytes+)
    (error "a RELIABLE message may have ~D bytes, and this has ~D: send it in parts"
           +reliable-bytes+ (length octets)))
  (when (node-link node)
    (let* ((peer (peer-of node to))
           (sender (or (cdr (assoc channel (peer-senders peer)))
                       (open-sender node peer channel))))
      (when (sender-put sender octets)
        (send-waiting node to sender)
        t))))

(defun open-sender (node peer channel)
  (let ((sender (make-sender channel (new-epoch node))))
    (push (cons channel sender) (peer-senders peer))
    sender))

(defun send-waiting (node to sender)
  (loop for payload = (sender-next sender)
        while payload
        do (let ((sequence (link-send (node-link node) to +reliable+ payload)))
             ;; Without room it is tried again when something has been acknowledged, or at the next look.
             (unless sequence
               (return))
             (sender-sent sender sequence))))

(defun trust (node peer)
  "Send to the address PEER without reserve: there is reason to expect somebody there."
  (when (node-link node)
    (link-trust (node-link node) peer)))

(defun forget (node peer)
  "Drop all that is known about the address PEER, and what was to be sent to it."
  (drop node peer)
  (when (node-link node)
    (link-forget (node-link node) peer)))

;;; Receiving

(defmacro tracking-early ((node peer receiver) &body body)
  "Do BODY, which may change how much RECEIVER, of PEER, keeps for later; return its values."
  `(let ((before (receiver-early-bytes ,receiver)))
     (multiple-value-prog1 (progn ,@body)
       (let ((more (- (receiver-early-bytes ,receiver) before)))
         (incf (node-early-bytes ,node) more)
         (incf (peer-early-bytes ,peer) more)))))

(defun early-room (node peer)
  (min (- +early-bytes+ (node-early-bytes node))
       (- +early-peer-bytes+ (peer-early-bytes peer))))

(defgeneric take (event node))

(defun node-take (node event now)
  "Act on EVENT, of hydramesh/events."
  (setf (node-now node) (max now (node-now node)))
  (take event node))

(defmethod take (event node)
  nil)

(defmethod take ((event message) node)
  (if (= (message-type event) +reliable+)
      (handler-case (take-reliable node event)
        (malformed-payload () (count-one node "malformed")))
      (dispatch node event)))

(defun dispatch (node message)
  (loop for (name . running) in (node-services node)
        do (when (acting (node name running) (take-message running message))
             (return t))
        finally (count-one node "unclaimed")))

(defun take-reliable (node message)
  (multiple-value-bind (channel behind epoch number body) (read-reliable (message-payload message))
    (let* ((address (message-peer message))
           (peer (peer-of node address))
           (receiver (or (cdr (assoc channel (peer-receivers peer)))
                         (open-receiver node peer channel))))
      (when receiver
        (multiple-value-bind (bodies note)
            (tracking-early (node peer receiver)
              (receiver-accept receiver behind epoch number body (node-now node) (early-room node peer)))
          (when note
            (count-one node (string-downcase note)))
          (when (receiver-gap-p receiver)
            (setf (gethash receiver (node-gaps node)) (cons address channel)))
          (deliver node address channel bodies))))))

(defun open-receiver (node peer channel)
  "Return a receiver for CHANNEL, on which nothing of this peer has come yet; NIL if no program has that
channel."
  (if (not (<= +game-channel+ channel (+ +iot-channel+ 15)))
      (progn (count-one node "unclaimed") nil)
      (let ((receiver (make-receiver)))
        (push (cons channel receiver) (peer-receivers peer))
        receiver)))

(defun deliver (node address channel bodies)
  (dolist (body bodies)
    (dispatch node (make-reliable-message :peer address :type +reliable+ :channel channel :payload body))))

(defmethod take ((event delivered) node)
  (let* ((address (delivered-peer event)) (peer (gethash address (node-known node))))
    (when peer
      (loop for (nil . sender) in (peer-senders peer)
            do (when (sender-delivered sender (delivered-sequence event))
                 (send-waiting node address sender)
                 (return))))))

(defmethod take ((event unreachable) node)
  (lose node (unreachable-peer event)))

(defmethod take ((event forgotten) node)
  (let* ((address (forgotten-peer event)) (peer (gethash address (node-known node))))
    (when peer
      (let ((idle (every #'sender-idle-p (mapcar #'cdr (peer-senders peer)))))
        (drop node address)
        (unless idle
          (lose node address))))))

(defun drop (node address)
  "Know nothing of the peer at ADDRESS any more."
  (let ((peer (gethash address (node-known node))))
    (when peer
      (loop for (nil . receiver) in (peer-receivers peer)
            do (decf (node-early-bytes node) (receiver-early-bytes receiver))
               (remhash receiver (node-gaps node)))
      (remhash address (node-known node)))))

(defun lose (node address)
  "Tell that the peer at ADDRESS gets nothing more of what was to be sent to it."
  (let ((peer (gethash address (node-known node))))
    (when peer
      ;; What is sent from now on is of a new epoch.
      (setf (peer-senders peer) '())
      (when (null (peer-receivers peer))
        (remhash address (node-known node)))))
  (loop for (name . running) in (node-services node)
        do (acting (node name running) (lose-peer running address))))

;;; Time

(defun call-after (node delay function)
  "Have FUNCTION called without arguments after DELAY microseconds; return the timer. Signal TOO-MANY-TIMERS."
  (let ((name *acting*) (service *service*))
    (list (timers-add (node-timers node) (+ (node-now node) (max 0 (round delay)))
                      (lambda () (acting (node name service) (funcall function)))))))

(defun call-every (node period function)
  "Have FUNCTION called every PERIOD microseconds, a rational number, from now on; return the timer. It gets
the number of the period, from 0 on, and by how many microseconds it is called late. What is late by more
than five periods is left out. Signal TOO-MANY-TIMERS."
  (assert (plusp period))
  (let ((start (node-now node)) (tick 0) (handle (list nil)) (name *acting*) (service *service*))
    (labels ((due () (+ start (round (* tick period))))
             (add () (setf (first handle) (timers-add (node-timers node) (due) #'act)))
             (act ()
               (let ((late (- (node-now node) (due))))
                 (when (> late (* +late-ticks+ period))
                   (count-one node "ticks left out")
                   (setf tick (floor (- (node-now node) start) period)
                         late (- (node-now node) (due))))
                 (let ((number tick))
                   (incf tick)
                   (add)
                   (acting (node name service) (funcall function number late))))))
      (add)
      handle)))

(defun stop-timer (node timer)
  "Have TIMER, of `call-after` or `call-every`, call nothing more."
  (when (first timer)
    (timers-stop (node-timers node) (first timer))))

(defun node-due (node)
  "Return when `node-act` is to be called, NIL for never."
  (let ((next (timers-next (node-timers node))) (look (and (busy-p node) (node-look-at node))))
    (if (and next look) (min next look) (or next look))))

(defun busy-p (node)
  (plusp (hash-table-count (node-known node))))

(defun node-act (node now)
  "Do what is due at NOW."
  (setf (node-now node) (max now (node-now node)))
  (loop for (timer function) = (multiple-value-list (timers-take (node-timers node) (node-now node)))
        while timer
        do (funcall function))
  (when (>= (node-now node) (node-look-at node))
    (setf (node-look-at node) (+ (node-now node) +look+))
    (look node)))

(defun skip-gap (node address channel receiver)
  "Go on with the messages of RECEIVER, if what they wait for will not come any more."
  (let ((bodies (tracking-early (node (peer-of node address) receiver)
                  (receiver-skip receiver (node-now node)))))
    (unless (receiver-gap-p receiver)
      (remhash receiver (node-gaps node)))
    (when bodies
      (count-one node "skipped")
      (deliver node address channel bodies))))

(defun look (node)
  "Go on where messages wait for one that does not come, or for room."
  (loop for receiver in (loop for receiver being the hash-keys of (node-gaps node) collect receiver)
        for (address . channel) = (gethash receiver (node-gaps node))
        ;; What a handler does may have dropped a peer meanwhile.
        do (when address
             (skip-gap node address channel receiver)))
  (loop for address being the hash-keys of (node-known node) using (hash-value peer)
        do (loop for (nil . sender) in (peer-senders peer)
                 do (send-waiting node address sender))))
