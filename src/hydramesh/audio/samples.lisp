(defpackage #:hydramesh/audio/samples
  (:use #:cl)
  (:export #:samples #:make-samples #:saturated #:sample-count #:level #:crossfade)
  (:documentation "Sound as it is worked on: samples of 16 bits, one channel."))
(in-package #:hydramesh/audio/samples)

(deftype samples () "Sound: whole numbers from -32768 to 32767." '(simple-array (signed-byte 16) (*)))

(defun make-samples (count)
  "Return COUNT samples of silence."
  (make-array count :element-type '(signed-byte 16) :initial-element 0))

(declaim (inline saturated))
(defun saturated (value)
  "Return the sample nearest to VALUE, a whole number."
  (declare (type fixnum value))
  (max -32768 (min 32767 value)))

(defun sample-count (rate milliseconds)
  "Return how many samples at RATE a second last MILLISECONDS, which may be a fraction."
  (values (round (* rate milliseconds) 1000)))

(defun level (samples)
  "Return how loud SAMPLES are: their root mean square in decibels of the greatest possible, at most 0.0;
-96.0 is silence."
  (declare (type samples samples) (optimize speed))
  (let ((sum 0))
    (declare (type (unsigned-byte 62) sum))
    (dotimes (at (length samples))
      (let ((sample (aref samples at)))
        (setf sum (ldb (byte 62 0) (+ sum (* sample sample))))))
    (if (zerop sum)
        -96.0
        (let ((mean (/ (coerce sum 'double-float) (length samples) (* 32768d0 32768d0))))
          (declare (type (double-float 1d-30 1d0) mean))
          (max -96.0 (* 10 (coerce (/ (log mean) (log 10d0)) 'single-float)))))))

(defun crossfade (from to)
  "Fill TO, samples, with FROM, as many, that are faded over to what is in TO."
  (declare (type samples from to) (optimize speed))
  (let ((count (length to)))
    (declare (type (unsigned-byte 32) count))
    (dotimes (at (min count (length from)) to)
      (setf (aref to at)
            (values (truncate (+ (* (aref from at) (- count at)) (* (aref to at) at)) count))))))
