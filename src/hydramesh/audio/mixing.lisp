(defpackage #:hydramesh/audio/mixing
  (:use #:cl)
  (:import-from #:hydramesh/audio/samples #:samples #:saturated)
  (:export #:make-mixer #:mixer-clear #:mixer-add #:mixer-total #:mixer-without #:scale)
  (:documentation "Several sounds become one: their sum, in which what is too loud is cut off."))
(in-package #:hydramesh/audio/mixing)

(deftype sums () '(simple-array (signed-byte 32) (*)))

(defstruct (mixer (:constructor %make-mixer (sums)))
  "The sum of the sounds so far."
  (sums nil :type sums))

(defun make-mixer (count)
  "Return a mixer of blocks of COUNT samples; no more than 65,535 sounds go into one."
  (%make-mixer (make-array count :element-type '(signed-byte 32) :initial-element 0)))

(defun mixer-clear (mixer)
  "Have MIXER begin with silence."
  (fill (mixer-sums mixer) 0))

(declaim (inline within))
(defun within (value)
  "Return VALUE, which is never out of the range."
  (declare (type (signed-byte 62) value))
  (max (- (ash 1 31)) (min (1- (ash 1 31)) value)))

(defun mixer-add (mixer samples)
  "Add SAMPLES, a block."
  (declare (type samples samples) (optimize speed))
  (let ((sums (mixer-sums mixer)))
    (dotimes (at (length samples))
      (setf (aref sums at) (within (+ (aref sums at) (aref samples at)))))))

(defun mixer-total (mixer into)
  "Fill INTO, samples, with the sum, and return it."
  (declare (type samples into) (optimize speed))
  (let ((sums (mixer-sums mixer)))
    (dotimes (at (length into) into)
      (setf (aref into at) (saturated (aref sums at))))))

(defun mixer-without (mixer samples into)
  "Fill INTO, samples, with the sum without SAMPLES, which were added; and return it."
  (declare (type samples samples into) (optimize speed))
  (let ((sums (mixer-sums mixer)))
    (dotimes (at (length into) into)
      (setf (aref into at) (saturated (- (aref sums at) (aref samples at)))))))

(defun scale (samples from to)
  "Multiply SAMPLES by what goes FROM one factor TO another, both from 0.0 to 1.0; return them."
  (declare (type samples samples) (type (single-float 0.0 1.0) from to) (optimize speed))
  (unless (= 1.0 from to)
    (let ((step (/ (- to from) (max 1 (length samples)))))
      (dotimes (at (length samples))
        (setf (aref samples at)
              (truncate (* (aref samples at) (max 0.0 (min 1.0 (+ from (* step at))))))))))
  samples)
