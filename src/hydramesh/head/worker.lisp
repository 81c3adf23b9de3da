(defpackage #:hydramesh/head/worker
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/breaker #:breaker #:breaker-denies-p)
  (:import-from #:hydramesh/head/model-index #:model-index)
  (:import-from #:hydramesh/head/proximity #:make-proximity #:proximity #:proximity-rtt)
  (:import-from #:hydramesh/head/read-prompts #:read-prompts)
  (:import-from #:hydramesh/head/turnaround #:make-turnaround #:turnaround)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:worker #:worker-id #:worker-incarnation #:worker-process #:worker-number #:worker-title
           #:worker-bytes #:worker-heartbeat #:worker-address #:worker-seen-at #:worker-state
           #:worker-serving-p #:worker-slots #:worker-can-download #:worker-tags #:worker-models
           #:worker-attempts #:worker-take #:worker-drop #:worker-elsewhere #:worker-load #:worker-free-p
           #:worker-last-assignment #:worker-read #:worker-turnaround #:worker-awaited #:worker-retired
           #:worker-rtt #:worker-proximity #:worker-note-elsewhere #:worker-memory #:worker-room
           #:worker-offer #:worker-breaker #:worker-set-aside-p #:worker-policy-view #:worker-weight
           #:worker-inside #:blank-worker #:worker-beat #:worker-contested #:worker-excess #:worker-index
           #:worker-refilled #:worker-running #:worker-told #:worker-untold)
  (:documentation "One worker: what it said last, and what this head has assigned to it.

What is known of its models is read with hydramesh/head/worker-models, and what it says comes here through
hydramesh/head/worker-updates."))
(in-package #:hydramesh/head/worker)

(defstruct (worker (:constructor blank-worker) (:copier nil))
  "One worker process: what it said last, and what this head has assigned to it.

PROCESS is its id and incarnation: a worker that was restarted is another one. NUMBER orders workers by
when this head first heard of them. BYTES is the size of its heartbeat. ATTEMPTS is a hash table whose
keys are the ids of what it runs for this head, RUNNING their number, and ELSEWHERE is how many tasks it
has from other heads: those that they have TOLD, and others, UNTOLD. CONTESTED: heads that have tasks
there have others that wait. REFILLED: heads that do not tell fill each slot again that becomes free.
LAST-ASSIGNMENT orders workers by when they last got a task. READ is what it has read of late, NIL if that is
nothing; AWAITED jobs wait for it, as it has read their prompts, and TURNAROUND is what it takes for a task.
RETIRED are processes of the same id that this one has replaced, the oldest first, each with the number of
heartbeats that came from it since. PROXIMITY is how far away it is. TAGS are a set of hydramesh/head/tags.
MEMORY are the bytes that models could take if it unloaded those that it has, NIL if it does not tell, and
ROOM those of them that one could take of which other workers hold parts. OFFER is what it lends to models
of other workers. BREAKER is what speaks against it, NIL if nothing does. The policy in force sees
POLICY-VIEW, made of the last heartbeat, or NIL; in the choice under way it has given the worker WEIGHT, and
INSIDE counts its tasks in each of the policy's reservations, if there are any. MODELS are a hash table of
WORKER-MODELs by name, which are in INDEX too."
  (process (cons "" 0) :type cons :read-only t)
  (number 0 :type fixnum)
  (bytes 0 :type fixnum)
  (heartbeat nil :type (or null pb:heartbeat))
  (address 0 :type address)
  (seen-at 0 :type microseconds)
  (state 0 :type (signed-byte 32))
  (slots 1 :type (unsigned-byte 32))
  (can-download nil)
  (tags '() :type list)
  (models (make-hash-table :test 'equal) :type hash-table :read-only t)
  (index nil :type model-index :read-only t)
  (beat 0 :type fixnum)
  (attempts (make-hash-table) :type hash-table :read-only t)
  (running 0 :type fixnum)
  (elsewhere 0 :type fixnum)
  (told 0 :type fixnum)
  (excess 0 :type fixnum)
  (untold 0 :type fixnum)
  (contested nil :type boolean)
  (refilled nil :type boolean)
  (last-assignment 0 :type fixnum)
  (read nil :type (or null read-prompts))
  (awaited 0 :type fixnum)
  (turnaround (make-turnaround) :type turnaround :read-only t)
  (retired '() :type list)
  (memory nil :type (or null unsigned-byte))
  (room 0 :type unsigned-byte)
  (offer nil :type (or null pb:shard-offer))
  (breaker nil :type (or null breaker))
  (proximity (make-proximity) :type proximity)
  (policy-view nil)
  (weight 1d0 :type double-float)
  (inside nil :type (or null simple-vector)))

(declaim (inline worker-id worker-incarnation worker-rtt worker-load worker-free-p worker-set-aside-p))

(defun worker-id (worker)
  "Return the id, which stays the same over restarts."
  (the string (car (worker-process worker))))

(defun worker-incarnation (worker)
  "Return what differs for every start of the process."
  (cdr (worker-process worker)))

(defun worker-rtt (worker)
  "Return the round-trip time to it in microseconds, NIL until it was measured."
  (proximity-rtt (worker-proximity worker)))

(defun worker-title (worker)
  "Return what people call it."
  (let ((name (pb:heartbeat-name (worker-heartbeat worker))))
    (if (string= name "") (worker-id worker) name)))

(defun worker-serving-p (worker)
  "Return whether it runs tasks, or soon will."
  (or (= (worker-state worker) pb:+ready+) (= (worker-state worker) pb:+starting+)))

(defun worker-load (worker)
  "Return the number of tasks that it has, from all heads."
  (the fixnum (+ (worker-running worker) (worker-elsewhere worker))))

(defun worker-free-p (worker)
  "Return whether it has a slot for a task of this head: one that is free or, where other heads would fill it
for ever, the next one."
  (or (< (worker-load worker) (worker-slots worker))
      (and (zerop (worker-running worker))
           (or (worker-refilled worker)
               (and (worker-contested worker)
                    (< (worker-untold worker) (worker-slots worker)))))))

(defun worker-set-aside-p (worker now)
  "Return whether it should get no task now, as it has failed again and again."
  (let ((breaker (worker-breaker worker)))
    (and breaker (breaker-denies-p breaker now))))

(defun worker-take (worker attempt)
  "WORKER runs ATTEMPT from now on."
  (setf (gethash attempt (worker-attempts worker)) t
        ;; Who chooses a worker asks all of them for their number.
        (worker-running worker) (hash-table-count (worker-attempts worker))))

(defun worker-drop (worker attempt)
  "WORKER no longer runs ATTEMPT."
  (remhash attempt (worker-attempts worker))
  (setf (worker-running worker) (hash-table-count (worker-attempts worker))))

(defun worker-note-elsewhere (worker told contested)
  "Note that other heads have TOLD how many tasks it has from them; CONTESTED: more of theirs wait."
  (setf (worker-told worker) told
        (worker-contested worker) contested
        (worker-elsewhere worker) (+ told (worker-untold worker))))
