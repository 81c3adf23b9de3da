(defpackage #:hydramesh/tests/mesh
  (:use #:cl #:hydramesh/mesh)
  (:import-from #:fiveam #:def-suite #:in-suite #:test #:is #:is-true #:is-false #:signals)
  (:import-from #:hydramesh/address #:address-port #:loopback-p #:ipv4)
  (:import-from #:hydramesh/events #:+heartbeat+ #:+task+ #:+result+ #:+cancel+ #:+mesh+ #:+sync+ #:message-p #:message-peer
                #:message-type #:message-payload #:pong-p #:pong-rtt #:pong-peer #:unreachable-p
                #:unreachable-peer #:seconds)
  (:import-from #:hydramesh/foreign/system #:system-failure)
  (:import-from #:hydramesh/head/link #:link-send #:link-ping #:link-forget #:link-trust #:message-too-large
                #:message-too-large-reason)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:sb-bsd-sockets)
  (:export #:with-meshes #:run-until))
(in-package #:hydramesh/tests/mesh)

(def-suite mesh :in hydramesh/tests/suite:hydramesh)
(in-suite mesh)

(defun octets (size)
  "Return SIZE bytes that differ from their neighbours."
  (let ((bytes (make-array size :element-type '(unsigned-byte 8))))
    (dotimes (at size bytes)
      (setf (aref bytes at) (mod (+ (* at 7) (ash at -8) size) 256)))))

(defun key (last)
  (let ((key (make-array 32 :element-type '(unsigned-byte 8) :initial-element 9)))
    (setf (aref key 31) last)
    key))

(defmacro with-meshes ((&rest meshes) &body body)
  "Run BODY with open meshes, each (name . arguments of open-mesh after the first)."
  (if meshes
      (destructuring-bind ((name &rest arguments) &rest more) meshes
        `(let ((,name (open-mesh "127.0.0.1:0" ,@arguments)))
           (unwind-protect (with-meshes ,more ,@body)
             (close-mesh ,name 0))))
      `(progn ,@body)))

(defun run-until (done handlers &optional (limit 20))
  "Turn the loops of meshes until DONE is true; HANDLERS are (mesh function) pairs.
Return whether that came within LIMIT seconds."
  (loop with end = (+ (get-universal-time) limit)
        do (loop for (mesh handler) in handlers
                 do (mesh-wait mesh 500)
                    (mesh-receive mesh handler)
                    (mesh-flush mesh))
        when (funcall done) return t
        when (> (get-universal-time) end) return nil))

(defun exchange (one other sizes)
  "Send messages of SIZES from ONE to OTHER, which returns them; return whether they came back whole."
  (let ((waiting (mapcar #'octets sizes)))
    (link-trust one (mesh-local-address other))
    (dolist (payload waiting)
      (link-send one (mesh-local-address other) +task+ payload))
    (run-until (lambda () (null waiting))
               (list (list one (lambda (event)
                                 (when (message-p event)
                                   (setf waiting (remove (message-payload event) waiting
                                                         :test #'equalp :count 1)))))
                     (list other (lambda (event)
                                   (when (message-p event)
                                     (assert (= (message-type event) +task+))
                                     (link-send other (message-peer event) +result+
                                                (message-payload event)))))))))

(defun counter (mesh name)
  (third (assoc name (mesh-counters mesh) :test #'string=)))

(test plain-messages-of-any-size-arrive-whole
  (with-meshes ((one) (other))
    (is-true (loopback-p (mesh-local-address one)))
    (is (plusp (address-port (mesh-local-address one))))
    (is-true (exchange one other (list 0 1 1183 1184 60000 (ash 16 20))))
    (is (plusp (counter one "datagrams_received")))))

(test sealed-messages-of-any-size-arrive-whole
  (with-meshes ((one :key (key 1)) (other :key (key 1)))
    (is-true (exchange one other (list 0 1 1183 1184 60000 (ash 16 20))))))

(test whoever-has-another-key-is-counted-and-not-heard
  (with-meshes ((one :key (key 1)) (other :key (key 2)))
    (let ((heard nil))
      (link-send one (mesh-local-address other) +task+ (octets 10))
      (is-true (run-until (lambda () (plusp (counter other "dropped_forged")))
                          (list (list one #'identity)
                                (list other (lambda (event) (push event heard))))))
      (is (null heard)))))

(test a-ping-is-answered
  (with-meshes ((one) (other))
    (let ((pong nil))
      (link-trust one (mesh-local-address other))
      (link-ping one (mesh-local-address other))
      (is-true (run-until (lambda () pong)
                          (list (list one (lambda (event) (when (pong-p event) (setf pong event))))
                                (list other #'identity))))
      (is (eql (pong-peer pong) (mesh-local-address other)))
      (is (< 0 (pong-rtt pong) (seconds 1))))))

(test a-mesh-or-sync-reaches-who-has-asked-for-it
  (loop for (wanted other-type) in (list (list +mesh+ +sync+) (list +sync+ +mesh+))
        do (with-meshes ((one :key (key 1)) (other :key (key 1)))
             (let ((heard '()))
               (mesh-subscribe other wanted)
               (link-send one (mesh-local-address other) other-type (octets 9))
               (link-send one (mesh-local-address other) wanted (octets 1143))
               (link-send one (mesh-local-address other) +task+ (octets 10))
               (is-true (run-until (lambda () (find +task+ heard :key #'message-type))
                                   (list (list one #'identity)
                                         (list other (lambda (event)
                                                       (when (message-p event) (push event heard)))))))
               (is (equal (list wanted +task+)
                          (sort (mapcar #'message-type heard) #'> :key (lambda (type) (if (= type wanted) 1 0)))))
               (is (equalp (octets 1143) (message-payload (find wanted heard :key #'message-type))))
               (is (= 1 (counter other "dropped_unknown_type")))
               (signals message-too-large
                 (link-send one (mesh-local-address other) wanted (octets 1144)))))))

(test a-silent-peer-becomes-unreachable
  (with-meshes ((one))
    (let* ((gone nil) (nobody (ipv4 #x7f000001 9)) (start (mesh-now one)))
      (is-true (link-send one nobody +result+ (octets 10)))
      (mesh-flush one)
      (is-true (run-until (lambda () gone)
                          (list (list one (lambda (event)
                                            (when (unreachable-p event)
                                              (setf gone event)))))))
      (is (eql (unreachable-peer gone) nobody))
      (is (< (seconds 7) (- (mesh-now one) start) (seconds 10)))
      (is-true (mesh-idle-p one)))))

(test nothing-is-sent-to-a-peer-that-is-forgotten
  (with-meshes ((one))
    (link-send one (ipv4 #x7f000001 9) +result+ (octets 10))
    (is-false (mesh-idle-p one))
    (link-forget one (ipv4 #x7f000001 9))
    (is-true (mesh-idle-p one))))

(test what-is-too-large-is-refused-with-the-reason
  (with-meshes ((one))
    (let ((peer (ipv4 #x7f000001 9)))
      (flet ((reason (type size)
               (handler-case (link-send one peer type
                                        (make-array size :element-type '(unsigned-byte 8)))
                 (message-too-large (condition) (message-too-large-reason condition)))))
        (is (string= "a CANCEL of 65537 bytes exceeds max_control, 65536 bytes" (reason +cancel+ 65537)))
        (is (string= "a message of 268435457 bytes exceeds max_message, 268435456 bytes"
                     (reason +result+ (1+ (ash 256 20)))))
        (is (typep (reason +heartbeat+ 10) '(unsigned-byte 32)))))))

(test there-is-no-room-for-more-than-the-peers-memory
  (with-meshes ((one))
    (let ((peer (ipv4 #x7f000001 9)) (large (make-array (ash 200 20) :element-type '(unsigned-byte 8))))
      (is-true (link-send one peer +result+ large))
      (is-false (link-send one peer +result+ large))
      (is (<= (ash 200 20) (mesh-memory one))))))

(test a-handler-that-does-not-return-loses-only-its-own-event
  (with-meshes ((one) (other))
    (link-trust one (mesh-local-address other))
    (dotimes (number 5)
      (link-send one (mesh-local-address other) +task+ (octets (+ 10 number))))
    (mesh-flush one)
    (let ((sizes '()))
      (loop repeat 100
            until (= (length sizes) 5)
            do (mesh-wait other 1000000)
               (handler-case (mesh-receive other
                                           (lambda (event)
                                             (push (length (message-payload event)) sizes)
                                             (error "A handler's fault.")))
                 (simple-error ())))
      (is (equal '(10 11 12 13 14) (sort sizes #'<))))))

(test another-thread-ends-the-wait
  (with-meshes ((one))
    (let ((start (get-internal-real-time)) waker)
      (setf waker (sb-thread:make-thread (lambda () (sleep 0.05) (mesh-wake one))))
      (mesh-wait one (seconds 20))
      (is (< (/ (- (get-internal-real-time) start) internal-time-units-per-second) 5))
      (sb-thread:join-thread waker)
      ;; One that comes before the wait is not lost, and counts once.
      (mesh-wake one)
      (mesh-wake one)
      (mesh-wait one (seconds 20))
      (setf start (mesh-now one))
      (mesh-wait one 20000)
      (is (<= 20000 (- (mesh-now one) start))))))

(defun paused-in-a-long-wait ()
  "Return how long a mesh takes itself to have been paused while it waited 1.5 s and garbage was collected."
  (with-meshes ((one))
    (let ((start (mesh-now one)) (stop nil) collector)
      (setf collector (sb-thread:make-thread (lambda () (loop until stop do (sb-ext:gc) (sleep 0.01)))))
      (mesh-wait one (seconds 1.5))
      (setf stop t)
      (sb-thread:join-thread collector)
      (is (<= (seconds 1.5) (- (mesh-now one) start)))
      (mesh-paused one))))

(test a-long-wait-is-no-pause-and-survives-collections-of-garbage
  ;; A busy machine may really pause for that long, but not each time.
  (is (loop repeat 5
              thereis (zerop (paused-in-a-long-wait)))))

(test what-was-not-read-for-long-is-a-pause
  (with-meshes ((one))
    (let ((start (mesh-now one)))
      (sleep 1.2)
      (is (< (- (mesh-now one) start) 100000))
      (is (< (seconds 1.1) (mesh-paused one) (seconds 3))))))

(test nobody-listens-beyond-this-machine-without-a-key
  (signals insecure-bind (open-mesh "0.0.0.0:0"))
  (close-mesh (open-mesh "0.0.0.0:0" :key (key 1)) 0)
  (close-mesh (open-mesh "0.0.0.0:0" :allow-unauthenticated t) 0)
  (close-mesh (open-mesh "[::1]:0") 0))

(test an-address-that-is-taken-is-named
  (with-meshes ((one))
    (let ((listen (format nil "localhost:~D" (address-port (mesh-local-address one)))))
      (handler-case (progn (close-mesh (open-mesh listen) 0) (fiveam:fail "It was opened twice."))
        (system-failure (condition)
          (is (string= (format nil "cannot listen on ~A: Address already in use" listen)
                       (princ-to-string condition))))))))

(test a-closed-mesh-can-be-closed-and-woken-again
  (let ((mesh (open-mesh "127.0.0.1:0")))
    (close-mesh mesh 0)
    (close-mesh mesh (seconds 1))
    (mesh-wake mesh)
    (signals error (mesh-receive mesh #'identity))))

(test the-last-messages-are-said-before-it-closes
  (with-meshes ((other))
    (let ((one (open-mesh "127.0.0.1:0")) (heard nil) talker)
      (link-trust one (mesh-local-address other))
      (link-send one (mesh-local-address other) +result+ (octets 100000))
      (setf talker (sb-thread:make-thread (lambda () (close-mesh one (seconds 5)))))
      (is-true (run-until (lambda () heard)
                          (list (list other (lambda (event) (when (message-p event) (setf heard t)))))))
      (run-until (lambda () (not (sb-thread:thread-alive-p talker))) (list (list other #'identity)))
      (sb-thread:join-thread talker))))

;;; Hostile datagrams

(defun datagram (type sequence payload)
  "Return the datagram of a message that is sealed by nobody."
  (let ((size (length payload)))
    (concatenate '(vector (unsigned-byte 8))
                 (list type) (loop for shift from -24 to 0 by 8 collect (ldb (byte 8 0) (ash sequence shift)))
                 '(0 0 0 0 0 0 0 0)
                 (loop for shift from -24 to 0 by 8 collect (ldb (byte 8 0) (ash size shift)))
                 payload)))

(defun socket-to (mesh)
  "Return a UDP socket that sends to MESH."
  (let ((socket (make-instance 'sb-bsd-sockets:inet-socket :type :datagram :protocol :udp)))
    (sb-bsd-sockets:socket-connect socket #(127 0 0 1) (address-port (mesh-local-address mesh)))
    socket))

(defun received (socket)
  "Return the bytes that have come to SOCKET."
  (loop for (nil size) = (multiple-value-list
                          (sb-bsd-sockets:socket-receive socket nil 2000 :dontwait t
                                                                         :element-type '(unsigned-byte 8)))
        while size sum size))

(test an-address-that-may-be-made-up-gets-three-times-what-it-sent
  (with-meshes ((one))
    (let ((socket (socket-to one)) (question (datagram +task+ 5 (octets 100))) (asked nil))
      (unwind-protect
           (progn
             (sb-bsd-sockets:socket-send socket question (length question))
             (run-until (lambda () nil)
                        (list (list one (lambda (event)
                                          (when (message-p event)
                                            (setf asked t)
                                            (link-send one (message-peer event) +result+ (octets 5000))))))
                        2)
             (is-true asked)
             (is (< 0 (received socket) (1+ (* 3 (length question))))))
        (sb-bsd-sockets:socket-close socket)))))

(defun hostile (random)
  "Return a datagram that is wrong in some way: a header with a likely type, and anything after it."
  (let ((bytes (octets (random 1400 random))))
    (map-into bytes (lambda (byte) (if (zerop (random 3 random)) (random 256 random) byte)) bytes)
    (when (plusp (length bytes))
      (setf (aref bytes 0) (aref #(1 2 3 6 7 8 11 32 33 34 35 36 37 38 255) (random 15 random))))
    (when (<= 17 (length bytes))
      (replace bytes (let ((size (- (length bytes) 17))) ; where the header has the payload's length
                       (list 0 0 (ash size -8) (logand size 255)))
               :start1 13))
    bytes))

(test whatever-arrives-the-mesh-serves-on
  (with-meshes ((one) (other) (sealed :key (key 1)))
    (mesh-subscribe one +mesh+)
    (mesh-subscribe one +sync+)
    (let ((random (sb-ext:seed-random-state 7))
          (sockets (list (socket-to one) (socket-to sealed)))
          (end (+ (get-universal-time) 3)))
      (unwind-protect
           (loop until (> (get-universal-time) end)
                 do (dolist (socket sockets)
                      (loop repeat 20
                            for bytes = (hostile random)
                            do (handler-case (sb-bsd-sockets:socket-send socket bytes (length bytes))
                                 (sb-bsd-sockets:socket-error ()))))
                    (dolist (mesh (list one sealed))
                      (mesh-receive mesh #'identity)
                      (mesh-flush mesh)))
        (mapc #'sb-bsd-sockets:socket-close sockets))
      (is (plusp (counter one "dropped_malformed")))
      (is (plusp (counter sealed "dropped_forged")))
      (is-true (exchange other one '(1 100000))))))
