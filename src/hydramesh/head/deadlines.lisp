(defpackage #:hydramesh/head/deadlines
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/job #:job #:job-deadline #:job-number #:job-over-p)
  (:export #:deadlines #:make-deadlines #:deadlines-add #:deadlines-missed)
  (:documentation "When jobs have to be over, the soonest first.

A heap from which jobs that are over are cleaned only when they are in the majority. A client that waits
for an answer goes on waiting while this process is stopped, so the time that the clock leaves out
counts here."))
(in-package #:hydramesh/head/deadlines)

(defconstant +stale+ 64)

(defstruct (deadlines (:constructor make-deadlines (paused)))
  "PAUSED is a function that tells how much time the clock has left out since the start."
  (paused (constantly 0) :type function :read-only t)
  (times (make-array +stale+ :element-type 'fixnum) :type (simple-array fixnum (*)))
  (jobs (make-array +stale+ :initial-element nil) :type simple-vector)
  (count 0 :type fixnum))

(defun deadlines-add (deadlines job jobs)
  "Watch JOB, one of JOBS that are not over."
  (when (> (1+ (deadlines-count deadlines)) (+ (* 2 jobs) +stale+))
    (clean deadlines))
  (let ((at (deadlines-count deadlines)))
    (when (= at (length (deadlines-jobs deadlines)))
      (grow deadlines))
    (setf (deadlines-count deadlines) (1+ at))
    (rise deadlines at (+ (job-deadline job) (funcall (deadlines-paused deadlines))) job)))

(defun deadlines-missed (deadlines now)
  "Return a job that should be over at NOW and is not, and watch it no longer; NIL if there is none."
  (let ((now (+ now (funcall (deadlines-paused deadlines)))))
    (loop while (and (plusp (deadlines-count deadlines))
                     (<= (aref (deadlines-times deadlines) 0) now))
          do (let ((job (take-first deadlines)))
               (unless (job-over-p job)
                 (return job))))))

(defun grow (deadlines)
  (let* ((count (deadlines-count deadlines))
         (times (make-array (* 2 count) :element-type 'fixnum))
         (jobs (make-array (* 2 count) :initial-element nil)))
    (setf (deadlines-times deadlines) (replace times (deadlines-times deadlines))
          (deadlines-jobs deadlines) (replace jobs (deadlines-jobs deadlines)))))

(defun clean (deadlines)
  "Forget the jobs that are over."
  (let ((times (deadlines-times deadlines))
        (jobs (deadlines-jobs deadlines))
        (watched (deadlines-count deadlines)))
    (setf (deadlines-count deadlines) 0)
    ;; What is kept moves towards the front, so nothing is overwritten before it was read.
    (dotimes (from watched)
      (let ((time (aref times from))
            (job (svref jobs from)))
        (setf (svref jobs from) nil)
        (unless (job-over-p job)
          (let ((at (deadlines-count deadlines)))
            (setf (deadlines-count deadlines) (1+ at))
            (rise deadlines at time job)))))))

(declaim (inline before-p))
(defun before-p (time job other-time other)
  "Return whether JOB at TIME comes before OTHER; of those with the same, the one that arrived first."
  (declare (type fixnum time other-time))
  (or (< time other-time)
      (and (= time other-time) (< (job-number job) (job-number other)))))

(defun rise (deadlines at time job)
  "Put JOB where it belongs on the way from the place AT, which is free, to the top."
  (declare (type fixnum at time))
  (let ((times (deadlines-times deadlines))
        (jobs (deadlines-jobs deadlines)))
    (loop while (plusp at)
          do (let ((above (ash (1- at) -1)))
               (unless (before-p time job (aref times above) (svref jobs above))
                 (return))
               (setf (aref times at) (aref times above)
                     (svref jobs at) (svref jobs above)
                     at above)))
    (setf (aref times at) time
          (svref jobs at) job)))

(defun take-first (deadlines)
  "Remove and return the job on top."
  (let* ((times (deadlines-times deadlines))
         (jobs (deadlines-jobs deadlines))
         (first (svref jobs 0))
         (count (decf (deadlines-count deadlines)))
         (time (aref times count))
         (job (svref jobs count))
         (at 0))
    (declare (type fixnum at count))
    (setf (svref jobs count) nil)
    (when (plusp count)
      (loop
        (let ((below (1+ (* 2 at))))
          (declare (type fixnum below))
          (when (>= below count)
            (return))
          (let ((other (1+ below)))
            (when (and (< other count)
                       (before-p (aref times other) (svref jobs other)
                                 (aref times below) (svref jobs below)))
              (setf below other)))
          (unless (before-p (aref times below) (svref jobs below) time job)
            (return))
          (setf (aref times at) (aref times below)
                (svref jobs at) (svref jobs below)
                at below)))
      (setf (aref times at) time
            (svref jobs at) job))
    first))
