(defpackage #:hydramesh/domain/payloads
  (:use #:cl)
  (:import-from #:hydramesh/domain/packing
                #:packed #:with-unpacking #:take #:rest-octets #:done #:malformed-payload)
  (:import-from #:hydramesh/protobuf/text #:read-text #:text-size #:write-text)
  (:export #:write-position #:read-position #:write-game-event #:read-game-event)
  (:documentation "The payloads that DCF's registry describes, which other DCF nodes understand."))
(in-package #:hydramesh/domain/payloads)

(defun write-position (x y z)
  "Return the payload of a POSITION: three numbers."
  (packed (:f32 x) (:f32 y) (:f32 z)))

(defun read-position (payload)
  "Return x, y and z of a POSITION, single-floats. Signal MALFORMED-PAYLOAD."
  (with-unpacking (payload)
    (multiple-value-prog1 (values (take :f32) (take :f32) (take :f32))
      (done))))

(defun write-game-event (kind text)
  "Return the payload of a GAME_EVENT: KIND, a number of 8 bits, and TEXT."
  (let ((octets (make-array (text-size text) :element-type '(unsigned-byte 8))))
    (write-text text octets (length octets))
    (packed (:u8 kind) (:octets octets))))

(defun read-game-event (payload)
  "Return kind and text of a GAME_EVENT. Signal MALFORMED-PAYLOAD."
  (with-unpacking (payload)
    (let ((kind (take :u8)) (octets (rest-octets)))
      (values kind (handler-case (read-text octets 0 (length octets))
                     (error () (error 'malformed-payload)))))))
