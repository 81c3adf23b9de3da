(defpackage #:hydramesh/storage/limits
  (:use #:cl)
  (:export #:+traffic-age+ #:+traffic-chunks+ #:+streamdb-traffic-chunks+ #:+chunk-tasks+ #:+chunk-bytes+
           #:+minutes-days+ #:+hours-days+ #:+rates-kept+ #:+counters-kept+ #:+name-characters+
           #:+tags-kept+ #:+worker-chunks+ #:+worker-changes+ #:+worker-snapshot+
           #:+worker-models+ #:+worker-tags+ #:+worker-heads+ #:+prompt-blocks+ #:+replayed-tasks+
           #:+recorder-queue+ #:+full-chunks+ #:+sqlite-file+ #:+sqlite-log+ #:+streamdb-file+)
  (:documentation "The bounds within which a head records, whatever happens. docs/operations.md says what
happens at each."))
(in-package #:hydramesh/storage/limits)

(defconstant +traffic-age+ 86400 "Seconds for which a task is kept.")
(defconstant +traffic-chunks+ 2048 "Chunks of traffic.")
(defconstant +streamdb-traffic-chunks+ 256 "Chunks of traffic in StreamDB, which has everything in memory.")
(defconstant +chunk-tasks+ 1024 "Tasks in a chunk of traffic.")
(defconstant +chunk-bytes+ (ash 40 10) "Bytes after which a chunk of traffic is full.")
(defconstant +tags-kept+ 8 "Tags of a task; their characters together are those of a name at most.")
(defconstant +worker-chunks+ 64 "Chunks of what workers were.")
(defconstant +worker-snapshot+ (ash 256 10) "Bytes of what all workers are, at the beginning of a chunk.")
(defconstant +worker-changes+ (ash 48 10) "Bytes of changes in a chunk, if they are more than its snapshot.")
(defconstant +worker-models+ 64 "Models of a worker that are kept.")
(defconstant +worker-tags+ 16 "Tags of a worker that are kept.")
(defconstant +worker-heads+ 4 "Heads of a worker that are kept.")
(defconstant +prompt-blocks+ 131072 "Blocks of prompts by which it is told which tasks begin alike.")
(defconstant +replayed-tasks+ 500000 "Tasks of a replay, which takes some three KiB of memory for each.")
(defconstant +minutes-days+ 30 "Days for which there are metrics by minute.")
(defconstant +hours-days+ 732 "Days for which there are metrics by hour.")
(defconstant +rates-kept+ 4096 "Pairs of a worker and a model whose rate is kept.")
(defconstant +counters-kept+ 2048 "Counters that go on after a restart.")
(defconstant +name-characters+ 128 "Characters of a name that is kept.")
(defconstant +recorder-queue+ 65536 "What was handed over and not taken yet; a task is one.")
(defconstant +full-chunks+ 64 "Full chunks of traffic that are not written yet.")
(defconstant +sqlite-file+ (ash 128 20) "Bytes of SQLite's file.")
(defconstant +sqlite-log+ (ash 64 20) "Bytes of SQLite's write-ahead log.")
(defconstant +streamdb-file+ (ash 64 20) "Bytes of StreamDB's file that is read.")
