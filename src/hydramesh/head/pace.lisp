(defpackage #:hydramesh/head/pace
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:pace #:make-pace #:pace-add #:pace-add-unfinished #:pace-quantile #:pace-class #:+pace-classes+
           #:+least-told+)
  (:documentation "How long a worker takes to begin an answer: the distribution of its recent times.

It is kept as a histogram whose buckets grow by a quarter to an eighth, so that a quantile is told within
that; what is old counts half as much as soon as 256 times are in it. So it takes a few hundred bytes, and
does not grow."))
(in-package #:hydramesh/head/pace)

(defconstant +finest+ 10 "Bits of the time, in microseconds, up to which all times are one: about 1 ms.")
(defconstant +octaves+ 20 "Times that double, so the longest are about 18 minutes; what is longer counts as that.")
(defconstant +buckets+ (1+ (* 4 +octaves+)))
(defconstant +most-told+ 256)
(defconstant +least-told+ 20 "Times from which the later ones of twenty can be told.")

(deftype counts () `(simple-array (unsigned-byte 16) (,+buckets+)))

(defstruct (pace (:copier nil))
  "COUNTS are of the times in each bucket, TOTAL in all."
  (counts (make-array +buckets+ :element-type '(unsigned-byte 16) :initial-element 0) :type counts
                                                                                     :read-only t)
  (total 0 :type (unsigned-byte 16)))

(declaim (inline bucket-of))
(defun bucket-of (time)
  "Return the number of the bucket of TIME: four for each doubling, by the two bits behind the first."
  (declare (type microseconds time))
  (if (< time (ash 1 +finest+))
      0
      (let ((octave (- (integer-length time) +finest+ 1)))
        (if (>= octave +octaves+)
            (1- +buckets+)
            (+ 1 (* 4 octave) (ldb (byte 2 (+ octave +finest+ -2)) time))))))

(defun bucket-end (bucket)
  "Return the time below which those in BUCKET are."
  (if (zerop bucket)
      (ash 1 +finest+)
      (multiple-value-bind (octave quarter) (floor (1- bucket) 4)
        (ash (+ 5 quarter) (+ octave +finest+ -2)))))

(defun pace-add (pace time)
  "Add that an answer was begun after TIME."
  (declare (type pace pace) (optimize speed))
  (when (= (pace-total pace) +most-told+)
    (halve pace))
  (incf (aref (pace-counts pace) (bucket-of time)))
  (incf (pace-total pace))
  nil)

(defun halve (pace)
  (declare (type pace pace))
  (let ((counts (pace-counts pace))
        (total 0))
    (declare (type (unsigned-byte 16) total))
    (dotimes (bucket +buckets+)
      (incf total (setf (aref counts bucket) (ash (aref counts bucket) -1))))
    (setf (pace-total pace) total)))

(defun pace-add-unfinished (pace time quantile)
  "Add that an answer was given up that was not begun after TIME, if that is later than QUANTILE of all.
So that quantile stays what it is: without those that were too late it would sink and sink. Of one given up
earlier, nothing is known that counts."
  (let ((usual (pace-quantile pace quantile)))
    (when (and usual (> time usual))
      (pace-add pace time))))

(defun pace-quantile (pace quantile)
  "Return a time by which so many, a number from 0 to 1, of the recent answers had begun; NIL if too few are
known."
  (let ((total (pace-total pace)))
    (when (>= total +least-told+)
      (loop with needed = (ceiling (* quantile total))
            for bucket from 0 below +buckets+
            sum (aref (pace-counts pace) bucket) into told of-type fixnum
            when (>= told needed)
              return (bucket-end bucket)))))

;;; Alike tasks

(defconstant +pace-classes+ 32)

(defun pace-class (units streamed)
  "Return which tasks of a model are alike: of those that make so many UNITS until their first part comes, or
take as long to read, within a factor of two; and that are STREAMED, or not."
  (declare (type double-float units))
  (+ (min 15 (integer-length (floor (min units 1d9))))
     (if streamed 0 16)))
