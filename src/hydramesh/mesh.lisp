(defpackage #:hydramesh/mesh
  (:use #:cl)
  (:import-from #:cffi
                #:foreign-alloc #:foreign-free #:mem-ref #:null-pointer #:with-foreign-object
                #:with-pointer-to-vector-data)
  (:import-from #:hydramesh/address #:address #:parse-address #:loopback-p)
  (:import-from #:hydramesh/events #:octets #:+heartbeat+ #:+cancel+ #:+error+ #:+mesh+ #:+sync+
                #:make-message #:make-delivered #:make-pong #:make-unreachable
                #:make-forgotten)
  (:import-from #:hydramesh/head/link #:link-send #:link-ping #:link-forget #:link-trust #:message-too-large)
  (:import-from #:hydramesh/foreign/system #:failed #:copy-octets)
  (:import-from #:hydramesh/foreign/waiter #:waiter #:make-waiter #:waiter-wait #:waiter-wake
                #:waiter-close)
  (:import-from #:hydramesh/foreign/dcf)
  (:import-from #:hydramesh/plugin/carriers
                #:attach #:carriers-descriptors #:carriers-next-timeout #:carriers-receive #:carriers-send
                #:carriers-close #:carriers-counters)
  (:local-nicknames (#:dcf #:hydramesh/foreign/dcf))
  (:export #:mesh #:bounds #:make-bounds #:open-mesh #:close-mesh #:insecure-bind
           #:mesh-wait #:mesh-wake #:mesh-receive #:mesh-flush #:mesh-idle-p
           #:mesh-subscribe #:mesh-descriptor #:mesh-blocked #:mesh-ready-p
           #:mesh-now #:mesh-paused #:mesh-next-timeout #:mesh-local-address #:mesh-counters
           #:mesh-memory #:mesh-endpoint #:mesh-attach)
  (:documentation "A program's place in the network: an endpoint of libdcf, its socket and its clock.

A turn of the loop that owns a mesh: `mesh-wait`, `mesh-receive`, whatever there is to do, `mesh-flush`.
All of it but `mesh-wake` is for one thread at a time. The conditions TRANSPORT-ERROR and SYSTEM-FAILURE
tell of what no message can cause: a fault of the library or of this program, a system that lacks
memory. The mesh can then only be closed."))
(in-package #:hydramesh/mesh)

(defstruct bounds
  "What an endpoint keeps to: bytes of the largest message, either way; bytes of messages that are being
reassembled or not yet acknowledged, of all peers and of one each way; addresses known at a time; datagrams
a second from one, 0 for any number."
  (max-message (ash 256 20) :type (unsigned-byte 32))
  (memory (ash 512 20) :type (unsigned-byte 48))
  (peer-memory (ash 384 20) :type (unsigned-byte 48))
  (max-peers 16384 :type (unsigned-byte 32))
  (datagram-rate 0d0 :type double-float))

(defconstant +max-control+ (ash 64 10) "The same of a HEARTBEAT, CANCEL or ERROR; libdcf's own.")

(defconstant +amplification+ 3
  "How many times the bytes that came from an address may go to it before it has shown that it receives.")

(defconstant +receive-turn+ 8 "Batches of datagrams that are taken before others get their turn.")

(defconstant +beat+ 250000
  "The most microseconds between two readings of the clock, which takes a longer wait for a pause.")

(defconstant +never+ (1- (ash 1 62)) "A time that does not come.")

(define-condition insecure-bind (error)
  ((listen :initarg :listen))
  (:report (lambda (condition stream)
             (format stream "refusing to listen on ~A without a cluster key: anyone who reaches it could ~
                             use this cluster. Set cluster_key_file (`daiic keygen` makes one), listen on ~
                             127.0.0.1, or set allow_unauthenticated if the network is trusted"
                     (slot-value condition 'listen))))
  (:documentation "Refusal to listen beyond loopback without a cluster key."))

(defstruct (mesh (:constructor %make-mesh))
  "An open mesh. ENDPOINT, SOCKET and CLOCK are libdcf's, EVENT and PEER memory for its structures.
NEXT is an event that has been taken from the endpoint and that nobody has handled yet; BLOCKED whether
the socket takes no more datagrams just now. CARRIERS are the other ways for datagrams, see
hydramesh/plugin/carriers. TRAFFIC is :CLUSTER or :DOMAIN, which says what types mean."
  (endpoint (null-pointer))
  (socket (null-pointer))
  (clock (null-pointer))
  (event (null-pointer))
  (peer (null-pointer))
  (waiter nil :type (or null waiter))
  (local-address 0 :type address)
  (traffic :cluster :type (member :cluster :domain))
  (bounds nil :type bounds)
  (next nil)
  (blocked nil)
  (carriers '() :type list))

;;; Opening, closing

(defun make-endpoint (traffic bounds key)
  "Return a new endpoint for TRAFFIC with BOUNDS and KEY, 32 octets or NIL."
  (with-foreign-object (limits '(:struct dcf:limits))
    (dcf:limits-default limits)
    (cffi:with-foreign-slots ((dcf:amplification dcf:unproven-peer-memory dcf:unproven-memory
                               dcf:max-message dcf:peer-memory dcf:memory dcf:max-peers dcf:datagram-rate)
                              limits (:struct dcf:limits))
      (setf dcf:max-message (bounds-max-message bounds)
            dcf:memory (bounds-memory bounds)
            dcf:peer-memory (bounds-peer-memory bounds)
            dcf:max-peers (bounds-max-peers bounds)
            dcf:datagram-rate (bounds-datagram-rate bounds))
      (unless key
        ;; Addresses that may be made up leave half of the memory to those that are not.
        (setf dcf:amplification +amplification+
              dcf:unproven-peer-memory dcf:peer-memory
              dcf:unproven-memory (floor dcf:memory 2))))
    (flet ((new (secret)
             (if (eq traffic :domain)
                 (dcf:endpoint-new-domain limits secret)
                 (dcf:endpoint-new limits secret))))
      (if key
          (with-pointer-to-vector-data (secret (the octets key))
            (new secret))
          (new (null-pointer))))))

(defun bind (mesh listen address)
  "Open the socket of MESH at ADDRESS, which LISTEN names."
  (with-foreign-object (socket :pointer)
    (setf (dcf:address-at (mesh-peer mesh)) address)
    (let ((result (dcf:socket-bind (mesh-peer mesh) socket)))
      (if (= result dcf:+system+)
          (failed "cannot listen on ~A" listen)
          (dcf:checked result)))
    (setf (mesh-socket mesh) (mem-ref socket :pointer))
    (dcf:socket-address (mesh-socket mesh) (mesh-peer mesh))
    (setf (mesh-local-address mesh) (dcf:address-at (mesh-peer mesh)))))

(defun open-mesh (listen &key key allow-unauthenticated (traffic :cluster) (bounds (make-bounds)))
  "Return a new mesh that listens on LISTEN, \"host:port\", with port 0 on any that is free. TRAFFIC says
what the types of messages mean there: :CLUSTER, or :DOMAIN, of which it is also told what was delivered and
who is forgotten. KEY is the cluster's, 32 octets, or NIL to seal nothing; then only loopback will do, unless
ALLOW-UNAUTHENTICATED. Signal INSECURE-BIND if it will not do, BAD-ADDRESS if LISTEN is none, SYSTEM-FAILURE
if its name cannot be found or nobody can listen there, and LIBRARY-UNUSABLE without libdcf."
  (let ((address (parse-address listen)))
    (unless (or key allow-unauthenticated (loopback-p address))
      (error 'insecure-bind :listen listen))
    (dcf:load-library)
    (let ((mesh (%make-mesh :traffic traffic :bounds bounds)) (opened nil))
      (unwind-protect
           (progn
             (setf (mesh-event mesh) (foreign-alloc '(:struct dcf:event))
                   (mesh-peer mesh) (foreign-alloc :uint8 :count dcf:+address-size+ :initial-element 0)
                   (mesh-endpoint mesh) (make-endpoint traffic bounds key)
                   (mesh-clock mesh) (dcf:clock-new))
             (bind mesh listen address)
             (setf (mesh-waiter mesh) (make-waiter (dcf:socket-fd (mesh-socket mesh))))
             (setf opened t)
             mesh)
        (unless opened
          (free mesh))))))

(defun free (mesh)
  "Free all that MESH has; nothing happens the second time."
  (carriers-close (shiftf (mesh-carriers mesh) '()) mesh)
  (when (mesh-waiter mesh)
    (waiter-close (mesh-waiter mesh)))
  (dcf:socket-free (shiftf (mesh-socket mesh) (null-pointer)))
  (dcf:endpoint-free (shiftf (mesh-endpoint mesh) (null-pointer)))
  (dcf:clock-free (shiftf (mesh-clock mesh) (null-pointer)))
  (foreign-free (shiftf (mesh-event mesh) (null-pointer)))
  (foreign-free (shiftf (mesh-peer mesh) (null-pointer))))

(defun mesh-attach (mesh plugin transport)
  "Have TRANSPORT, of hydramesh/plugin/transport, carry datagrams of MESH too for as long as PLUGIN runs."
  (setf (mesh-carriers mesh) (attach (mesh-carriers mesh) plugin transport)))

(defun close-mesh (mesh farewell &optional (handler #'identity))
  "Close MESH, after up to FAREWELL microseconds in which messages may still be acknowledged.
HANDLER is called with the events of that time."
  (unwind-protect
       (unless (cffi:null-pointer-p (mesh-endpoint mesh))
         (let ((end (+ (mesh-now mesh) farewell)))
           (loop
             (mesh-receive mesh handler)
             (mesh-flush mesh)
             (let ((now (mesh-now mesh)))
               (when (or (mesh-idle-p mesh) (>= now end))
                 (return))
               (mesh-wait mesh (- (min end (mesh-next-timeout mesh)) now))))))
    (free mesh))
  nil)

;;; Time

(defun mesh-now (mesh)
  "Return the time in microseconds, by which others are judged to be silent.
It does not count the pauses of this process, and has to be read several times a second."
  (dcf:clock-now (mesh-clock mesh)))

(defun mesh-paused (mesh)
  "Return how many microseconds `mesh-now` has left out so far."
  (dcf:clock-paused (mesh-clock mesh)))

(defun mesh-next-timeout (mesh)
  "Return the `mesh-now` at which `mesh-flush` has to be called, whatever comes.
While the socket is full that would be of no use: `mesh-wait` tells when it can be written to."
  (min (carriers-next-timeout (mesh-carriers mesh) +never+)
       (if (mesh-blocked mesh)
           +never+
           (with-foreign-object (at :uint64)
             (dcf:endpoint-next-timeout (mesh-endpoint mesh) at)
             (min (mem-ref at :uint64) +never+)))))

(defun mesh-wait (mesh timeout)
  "Wait until there is something to receive, or a full socket can be written to again, or another
thread calls `mesh-wake`, or TIMEOUT microseconds have passed."
  (unless (mesh-next mesh)
    (loop with end = (+ (mesh-now mesh) (max timeout 0))
          for left = (max timeout 0) then (- end (mesh-now mesh))
          until (or (waiter-wait (mesh-waiter mesh) (mesh-blocked mesh) (min left +beat+)
                                 (carriers-descriptors (mesh-carriers mesh)))
                    (<= left 0)))))

(defun mesh-descriptor (mesh)
  "Return the socket's file descriptor, for a wait for more than this mesh; it stays the mesh's."
  (dcf:socket-fd (mesh-socket mesh)))

(defun mesh-ready-p (mesh)
  "Return whether there is something to receive without a wait."
  (and (mesh-next mesh) t))

(defun mesh-wake (mesh)
  "Have `mesh-wait` return, now or as soon as it is called. Any thread may do this at any time."
  (waiter-wake (mesh-waiter mesh)))

;;; Receiving

(defun take-event (mesh)
  "Return the next event, of hydramesh/events, or NIL if there is none."
  (loop with event = (mesh-event mesh)
        until (zerop (dcf:endpoint-next-event (mesh-endpoint mesh) event))
        do (cffi:with-foreign-slots ((dcf:event dcf:message-type dcf:sequence dcf:rtt dcf:payload
                                      dcf:payload-size)
                                     event (:struct dcf:event))
             (let ((peer (dcf:address-at event)))
               (case dcf:event
                 (#.dcf:+message+
                  (return (make-message :peer peer :type dcf:message-type :sequence dcf:sequence
                                        :payload (copy-octets dcf:payload dcf:payload-size))))
                 (#.dcf:+delivered+
                  (when (eq (mesh-traffic mesh) :domain)
                    (return (make-delivered :peer peer :sequence dcf:sequence))))
                 (#.dcf:+pong+ (return (make-pong :peer peer :rtt (min dcf:rtt +never+))))
                 (#.dcf:+unreachable+ (return (make-unreachable :peer peer)))
                 (#.dcf:+forgotten+
                  (when (eq (mesh-traffic mesh) :domain)
                    (return (make-forgotten :peer peer)))))))))

(defun handle-events (mesh handler)
  (unwind-protect
       (loop for event = (or (shiftf (mesh-next mesh) nil) (take-event mesh))
             while event
             do (funcall handler event))
    ;; A handler that does not return loses its own event, and no other.
    (unless (mesh-next mesh)
      (setf (mesh-next mesh) (take-event mesh)))))

(defun mesh-receive (mesh handler)
  "Take what has arrived, for a limited time, and call HANDLER with each event, of hydramesh/events.
If HANDLER does not return, the events after that one come with the next call."
  (handle-events mesh handler)
  (when (mesh-carriers mesh)
    (setf (mesh-carriers mesh) (carriers-receive (mesh-carriers mesh) mesh))
    (handle-events mesh handler))
  (loop repeat +receive-turn+
        for result = (dcf:socket-receive (mesh-socket mesh) (mesh-endpoint mesh)
                                         (mesh-now mesh) (dcf:clock-wall))
        ;; A receive that fails is a loss like any other, which the senders make up for.
        do (unless (= result dcf:+system+)
             (dcf:checked result))
           (handle-events mesh handler)
        while (= result 1)))

;;; Sending

(defun mesh-flush (mesh)
  "Send what is to be sent now. What comes of it is told by the next `mesh-receive`."
  (let ((endpoint (mesh-endpoint mesh)) (socket (mesh-socket mesh)))
    (flet ((send () (setf (mesh-blocked mesh) (zerop (dcf:socket-send socket endpoint)))))
      (unless (and (mesh-blocked mesh) (send))
        (dcf:endpoint-flush endpoint (mesh-now mesh) (dcf:clock-wall)))
      ;; A socket that is full stops no other way.
      (when (mesh-carriers mesh)
        (setf (mesh-carriers mesh) (carriers-send (mesh-carriers mesh) mesh)))
      (unless (mesh-blocked mesh)
        (send))))
  (unless (mesh-next mesh)
    (setf (mesh-next mesh) (take-event mesh)))
  nil)

(defun peer-at (mesh address)
  "Return a pointer to the dcf_address of ADDRESS, valid until the next call."
  (setf (dcf:address-at (mesh-peer mesh)) address)
  (mesh-peer mesh))

(defun refuse (mesh type size)
  "Signal MESSAGE-TOO-LARGE, with what was exceeded by a message of TYPE that has SIZE bytes."
  (let ((most (bounds-max-message (mesh-bounds mesh)))
        (name (cond ((= type +heartbeat+) "HEARTBEAT")
                    ((= type +cancel+) "CANCEL")
                    ((= type +error+) "ERROR")
                    ((= type +mesh+) "MESH")
                    ((= type +sync+) "SYNC"))))
    (error 'message-too-large
           :reason (cond ((> size most)
                          (format nil "a message of ~D bytes exceeds max_message, ~D bytes" size most))
                         ((eq (mesh-traffic mesh) :domain)
                          (format nil "a message of type ~D with ~D bytes does not fit a datagram" type size))
                         ((member type (list +mesh+ +sync+))
                          (format nil "a ~A of ~D bytes does not fit a datagram" name size))
                         (t
                          (format nil "a ~A of ~D bytes exceeds max_control, ~D bytes" name size
                                  +max-control+))))))

(defmethod link-send ((mesh mesh) to type payload)
  (declare (type octets payload))
  (with-foreign-object (sequence :uint32)
    (let ((result (with-pointer-to-vector-data (bytes payload)
                    (dcf:endpoint-send (mesh-endpoint mesh) (peer-at mesh to) type bytes (length payload)
                                       (mesh-now mesh) sequence))))
      (cond ((= result dcf:+no-room+) nil)
            ((= result dcf:+too-large+) (refuse mesh type (length payload)))
            (t (dcf:checked result)
               (mem-ref sequence :uint32))))))

(defmethod link-trust ((mesh mesh) peer)
  (dcf:endpoint-trust (mesh-endpoint mesh) (peer-at mesh peer)))

(defun mesh-subscribe (mesh type)
  "Have messages of TYPE, +MESH+ or +SYNC+, told of from now on; until then they are ignored."
  (dcf:endpoint-subscribe (mesh-endpoint mesh) type))

(defmethod link-ping ((mesh mesh) to)
  (dcf:endpoint-ping (mesh-endpoint mesh) (peer-at mesh to) (mesh-now mesh)))

(defmethod link-forget ((mesh mesh) peer)
  (dcf:endpoint-forget (mesh-endpoint mesh) (peer-at mesh peer)))

;;; State

(defun mesh-idle-p (mesh)
  "Return whether every message has been acknowledged or given up."
  (and (= 1 (dcf:endpoint-idle (mesh-endpoint mesh)))
       (not (mesh-blocked mesh))))

(defun mesh-memory (mesh)
  "Return the bytes of messages that are being reassembled or not yet acknowledged."
  (with-foreign-object (bytes :uint64)
    (dcf:endpoint-memory (mesh-endpoint mesh) bytes)
    (mem-ref bytes :uint64)))

(defun mesh-counters (mesh)
  "Return what the endpoint and the transports beside the socket have counted since their start: a list of
(name help value)."
  (append (dcf:counters #'dcf:endpoint-counter (mesh-endpoint mesh))
          (carriers-counters (mesh-carriers mesh))))
