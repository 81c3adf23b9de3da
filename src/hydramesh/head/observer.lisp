(defpackage #:hydramesh/head/observer
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/prompt-blocks #:hashes #:+no-hashes+)
  (:export #:observe-task #:observe-rate
           #:finished-task #:make-finished-task #:finished-task-kind #:finished-task-model
           #:finished-task-outcome #:finished-task-worker
           #:finished-task-queued #:finished-task-running #:finished-task-total
           #:finished-task-bytes-in #:finished-task-bytes-out #:finished-task-made
           #:finished-task-moved #:finished-task-needs #:finished-task-wanted
           #:finished-task-client #:finished-task-host #:finished-task-tags #:finished-task-pinned
           #:finished-task-streamed #:finished-task-together #:finished-task-weight
           #:finished-task-deadline #:finished-task-reading #:finished-task-first #:finished-task-ran
           #:finished-task-prefix #:finished-task-prompt-tokens #:finished-task-cached-tokens
           #:finished-task-cold #:finished-task-beside #:finished-task-beside-ran)
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
often it went from one worker to another, NEEDS are the capabilities that its model had to have.

CLIENT is on whose behalf its sender asked, HOST where it came from, and WEIGHT is Task.weight, 0 if the task
became no job. TAGS and PINNED say which workers might run it. STREAMED says that it asked for parts, TOGETHER
that several workers ran it last. It was to be over DEADLINE after its arrival, the first part that told more
than that the model is loaded was passed on FIRST after that, 0 if none was, and its last worker had it for RAN.
READING is how much could have been made while it was read.

PREFIX are the hashes of its prompt's blocks. Its prompt had PROMPT-TOKENS, of which the worker still had
CACHED-TOKENS, as that told. COLD says that its last worker had the model not loaded when it got the task.
BESIDE is the id of a worker that had it for BESIDE-RAN as well, and lost the race, \"\" if none did."
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
  (wanted 0 :type unsigned-byte)
  (client "" :type string)
  (host "" :type string)
  (tags '() :type list)
  (pinned nil)
  (streamed nil)
  (together nil)
  (weight 0 :type unsigned-byte)
  (deadline 0 :type microseconds)
  (reading 0 :type unsigned-byte)
  (first 0 :type microseconds)
  (ran 0 :type microseconds)
  (prefix +no-hashes+ :type hashes)
  (prompt-tokens 0 :type unsigned-byte)
  (cached-tokens 0 :type unsigned-byte)
  (cold nil)
  (beside "" :type string)
  (beside-ran 0 :type microseconds))

(defgeneric observe-task (observer task now)
  (:documentation "TASK, a FINISHED-TASK, has just ended.")
  (:method ((observer null) task now)
    (declare (ignore task now))))

(defgeneric observe-rate (observer worker model rate now)
  (:documentation "The worker with the id WORKER has measured that MODEL makes RATE of its unit a second.
It is told when it is new, not with every heartbeat.")
  (:method ((observer null) worker model rate now)
    (declare (ignore worker model rate now))))
