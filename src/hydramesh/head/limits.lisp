(defpackage #:hydramesh/head/limits
  (:use #:cl)
  (:export #:head-limits #:make-head-limits #:+limits+
           #:head-limits-task #:head-limits-json-task #:head-limits-tasks-memory
           #:head-limits-ahead #:head-limits-ahead-bytes #:head-limits-ahead-memory
           #:head-limits-delivered #:head-limits-delivered-memory
           #:head-limits-heartbeat #:head-limits-heartbeats-memory #:head-limits-workers
           #:head-limits-models #:head-limits-heads #:head-limits-tags #:head-limits-cards
           #:head-limits-shards #:head-limits-members
           #:head-limits-capabilities
           #:head-limits-slots #:head-limits-name #:head-limits-detail
           #:head-limits-clients #:head-limits-remembered-ids #:head-limits-client-name
           #:head-limits-idle-shares #:head-limits-heads-told #:head-limits-named-models
           #:head-limits-incarnations #:head-limits-stopped #:head-limits-failing #:head-limits-nodes
           #:head-limits-read-blocks #:head-limits-hedged)
  (:documentation "The bounds within which a head works, whatever others send.

queue_size, task_deadline, max_attempts and worker_timeout are settings; those of the wire are
libdcf's. docs/operations.md says what happens at each."))
(in-package #:hydramesh/head/limits)

(defconstant +kib+ (ash 1 10))
(defconstant +mib+ (ash 1 20))

(defmacro define-limits (name documentation &rest limits)
  "Define a structure of whole numbers, of which each of LIMITS is a name and the usual value."
  `(defstruct (,name (:copier nil))
     ,documentation
     ,@(loop for (limit value) in limits
             collect `(,limit ,value :type (unsigned-byte 62) :read-only t))))

(define-limits head-limits
  "Sizes in bytes, lengths of names in characters.

A TASK has at most TASK bytes, as JSON JSON-TASK; all that wait or run have TASKS-MEMORY. Of an
answer, AHEAD parts are kept while an earlier one is missing. They take at most AHEAD-BYTES for one
task, AHEAD-MEMORY for all. DELIVERED is kept of an answer so that another worker can continue it,
DELIVERED-MEMORY of all.

A worker has a HEARTBEAT of that size, with that number of MODELS, HEADS, TAGS, CARDS and SLOTS; each
NAME and DETAIL in it has that length, and each model that number of CAPABILITIES. A worker tells of
SHARDS ways to others and parts of a model; a group has MEMBERS besides its lead. The heartbeats of all
WORKERS together take HEARTBEATS-MEMORY.

At most CLIENTS are known, and REMEMBERED-IDS of their finished tasks; CLIENT-NAME characters of
Task.client count. IDLE-SHARES are kept of clients with nothing in the queue. A client is told of
HEADS-TOLD heads, and an error names NAMED-MODELS. INCARNATIONS of each worker and STOPPED workers
are remembered, and of FAILING ones that were lost what spoke against them. NODES of other DCF
implementations are known at a time. READ-BLOCKS are remembered of what each worker has read. A task that
runs on two workers has HEDGED bytes at most."
  (task (* 32 +mib+))
  (json-task (* 4 +mib+))
  (tasks-memory (* 512 +mib+))
  (ahead 2048)
  (ahead-bytes (* 64 +mib+))
  (ahead-memory (* 512 +mib+))
  (delivered (* 64 +mib+))
  (delivered-memory (* 512 +mib+))
  (heartbeat (* 64 +kib+))
  (heartbeats-memory (* 16 +mib+))
  (workers 1024)
  (models 512)
  (heads 64)
  (tags 64)
  (cards 64)
  (shards 64)
  (members 16)
  (capabilities 64)
  (slots 4096)
  (name 256)
  (detail 512)
  (clients 16384)
  (remembered-ids (ash 1 20))
  (client-name 64)
  (idle-shares 256)
  (heads-told 16)
  (named-models 20)
  (incarnations 8)
  (stopped 256)
  (failing 256)
  (nodes 128)
  (read-blocks 1024)
  (hedged (* 256 +kib+)))

(defparameter +limits+ (make-head-limits)
  "The limits of every head but those of tests.")
