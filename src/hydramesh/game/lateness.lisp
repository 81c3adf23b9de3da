(defpackage #:hydramesh/game/lateness
  (:use #:cl)
  (:export #:lateness #:make-lateness #:note-lateness #:lateness-figures)
  (:documentation "By how much ticks are late."))
(in-package #:hydramesh/game/lateness)

(defconstant +buckets+ 64 "The last one is for what is later.")

(defstruct lateness
  "COUNTS are of ticks by how late they were, in steps that grow by the fourth root of 2 from 10
microseconds."
  (counts (make-array +buckets+ :element-type 'fixnum :initial-element 0))
  (count 0 :type fixnum)
  (most 0 :type unsigned-byte))

(defun bucket-of (late)
  (max 0 (min (1- +buckets+) (floor (* 4 (log (/ (max late 10) 10) 2))))))

(defun note-lateness (lateness late)
  "Note a tick that was LATE microseconds late."
  (incf (aref (lateness-counts lateness) (bucket-of late)))
  (incf (lateness-count lateness))
  (setf (lateness-most lateness) (max late (lateness-most lateness))))

(defun quantile (lateness share)
  (loop with wanted = (ceiling (* share (lateness-count lateness)))
        for bucket from 0 below +buckets+
        sum (aref (lateness-counts lateness) bucket) into seen
        do (when (>= seen wanted)
             (return (min (lateness-most lateness) (round (* 10 (expt 2d0 (/ (1+ bucket) 4))))))) 
        finally (return (lateness-most lateness))))

(defun lateness-figures (lateness)
  "Return how many ticks there were, and by how many microseconds half of them, 99 % of them, and all of them
were late at most; of the first two to the next step, a fifth more."
  (values (lateness-count lateness)
          (quantile lateness 1/2)
          (quantile lateness 99/100)
          (lateness-most lateness)))
