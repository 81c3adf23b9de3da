(defpackage #:hydramesh/head/observer
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:observe-task #:observe-rate
           #:finished-task #:make-finished-task #:finished-task-kind #:finished-task-model
           #:finished-task-outcome #:finished-task-worker
           #:finished-task-queued #:finished-task-running #:finished-task-total
           #:finished-task-bytes-in #:finished-task-bytes-out #:finished-task-made
           #:finished-task-moved #:finished-task-needs #:finished-task-wanted)
  (:documentation "Who wants to know of every task that has ended, and of every rate that workers tell.

The core has one observer, or NIL. What it gets are numbers and names, never what a task asks or is
answered. It is called by the thread that does the head's work, so it must be quick and must not fail."))
(in-package #:hydramesh/head/observer)

(defstruct finished-task
  "The numbers of a task that has ended.

KIND is its field in Task.work, as \"text\"; OUTCOME is \"DONE\", \"CANCELLED\" or an error's name.
WORKER is the id of the worker that had it last, \"\" if none had it.
It has waited QUEUED and run for RUNNING in all, and TOTAL lie between its arrival and its end.
BYTES-IN are those of the TASK, BYTES-OUT of the RESULTs that were passed on, of which MADE counts what
they brought: tokens, images or embeddings. WANTED is how much of that the task has asked for. MOVED says how
often it went from one worker to another, NEEDS are the capabilities that its model had to have."
  (kind "" :type string)
  (model "" :type string)
  (outcome "" :type string)
  (worker "" :type string)
  (queued 0 :type microseconds)
  (running 0 :type microseconds)
  (total 0 :type microseconds)
  (bytes-in 0 :type unsigned-byte)
  (bytes-out 0 :type unsigned-byte)
  (made 0 :type unsigned-byte)
  (moved 0 :type unsigned-byte)
  (needs 0 :type unsigned-byte)
  (wanted 0 :type unsigned-byte))

(defgeneric observe-task (observer task now)
  (:documentation "TASK, a FINISHED-TASK, has just ended.")
  (:method ((observer null) task now)
    (declare (ignore task now))))

(defgeneric observe-rate (observer worker model rate now)
  (:documentation "The worker with the id WORKER has measured that MODEL makes RATE of its unit a second.
It is told when it is new, not with every heartbeat.")
  (:method ((observer null) worker model rate now)
    (declare (ignore worker model rate now))))
