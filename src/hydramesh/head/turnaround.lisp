(defpackage #:hydramesh/head/turnaround
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:turnaround #:make-turnaround #:turnaround-began #:turnaround-ended #:turnaround-next-end)
  (:documentation "How soon one of the tasks of a worker should end, by how long its last ones took."))
(in-package #:hydramesh/head/turnaround)

(defconstant +weight+ 1/8 "Of the last task in the mean.")

(defstruct (turnaround (:copier nil))
  "What one worker takes for a task that this head gives it, whatever that is: MEAN in microseconds, NIL until one
is done. The last one began or ended at TURNED-AT."
  (mean nil :type (or null double-float))
  (turned-at 0 :type microseconds))

(defun turnaround-began (turnaround now)
  "Note that the worker has got a task."
  (setf (turnaround-turned-at turnaround) now))

(defun turnaround-ended (turnaround time now)
  "Note that one of its tasks is done, which took TIME."
  (let ((mean (turnaround-mean turnaround)))
    (setf (turnaround-mean turnaround) (if mean
                                           (+ mean (* (- time mean) +weight+))
                                           (float time 1d0))
          (turnaround-turned-at turnaround) now)))

(defun turnaround-next-end (turnaround load now)
  "Return in how many seconds the first of LOAD tasks there should end; NIL if that is not known.

Lengths of answers differ so much that how long a task has run already says little: tasks are taken to end as
independently as atoms decay, so the first of many ends after the mean over their number. When nothing has
begun or ended for longer than that, this is none of its usual tasks, and may take as long again."
  (when (turnaround-mean turnaround)
    (/ (max (/ (turnaround-mean turnaround) load)
            (- now (turnaround-turned-at turnaround)))
       1d6)))
