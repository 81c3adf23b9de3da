(defpackage #:hydramesh/domain/types
  (:use #:cl)
  (:import-from #:hydramesh/events
                #:message #:message-peer #:message-type #:message-sequence #:message-payload)
  (:export #:+position+ #:+audio+ #:+game-event+ #:+state-sync+ #:+reliable+ #:bare-type-p #:newer-p
           #:reliable-message #:make-reliable-message #:message-channel
           #:+game-channel+ #:+audio-channel+ #:+iot-channel+)
  (:documentation "The types of messages of domain traffic, by DCF's registry; docs/transport.md has their
payloads."))
(in-package #:hydramesh/domain/types)

;; These go once, in one datagram: they may be lost, doubled and overtaken.
(defconstant +position+ 1)
(defconstant +audio+ 2)
(defconstant +game-event+ 3)
(defconstant +state-sync+ 4)
;; This is repeated until it is acknowledged.
(defconstant +reliable+ 5)

;; The first of 16 channels of RELIABLE messages that each kind of program has.
(defconstant +game-channel+ #x10)
(defconstant +audio-channel+ #x20)
(defconstant +iot-channel+ #x30)

(defun bare-type-p (type)
  "Return whether messages of TYPE go once."
  (<= +position+ type +state-sync+))

(defun newer-p (sequence other)
  "Return whether the message with the number SEQUENCE was sent after OTHER; numbers wrap at 2^32 (RFC 1982)."
  (< 0 (ldb (byte 32 0) (- sequence other)) (ash 1 31)))

(defstruct (reliable-message (:include message) (:conc-name message-))
  "A RELIABLE message in its turn. The payload is its body."
  (channel 0 :type (unsigned-byte 8)))
