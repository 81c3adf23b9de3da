(defpackage #:hydramesh/head/deadlines
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:deadlines #:make-deadlines #:deadlines-count #:deadlines-add #:deadlines-missed #:deadlines-next)
  (:documentation "When jobs have to be over, or are to be looked at, the soonest first.

A heap of times and of the numbers of jobs, so that it keeps no job which is over. Their numbers are
cleaned from it only when they are in the majority. A client that waits for an answer goes on waiting
while this process is stopped, so the time that the clock leaves out counts here."))
(in-package #:hydramesh/head/deadlines)

(defconstant +stale+ 64)

(deftype numbers () '(simple-array fixnum (*)))

(defstruct (deadlines (:constructor make-deadlines (paused jobs)))
  "JOBS are all for which the time still matters, by their numbers. PAUSED is a function that tells how much time the
clock has left out since the start. The first COUNT of TIMES and NUMBERS are the heap."
  (paused (constantly 0) :type function :read-only t)
  (jobs nil :type hash-table :read-only t)
  (times (make-array +stale+ :element-type 'fixnum) :type numbers)
  (numbers (make-array +stale+ :element-type 'fixnum) :type numbers)
  (count 0 :type fixnum))

(defun deadlines-add (deadlines time number)
  "Watch the job with that NUMBER, which has to be over at TIME."
  (declare (type microseconds time))
  (when (> (1+ (deadlines-count deadlines))
           (+ (* 2 (hash-table-count (deadlines-jobs deadlines))) +stale+))
    (clean deadlines))
  (let ((at (deadlines-count deadlines)))
    (when (= at (length (deadlines-numbers deadlines)))
      (grow deadlines))
    (setf (deadlines-count deadlines) (1+ at))
    (rise deadlines at (+ time (funcall (deadlines-paused deadlines))) number)))

(defun deadlines-missed (deadlines now)
  "Return a job that should be over at NOW and is not, and watch it no longer; NIL if there is none."
  (let ((now (+ now (funcall (deadlines-paused deadlines)))))
    (loop while (and (plusp (deadlines-count deadlines))
                     (<= (aref (deadlines-times deadlines) 0) now))
          do (let ((job (gethash (take-first deadlines) (deadlines-jobs deadlines))))
               (when job
                 (return job))))))

(defun deadlines-next (deadlines)
  "Return the soonest time that is watched for, maybe of a job that is over; NIL if there is none."
  (and (plusp (deadlines-count deadlines))
       (aref (deadlines-times deadlines) 0)))

(defun grow (deadlines)
  (flet ((twice (numbers)
           (replace (make-array (* 2 (length numbers)) :element-type 'fixnum) numbers)))
    (setf (deadlines-times deadlines) (twice (deadlines-times deadlines))
          (deadlines-numbers deadlines) (twice (deadlines-numbers deadlines)))))

(defun clean (deadlines)
  "Forget the jobs that are over."
  (let ((times (deadlines-times deadlines))
        (numbers (deadlines-numbers deadlines))
        (watched (deadlines-count deadlines)))
    (setf (deadlines-count deadlines) 0)
    ;; What is kept moves towards the front, so nothing is overwritten before it was read.
    (dotimes (from watched)
      (when (gethash (aref numbers from) (deadlines-jobs deadlines))
        (let ((at (deadlines-count deadlines)))
          (setf (deadlines-count deadlines) (1+ at))
          (rise deadlines at (aref times from) (aref numbers from)))))))

(declaim (inline before-p))
(defun before-p (time number other-time other)
  "Return whether NUMBER at TIME comes before OTHER; of those at the same time, the least number does."
  (declare (type fixnum time number other-time other))
  (or (< time other-time)
      (and (= time other-time) (< number other))))

(defun rise (deadlines at time number)
  "Put NUMBER where it belongs on the way from the place AT, which is free, to the top."
  (declare (type fixnum at time number))
  (let ((times (deadlines-times deadlines))
        (numbers (deadlines-numbers deadlines)))
    (loop while (plusp at)
          do (let ((above (ash (1- at) -1)))
               (unless (before-p time number (aref times above) (aref numbers above))
                 (return))
               (setf (aref times at) (aref times above)
                     (aref numbers at) (aref numbers above)
                     at above)))
    (setf (aref times at) time
          (aref numbers at) number)))

(defun take-first (deadlines)
  "Remove and return the number on top."
  (let* ((times (deadlines-times deadlines))
         (numbers (deadlines-numbers deadlines))
         (first (aref numbers 0))
         (count (decf (deadlines-count deadlines)))
         (time (aref times count))
         (number (aref numbers count))
         (at 0))
    (declare (type fixnum at count))
    (loop
      (let* ((below (1+ (* 2 at)))
             (other (1+ below)))
        (declare (type fixnum below other))
        (when (>= below count)
          (return))
        (when (and (< other count)
                   (before-p (aref times other) (aref numbers other)
                             (aref times below) (aref numbers below)))
          (setf below other))
        (unless (before-p (aref times below) (aref numbers below) time number)
          (return))
        (setf (aref times at) (aref times below)
              (aref numbers at) (aref numbers below)
              at below)))
    (setf (aref times at) time
          (aref numbers at) number)
    first))
