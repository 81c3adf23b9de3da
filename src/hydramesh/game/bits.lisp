(defpackage #:hydramesh/game/bits
  (:use #:cl)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/events #:octets)
  (:export #:bit-writer #:make-bit-writer #:write-bits #:bits-written #:bit-reader #:make-bit-reader
           #:read-bits
           #:bits-done)
  (:documentation "Numbers of any count of bits one after the other, the highest bit first."))
(in-package #:hydramesh/game/bits)

(defstruct (bit-writer (:constructor make-bit-writer ()))
  "NUMBER are the COUNT bits that are not a whole octet yet."
  (octets (make-array 64 :element-type '(unsigned-byte 8) :adjustable t :fill-pointer 0))
  (number 0 :type unsigned-byte)
  (count 0 :type fixnum))

(defun write-bits (writer number count)
  "Add NUMBER, which has COUNT bits."
  (setf (bit-writer-number writer)
        (logior (ash (bit-writer-number writer) count) (ldb (byte count 0) number)))
  (incf (bit-writer-count writer) count)
  (loop while (>= (bit-writer-count writer) 8)
        do (let ((rest (decf (bit-writer-count writer) 8)))
             (vector-push-extend (ldb (byte 8 rest) (bit-writer-number writer)) (bit-writer-octets writer))
             (setf (bit-writer-number writer) (ldb (byte rest 0) (bit-writer-number writer))))))

(defun bits-written (writer)
  "Return the octets of what was written, with noughts after it up to a whole one."
  (let ((rest (bit-writer-count writer)))
    (when (plusp rest)
      (write-bits writer 0 (- 8 rest)))
    (coerce (bit-writer-octets writer) 'octets)))

(defstruct (bit-reader (:constructor make-bit-reader (octets)))
  (octets nil :type octets)
  (at 0 :type fixnum))

(defun read-bits (reader count)
  "Return the next number of COUNT bits. Signal MALFORMED-PAYLOAD beyond the end."
  (let* ((octets (bit-reader-octets reader)) (start (bit-reader-at reader)) (end (+ start count)) (number 0))
    (when (> end (* 8 (length octets)))
      (error 'malformed-payload))
    (loop for octet from (floor start 8) below (ceiling end 8)
          do (setf number (logior (ash number 8) (aref octets octet))))
    (setf (bit-reader-at reader) end)
    (ldb (byte count (mod (- end) 8)) number)))

(defun bits-done (reader)
  "Signal MALFORMED-PAYLOAD unless only noughts are left, and fewer than eight."
  (let ((left (- (* 8 (length (bit-reader-octets reader))) (bit-reader-at reader))))
    (unless (and (< left 8) (zerop (read-bits reader left)))
      (error 'malformed-payload))))
