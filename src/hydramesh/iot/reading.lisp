(defpackage #:hydramesh/iot/reading
  (:use #:cl)
  (:import-from #:hydramesh/domain/packing #:done #:packed #:take #:with-unpacking)
  (:import-from #:hydramesh/iot/limits #:+name+)
  (:export #:reading #:make-reading #:reading-sensor #:reading-device #:reading-start #:reading-number
           #:reading-value #:encode-reading #:decode-reading)
  (:documentation "A reading as it travels, in a RELIABLE message on the first channel of IoT. docs/transport.md
specifies it."))
(in-package #:hydramesh/iot/reading)

(defconstant +version+ 1)

(defstruct (reading (:copier nil))
  "What DEVICE, a kind of SENSOR, has read: VALUE in millionths, the NUMBERth since its START."
  (sensor "" :type string :read-only t)
  (device "" :type string :read-only t)
  (start 0 :type (unsigned-byte 32) :read-only t)
  (number 0 :type (unsigned-byte 32) :read-only t)
  (value 0 :type (signed-byte 64) :read-only t))

(defun encode-reading (reading)
  "Return the octets of READING."
  (packed (:u8 +version+)
          (:u32 (reading-start reading))
          (:u32 (reading-number reading))
          (:i64 (reading-value reading))
          (:text (reading-sensor reading))
          (:text (reading-device reading))))

(defun decode-reading (octets)
  "Return the reading in OCTETS, or NIL if a later version wrote it. Signal MALFORMED-PAYLOAD."
  (with-unpacking (octets)
    (when (= +version+ (take :u8))
      (let* ((start (take :u32)) (number (take :u32)) (value (take :i64))
             (sensor (take :text +name+)) (device (take :text +name+)))
        (done)
        (make-reading :sensor sensor :device device :start start :number number
                      :value value)))))
