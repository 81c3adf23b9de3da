(defpackage #:hydramesh/head/link
  (:use #:cl)
  (:export #:link-send #:link-ping #:link-forget #:link-trust #:message-too-large #:message-too-large-reason)
  (:documentation "The way out of the head's sans-IO part. The mesh of hydramesh/mesh is one; tests have
another."))
(in-package #:hydramesh/head/link)

(define-condition message-too-large (error)
  ((reason :initarg :reason :initform "it is larger than any message may be" :reader message-too-large-reason))
  (:report (lambda (condition stream) (write-string (message-too-large-reason condition) stream)))
  (:documentation "A message is larger than any may be; the REASON says by which limit."))

(defgeneric link-send (link to type payload)
  (:documentation "Send a message of TYPE with PAYLOAD, octets, to the address TO.
Return its sequence number, or NIL if so much waits that there is no room for it.
Signal MESSAGE-TOO-LARGE if it is larger than any message may be."))

(defgeneric link-ping (link to)
  (:documentation "Measure the distance to the address TO; a PONG tells it."))

(defgeneric link-forget (link peer)
  (:documentation "Drop all that is known about the address PEER, and what was to be sent to it."))

(defgeneric link-trust (link peer)
  (:documentation "Send to the address PEER without reserve: this head has reason to expect somebody there."))
