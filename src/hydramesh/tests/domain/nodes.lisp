(defpackage #:hydramesh/tests/domain/nodes
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:is-true #:is-false #:signals #:skip)
  (:import-from #:hydramesh/domain/in-order
                #:make-receiver #:receiver-accept #:receiver-gap-p #:read-reliable)
  (:import-from #:hydramesh/domain/limits #:+reliable-waiting+ #:+reliable-window+)
  (:import-from #:hydramesh/domain/node #:node-add #:node-counters #:node-services #:node-stop)
  (:import-from #:hydramesh/domain/packing #:malformed-payload #:packed)
  (:import-from #:hydramesh/domain/payloads
                #:read-game-event #:read-position #:write-game-event #:write-position)
  (:import-from #:hydramesh/domain/service
                #:lose-peer #:service-name #:start-service #:stop-service #:take-message)
  (:import-from #:hydramesh/domain/types #:+reliable+ #:+state-sync+ #:message-channel #:newer-p)
  (:import-from #:hydramesh/events #:message-payload #:message-peer #:message-type #:seconds)
  (:import-from #:hydramesh/tests/domain/network
                #:add-node #:inject #:network-cut #:network-now #:new-network #:pass-time #:place-address
                #:place-node)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/tests/vector-file #:at #:bytes #:vectors)
  (:import-from #:hydramesh/domain/calling #:call-after #:call-every #:stop-timer)
  (:import-from #:hydramesh/domain/sending #:send-bare #:send-reliable)
  (:shadowing-import-from #:hydramesh/tests/domain/network #:restart)
  (:export #:with-vectors)
  (:documentation "Nodes over bad links: what is RELIABLE comes once and in order; what a service does wrong,
or a peer sends wrong, ends nothing else."))
(in-package #:hydramesh/tests/domain/nodes)

(fiveam:def-suite nodes :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite nodes)

(defstruct listener
  "A service that keeps what it gets: HEARD are (peer type-or-channel payload), the newest first. ACT is
called with each message, on which it may fail."
  (heard '())
  (lost '())
  (stopped nil)
  (act #'identity))

(defmethod service-name ((listener listener)) "listener")
(defmethod start-service ((listener listener) node) listener)
(defmethod stop-service ((listener listener)) (setf (listener-stopped listener) t))
(defmethod lose-peer ((listener listener) peer) (push peer (listener-lost listener)))

(defmethod take-message ((listener listener) message)
  (push (list (message-peer message)
              (if (= (message-type message) +reliable+) (message-channel message) (message-type message))
              (message-payload message))
        (listener-heard listener))
  (funcall (listener-act listener) message)
  t)

(defun texts (listener channel)
  "Return the texts that LISTENER heard on CHANNEL, in order."
  (loop for (nil of payload) in (reverse (listener-heard listener))
        when (= of channel) collect (map 'string #'code-char payload)))

(defun text-octets (text)
  (map '(simple-array (unsigned-byte 8) (*)) #'char-code text))

(defun listening (place)
  (node-add (place-node place) (make-listener)))

(test reliable-messages-come-once-and-in-order-over-a-bad-link
  (let* ((network (new-network :seed 3 :loss 0.3d0 :duplicates 0.1d0 :delay 30000 :jitter 25000))
         (one (add-node network)) (other (add-node network)) (listener (listening other))
         (sent (loop for number below 300 collect (format nil "m~D" number))))
    (listening one)
    (loop for text in sent
          for channel = #x10 then (if (= channel #x10) #x20 #x10)
          do (is-true (send-reliable (place-node one) (place-address other) channel (text-octets text)))
             (pass-time network 0.01d0))
    (pass-time network 60)
    (is (equal (loop for text in sent by #'cddr collect text) (texts listener #x10)))
    (is (equal (loop for text in (rest sent) by #'cddr collect text) (texts listener #x20)))))

(test as-many-as-may-wait-are-taken-and-no-more
  (let* ((network (new-network)) (one (add-node network)) (other (add-node network))
         (listener (listening other)))
    (listening one)
    (let ((taken (loop for number from 0
                       while (send-reliable (place-node one) (place-address other) #x10 (text-octets "x"))
                       count t)))
      (is (= taken (+ +reliable-waiting+ +reliable-window+)))
      (pass-time network 30)
      (is (= taken (length (texts listener #x10)))))))

(test who-restarts-goes-on-with-what-is-not-acknowledged
  (let* ((network (new-network :delay 5000)) (one (add-node network)) (other (add-node network)))
    (listening one)
    (listening other)
    (flet ((say (from to text)
             (send-reliable (place-node from) (place-address to) #x10 (text-octets text))
             (pass-time network 1)))
      (say one other "a")
      (say one other "b")
      (restart other)
      (let ((listener (listening other)))
        (say one other "c")
        (say one other "d")
        (is (equal '("c" "d") (texts listener #x10))))
      (restart one)
      (listening one)
      (say one other "e")
      (let ((listener (cdr (first (node-services (place-node other))))))
        (is (equal '("c" "d" "e") (texts listener #x10)))))))

(test a-peer-that-is-cut-off-is-lost-and-found-again
  (let* ((network (new-network)) (one (add-node network)) (other (add-node network))
         (ours (listening one)) (theirs (listening other)))
    (send-reliable (place-node other) (place-address one) #x10 (text-octets "hello"))
    (pass-time network 1)
    (setf (network-cut network) (list (list (place-address one) (place-address other))))
    (send-reliable (place-node one) (place-address other) #x10 (text-octets "lost"))
    (pass-time network 12)
    (is (equal (list (place-address other)) (listener-lost ours)))
    (setf (network-cut network) '())
    (send-reliable (place-node one) (place-address other) #x10 (text-octets "found"))
    (pass-time network 2)
    (is (equal '("found") (texts theirs #x10)))))

(test what-never-comes-is-not-waited-for-for-ever
  (let* ((network (new-network)) (one (add-node network)) (listener (listening one)))
    ;; The number before it was acknowledged by nobody here, and does not come.
    (inject one 7 +reliable+ (packed (:u8 #x10) (:u8 1) (:u64 5) (:u32 1) (:octets (text-octets "b"))))
    (pass-time network 5)
    (is (null (texts listener #x10)))
    (pass-time network 10)
    (is (equal '("b") (texts listener #x10)))))

(test a-flood-of-what-is-early-takes-bounded-memory
  (let* ((network (new-network)) (one (add-node network)) (listener (listening one))
         (large (make-array 16000 :element-type '(unsigned-byte 8) :initial-element 1)))
    (dotimes (peer 200)
      (loop for number from 1 to 30
            do (inject one (+ 100 peer) +reliable+
                       (packed (:u8 #x10) (:u8 number) (:u64 5) (:u32 number) (:octets large)))))
    (is (<= (hydramesh/domain/node:node-early-bytes (place-node one)) hydramesh/domain/limits:+early-bytes+))
    (is (plusp (hydramesh/domain/node:node-early-bytes (place-node one))))
    (is (plusp (cdr (assoc "refused" (node-counters (place-node one)) :test #'string=))))
    (is (null (listener-heard listener)))))

(defun counted (place name)
  (or (cdr (assoc name (node-counters (place-node place)) :test #'string=)) 0))

(defun say-early (place peer channel number body)
  "Have PLACE get from PEER a message for whose predecessors it has to wait."
  (inject place peer +reliable+
          (packed (:u8 channel) (:u8 number) (:u64 5) (:u32 number) (:octets body))))

(test one-peer-does-not-use-up-what-others-need-for-what-is-early
  (let* ((network (new-network)) (one (add-node network)) (listener (listening one))
         (large (make-array 16000 :element-type '(unsigned-byte 8) :initial-element 1)))
    (dotimes (peer 10)
      (loop for channel from #x10 to #x3f
            do (loop for number from 1 to 20 do (say-early one (+ 100 peer) channel number large))))
    (is (plusp (counted one "refused")))
    (let ((before (counted one "refused")))
      (loop for number from 1 to 10 do (say-early one 7 #x10 number large))
      (is (= before (counted one "refused"))))
    (say-early one 7 #x10 0 large)
    (is (= 11 (length (texts listener #x10))))))

(test messages-without-a-body-take-memory-that-counts
  (let* ((network (new-network)) (one (add-node network)))
    (listening one)
    (loop for number from 1 to 250 do (say-early one 7 #x10 number (text-octets "")))
    (is (plusp (hydramesh/domain/node:node-early-bytes (place-node one))))
    (say-early one 7 #x10 0 (text-octets ""))
    (is (zerop (hydramesh/domain/node:node-early-bytes (place-node one))))))

(test a-sender-that-starts-again-with-its-clock-set-back-is-heard
  (let* ((network (new-network)) (one (add-node network)) (listener (listening one)))
    (flet ((say (epoch number text)
             (inject one 7 +reliable+
                     (packed (:u8 #x10) (:u8 0) (:u64 epoch) (:u32 number) (:octets (text-octets text))))))
      (say #xffffffffffffffff 0 "a")
      (say 5 0 "from before")
      (is (equal '("a") (texts listener #x10)))
      (pass-time network 11)
      (say 6 0 "b")
      (say 6 1 "c")
      (is (equal '("a" "b" "c") (texts listener #x10))))))

(test what-is-no-payload-is-counted
  (let* ((network (new-network)) (one (add-node network)))
    (listening one)
    (dolist (payload (list (text-octets "") (text-octets "x") (packed (:u8 #x10) (:u8 2) (:u64 5) (:u32 1))
                           (packed (:u8 #xff) (:u8 0) (:u64 5) (:u32 0))))
      (inject one 7 +reliable+ payload))
    (is (equal '(("malformed" . 3) ("unclaimed" . 1)) (node-counters (place-node one))))))

(test a-handler-that-fails-ends-nothing-else
  (hydramesh/service/logs:configure "error")
  (let* ((network (new-network)) (one (add-node network)) (other (add-node network))
         (listener (listening other))
         (*error-output* (make-broadcast-stream)))
    (setf (listener-act listener)
          (lambda (message) (declare (ignore message)) (error "a fault of a handler")))
    (listening one)
    (dotimes (number 3)
      (send-reliable (place-node one) (place-address other) #x10 (text-octets "x")))
    (send-bare (place-node one) (place-address other) +state-sync+ (text-octets "y"))
    (pass-time network 1)
    (is (= 4 (length (listener-heard listener))))
    (is (= 4 (cdr (assoc "faults" (node-counters (place-node other)) :test #'string=))))
    (node-stop (place-node other))
    (is-true (listener-stopped listener))))

(test a-message-that-is-too-large-is-an-error-that-says-what-to-do
  (let* ((network (new-network)) (one (add-node network)))
    (listening one)
    (signals error
      (send-bare (place-node one) 7 +state-sync+ (make-array 1144 :element-type '(unsigned-byte 8))))
    (signals error (send-bare (place-node one) 7 +reliable+ (text-octets "x")))
    (signals error
      (send-reliable (place-node one) 7 #x10 (make-array 16385 :element-type '(unsigned-byte 8))))))

(test timers-call-in-time-and-until-they-are-stopped
  (let* ((network (new-network)) (one (place-node (add-node network))) (calls '()))
    (call-after one (seconds 1/2) (lambda () (push :once calls)))
    (let ((every (call-every one 50000/3 (lambda (tick late) (push (list tick late) calls)))))
      (pass-time network 1)
      (is (member :once calls))
      (is (= 61 (count-if #'consp calls)) "sixty a second, and the first at once")
      (is (every (lambda (call) (zerop (second call))) (remove :once calls)))
      (stop-timer one every)
      (pass-time network 1)
      (is (= 61 (count-if #'consp calls))))))

(test ticks-that-are-very-late-are-left-out
  (let* ((network (new-network)) (place (add-node network)) (one (place-node place)) (ticks '()))
    (call-every one (seconds 1/10) (lambda (tick late) (push (cons tick late) ticks)))
    (hydramesh/domain/due:node-act one (network-now network))
    (hydramesh/domain/due:node-act one (+ (network-now network) (seconds 0.35d0)))
    (is (equal '(0 1 2 3) (reverse (mapcar #'car ticks))) "what is a little late is made up for")
    (hydramesh/domain/due:node-act one (+ (network-now network) (seconds 100)))
    (is (= 1000 (car (first ticks))))
    (is (= 5 (length ticks)))))

(test newer-is-by-serial-numbers
  (is-true (newer-p 2 1))
  (is-true (newer-p 0 #xffffffff))
  (is-false (newer-p 1 1))
  (is-false (newer-p #xffffffff 0)))

;;; Vectors

(defparameter +groups+ '("positions" "game_events" "datagrams" "readings" "reliable"))

(defmacro with-vectors ((file) &body body)
  `(let ((,file (vectors "domains.json" +groups+)))
     (if (null ,file)
         (skip "There is no tests/vectors/domains.json.")
         (progn ,@body))))

(test payloads-mean-what-the-file-says
  (with-vectors (file)
    (loop for case across (at file "positions")
          for payload = (bytes (at case "payload"))
          do (if (at case "drop")
                 (signals malformed-payload (read-position payload))
                 (let ((position (multiple-value-list (read-position payload))))
                   (is (equalp payload (apply #'write-position position)))
                   (is (every (lambda (one other) (= one (coerce other 'single-float)))
                              position (at case "position"))))))
    (loop for case across (at file "game_events")
          for payload = (bytes (at case "payload"))
          do (if (at case "drop")
                 (signals malformed-payload (read-game-event payload))
                 (multiple-value-bind (kind text) (read-game-event payload)
                   (is (= (at case "kind") kind))
                   (is (string= (at case "text") text))
                   (is (equalp payload (write-game-event kind text))))))))

(test reliable-messages-are-put-in-order-as-the-file-says
  (with-vectors (file)
    (loop for story across (at file "reliable")
          for receiver = (make-receiver)
          do (loop for step across (at story "steps")
                   for bodies = (handler-case
                                    (multiple-value-bind (channel behind epoch number body)
                                        (read-reliable (bytes (at step "payload")))
                                      (declare (ignore channel))
                                      (receiver-accept receiver behind epoch number body 0 (ash 1 20)))
                                  (malformed-payload () '()))
                   do (is (equalp (map 'list #'bytes (at step "bodies")) bodies) "~A" (at story "name")))
             (is-false (receiver-gap-p receiver) "~A" (at story "name")))))
