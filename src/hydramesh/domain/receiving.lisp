(defpackage #:hydramesh/domain/receiving
  (:use #:cl)
  (:import-from #:hydramesh/domain/in-order
                #:make-receiver #:read-reliable #:receiver-accept #:receiver-early-bytes #:receiver-gap-p
                #:receiver-skip #:sender-delivered #:sender-idle-p)
  (:import-from #:hydramesh/domain/limits #:+early-bytes+ #:+early-peer-bytes+)
  (:import-from #:hydramesh/domain/node
                #:acting #:count-one #:node-early-bytes #:node-gaps #:node-known #:node-link #:node-now
                #:node-services #:peer-early-bytes #:peer-of #:peer-receivers #:peer-senders)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/domain/sending #:send-waiting)
  (:import-from #:hydramesh/domain/service #:lose-peer #:take-message)
  (:import-from #:hydramesh/domain/types
                #:make-reliable-message #:+game-channel+ #:+iot-channel+ #:+reliable+)
  (:import-from #:hydramesh/events
                #:delivered #:delivered-peer #:delivered-sequence #:forgotten #:forgotten-peer #:message
                #:message-payload #:message-peer #:message-type #:unreachable #:unreachable-peer)
  (:import-from #:hydramesh/head/link #:link-forget)
  (:export #:node-take #:forget #:skip-gap)
  (:documentation "What comes to a node: its services get messages in order, and hear of lost peers."))
(in-package #:hydramesh/domain/receiving)

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

(defun node-take (node event now)
  "Act on EVENT, of hydramesh/events."
  (setf (node-now node) (max now (node-now node)))
  (take event node))

(defgeneric take (event node)
  (:documentation "Act on EVENT, of hydramesh/events; what is of no interest here is left out."))

(defmethod take (event node)
  nil)

(defmethod take ((event message) node)
  (if (= (message-type event) +reliable+)
      (handler-case (take-reliable node event)
        (malformed-payload () (count-one node "malformed")))
      (dispatch node event)))

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

(defun skip-gap (node address channel receiver)
  "Go on with the messages of RECEIVER, if what they wait for will not come any more."
  (let ((bodies (tracking-early (node (peer-of node address) receiver)
                  (receiver-skip receiver (node-now node)))))
    (unless (receiver-gap-p receiver)
      (remhash receiver (node-gaps node)))
    (when bodies
      (count-one node "skipped")
      (deliver node address channel bodies))))

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

(defun forget (node peer)
  "Drop all that is known about the address PEER, and what was to be sent to it."
  (drop node peer)
  (when (node-link node)
    (link-forget (node-link node) peer)))
