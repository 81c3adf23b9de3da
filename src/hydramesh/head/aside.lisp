(defpackage #:hydramesh/head/aside
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/payload #:joined #:split)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:aside #:read-aside #:whole #:encoded-with)
  (:documentation "What is passed on of a large message as it came, and is not decoded."))
(in-package #:hydramesh/head/aside)

(defstruct (aside (:constructor make-aside (payload pieces)))
  "PIECES of PAYLOAD, as pairs of where each begins and ends."
  (payload nil :type octets :read-only t)
  (pieces '() :type list :read-only t))

(defun read-aside (name payload numbers)
  "Return the message of the type NAME in PAYLOAD, and its fields with NUMBERS as an ASIDE.
Of a small message nothing is aside, and the second value is NIL. Signal PB:MALFORMED as SPLIT does."
  (multiple-value-bind (message pieces) (split name payload numbers)
    (values message (and pieces (make-aside payload pieces)))))

(defun whole (payload)
  "Return PAYLOAD, all of it, as an ASIDE."
  (make-aside payload (list (cons 0 (length payload)))))

(defun encoded-with (aside message)
  "Return MESSAGE encoded, behind what is ASIDE unless that is NIL."
  (if aside
      (joined (aside-payload aside) (aside-pieces aside) message)
      (pb:encode message)))
