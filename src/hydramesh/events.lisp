(defpackage #:hydramesh/events
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:export #:octets #:microseconds #:seconds #:wall-clock
           #:+heartbeat+ #:+task+ #:+result+ #:+cancel+ #:+error+ #:+mesh+ #:+sync+
           #:message #:make-message #:message-peer #:message-type #:message-sequence #:message-payload
           #:delivered #:make-delivered #:delivered-peer #:delivered-sequence
           #:pong #:make-pong #:pong-peer #:pong-rtt
           #:unreachable #:make-unreachable #:unreachable-peer
           #:forgotten #:make-forgotten #:forgotten-peer)
  (:documentation "What the network tells the head.

Times are whole numbers: microseconds of a monotonic clock that stands still while this process does."))
(in-package #:hydramesh/events)

(deftype octets () "Bytes." '(simple-array (unsigned-byte 8) (*)))

(deftype microseconds () "A time, or a span of it." '(unsigned-byte 62))

(declaim (inline seconds))
(defun seconds (number)
  "Return NUMBER seconds in microseconds."
  (values (round (* number 1000000))))

(defun wall-clock ()
  "Return the microseconds since the Epoch, by a clock that may be set."
  (multiple-value-bind (seconds microseconds) (sb-ext:get-time-of-day)
    (+ (seconds seconds) microseconds)))

;; The message types of docs/transport.md that a program sends and receives.
(defconstant +heartbeat+ #x01)
(defconstant +task+ #x02)
(defconstant +result+ #x03)
(defconstant +cancel+ #x22)
(defconstant +error+ #x23)
;; These two go once, in one datagram, and may be lost.
(defconstant +mesh+ #x0b)
(defconstant +sync+ #x26)

(defstruct message
  "A message has arrived, whole; and once, unless it is a HEARTBEAT, MESH or SYNC."
  (peer 0 :type address)
  (type 0 :type (unsigned-byte 8))
  (sequence 0 :type (unsigned-byte 32))
  (payload (make-array 0 :element-type '(unsigned-byte 8)) :type octets))

(defstruct delivered
  "A peer has acknowledged all of the message that was sent with that SEQUENCE. The head is not told."
  (peer 0 :type address)
  (sequence 0 :type (unsigned-byte 32)))

(defstruct pong
  "A peer has answered a PING after RTT microseconds."
  (peer 0 :type address)
  (rtt 0 :type microseconds))

(defstruct unreachable
  "A peer has acknowledged nothing for too long."
  (peer 0 :type address))

(defstruct forgotten
  "Nothing is known of a peer any more: it was idle, or had to make room for another. The head is not told."
  (peer 0 :type address))
