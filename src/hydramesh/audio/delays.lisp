(defpackage #:hydramesh/audio/delays
  (:use #:cl)
  (:export #:delays #:make-delays #:delays-clear #:note-delay #:delays-needed #:delays-least)
  (:documentation "How late the latest blocks of a sound came, and how late they have to be heard so that most are
there in time.

A delay is the time at which a block came, without when it would have been made if the first had been made at 0.
So delays differ by what the network does; all of them move together as far as the two clocks differ, and since
only the latest count, that does no harm."))
(in-package #:hydramesh/audio/delays)

(defconstant +remembered+ 256 "Delays; five seconds with blocks of 20 ms.")
(defconstant +counted-anew+ 16 "Blocks after which it is looked again.")
(defconstant +in-time+ 98/100 "Which part of the blocks is to be there in time.")
(defconstant +reserve+ 20000 "Microseconds that are kept beyond the first delays, when little is known.")
(defconstant +few+ 50 "So many delays tell little.")

(deftype delay-list () '(simple-array fixnum (*)))

(defstruct (delays (:constructor make-delays (most)))
  "The latest delays in microseconds, a ring with COUNT since the beginning. LEAST and NEEDED are of them; they
differ by MOST at most."
  (most 0 :type fixnum :read-only t)
  (ring (make-array +remembered+ :element-type 'fixnum) :type delay-list)
  (sorted (make-array +remembered+ :element-type 'fixnum) :type delay-list)
  (count 0 :type fixnum)
  (least nil :type (or null fixnum))
  (needed 0 :type fixnum))

(defun delays-clear (delays)
  "Have DELAYS know of none."
  (setf (delays-count delays) 0
        (delays-least delays) nil))

(defun note-delay (delays delay)
  "Note that a block came after DELAY."
  (declare (type fixnum delay))
  (setf (aref (delays-ring delays) (mod (delays-count delays) +remembered+)) delay)
  (incf (delays-count delays))
  (when (or (< (delays-count delays) +few+)
            (zerop (mod (delays-count delays) +counted-anew+)))
    (count-anew delays)))

(defun count-anew (delays)
  "Have LEAST and NEEDED be what the latest of DELAYS make them."
  (let* ((count (min +remembered+ (delays-count delays)))
         (sorted (delays-sorted delays)))
    (replace sorted (delays-ring delays) :end2 count)
    (sort-delays sorted count)
    (let ((least (aref sorted 0)))
      (setf (delays-least delays) least
            (delays-needed delays)
            (min (+ (aref sorted (1- (ceiling (* +in-time+ count))))
                    (floor (* +reserve+ (max 0 (- +few+ count))) +few+))
                 (+ least (delays-most delays)))))))

(defun sort-delays (delays count)
  "Sort the first COUNT of DELAYS, which are few."
  (declare (type delay-list delays) (type fixnum count) (optimize speed))
  (loop for at of-type fixnum from 1 below count
        for delay = (aref delays at)
        do (loop for place of-type fixnum from at above 0
                 while (> (aref delays (1- place)) delay)
                 do (setf (aref delays place) (aref delays (1- place)))
                 finally (setf (aref delays place) delay))))
