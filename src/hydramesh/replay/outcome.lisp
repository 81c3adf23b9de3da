(defpackage #:hydramesh/replay/outcome
  (:use #:cl)
  (:import-from #:hydramesh/head/observer
                #:finished-task-beside #:finished-task-first #:finished-task-moved #:finished-task-outcome
                #:finished-task-queued #:finished-task-running
                #:finished-task-streamed #:finished-task-total #:finished-task-worker)
  (:import-from #:hydramesh/storage/traffic
                #:passage-beside #:passage-first #:passage-moved #:passage-outcome #:passage-queued
                #:passage-running
                #:passage-streamed-p #:passage-total #:passage-worker)
  (:export #:outcome #:outcome-tasks #:outcome-done #:outcome-failed #:outcome-cancelled #:outcome-moved
           #:outcome-hedged           #:outcome-total #:outcome-first #:outcome-queued #:outcome-loads
           #:workload-worker #:workload-tasks #:workload-busy
           #:recorded-outcome #:simulated-outcome #:quantile #:relative-error #:same-worker-share)
  (:documentation "What became of a record's tasks: how long they took, where they ran, how many failed."))
(in-package #:hydramesh/replay/outcome)

(defstruct (outcome (:copier nil))
  "TOTAL, FIRST and QUEUED are sorted vectors of the microseconds of the tasks that were answered; FIRST,
until the first part, only of those that asked for parts. LOADS are those of the workers, by their ids."
  (tasks 0)
  (done 0)
  (failed 0)
  (cancelled 0)
  (moved 0)
  (hedged 0)
  (total #() :type vector)
  (first #() :type vector)
  (queued #() :type vector)
  (loads '() :type list))

(defstruct (workload (:copier nil) (:constructor make-workload (worker)))
  "How many TASKS ended on a WORKER, and for how many microseconds all of them ran."
  (worker "" :type string)
  (tasks 0)
  (busy 0))

(defun outcome-of (rows)
  "Return the outcome of ROWS, each the outcome, worker, times and moves of a task, whether it ran on two
workers, and when its first part came, NIL if it did not ask for parts. NIL is a task that did not end."
  (let ((outcome (make-outcome :tasks (length rows))) (loads (make-hash-table :test #'equal))
        (total '()) (first '()) (queued '()))
    (dolist (row rows)
      (destructuring-bind (&optional (name "NOT_OVER") (worker "") (waited 0) (running 0) (all 0) (moved 0)
                             raced (began 0))
          row
        (cond ((string= name "DONE")
               (incf (outcome-done outcome))
               (push all total)
               (when (and began (plusp began))
                 (push began first))
               (push waited queued))
              ((string= name "CANCELLED") (incf (outcome-cancelled outcome)))
              (t (incf (outcome-failed outcome))))
        (incf (outcome-moved outcome) moved)
        (when raced
          (incf (outcome-hedged outcome)))
        (unless (string= worker "")
          (let ((load (or (gethash worker loads) (setf (gethash worker loads) (make-workload worker)))))
            (incf (workload-tasks load))
            (incf (workload-busy load) running)))))
    (setf (outcome-total outcome) (sort (coerce total 'vector) #'<)
          (outcome-first outcome) (sort (coerce first 'vector) #'<)
          (outcome-queued outcome) (sort (coerce queued 'vector) #'<)
          (outcome-loads outcome) (sort (loop for load being the hash-values of loads collect load)
                                        #'string< :key #'workload-worker))
    outcome))

(defun recorded-outcome (passages)
  "Return what really happened to PASSAGES."
  (outcome-of (map 'list (lambda (passage)
                           (list (passage-outcome passage) (passage-worker passage) (passage-queued passage)
                                 (passage-running passage) (passage-total passage) (passage-moved passage)
                                 (string/= (passage-beside passage) "")
                                 (and (passage-streamed-p passage) (passage-first passage))))
                   passages)))

(defun simulated-outcome (tasks)
  "Return the outcome of TASKS, as SIMULATE returns them."
  (outcome-of (map 'list (lambda (task)
                           (and task
                                (list (finished-task-outcome task) (finished-task-worker task)
                                      (finished-task-queued task) (finished-task-running task)
                                      (finished-task-total task) (finished-task-moved task)
                                      (string/= (finished-task-beside task) "")
                                      (and (finished-task-streamed task) (finished-task-first task)))))
                   tasks)))

(defun quantile (sorted share)
  "Return the least number in SORTED, a vector, that SHARE of them do not exceed; NIL if there are none."
  (and (plusp (length sorted))
       (aref sorted (max 0 (1- (ceiling (* share (length sorted))))))))

(defun relative-error (simulated recorded)
  "Return how far SIMULATED is from RECORDED, as a part of that; NIL if that is not defined."
  (and simulated recorded (plusp recorded) (/ (- simulated recorded) recorded)))

(defun same-worker-share (passages tasks)
  "Return which part of PASSAGES that ran on a worker ran on the same one in TASKS; NIL if none did."
  (let ((ran 0) (same 0))
    (map nil (lambda (passage task)
               (unless (string= (passage-worker passage) "")
                 (incf ran)
                 (when (and task (string= (passage-worker passage) (finished-task-worker task)))
                   (incf same))))
         passages tasks)
    (and (plusp ran) (/ same ran))))
