(defpackage #:hydramesh/tests/replay/bench
  (:use #:cl)
  (:import-from #:uiop)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/events #:wall-clock)
  (:import-from #:hydramesh/foreign/streamdb #:load-streamdb)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-workers)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/replay/command #:replay-main)
  (:import-from #:hydramesh/storage/archive
                #:archive-add-task #:archive-close #:archive-note-workers #:archive-prompts #:archive-write
                #:open-archive)
  (:import-from #:hydramesh/storage/opening #:open-storage #:storage-path)
  (:import-from #:hydramesh/storage/prompts #:note-prompt)
  (:import-from #:hydramesh/storage/roster #:make-terms)
  (:import-from #:hydramesh/storage/traffic
                #:make-passage #:passage-arrival #:passage-blocks #:passage-end #:passage-parent
                #:passage-prompt
                #:passage-shared)
  (:import-from #:hydramesh/tests/cluster #:add-worker #:cluster-core #:cluster-now #:new-cluster)
  (:import-from #:hydramesh/work #:capability-set)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:run)
  (:documentation "How long a replay of many tasks takes, and how much memory.

    src/hydramesh/build.sh lisp --eval '(asdf:load-system \"hydramesh/tests/replay/bench\")' \\
        --eval '(hydramesh/tests/replay/bench:run)' --quit"))
(in-package #:hydramesh/tests/replay/bench)

(defconstant +workers+ 8)
(defconstant +hour+ 3600000000)
(defconstant +turns+ 5 "Of a chat.")
(defconstant +at-once+ 16 "Chats.")

(defun chat-blocks (chat turn)
  "Return hashes of the prompt of a chat's turn, which goes on after the one before."
  (coerce (loop for index below (* 8 (1+ turn)) collect (+ (* 1000 chat) index))
          '(simple-array (unsigned-byte 64) (*))))

(defun turn-at (index)
  "Return which turn of which chat is the task at INDEX: +AT-ONCE+ chats go on at a time."
  (multiple-value-bind (group place) (floor index (* +at-once+ +turns+))
    (multiple-value-bind (turn chat) (floor place +at-once+)
      (list turn (+ (* group +at-once+) chat)))))

(defun passages (count prompts now)
  "Return COUNT passages that arrived in the hour before NOW: chats of five turns, as the workers answer
them that have 4 slots each and are busy for seven tenths of the time."
  (loop with state = (sb-ext:seed-random-state 1)
        for index below count
        for (turn chat) = (turn-at index)
        for ran = (+ 1 (round (* 2 7/10 +workers+ 4 +hour+ (random 1d0 state)) count))
        for first = (floor ran 10)
        for passage = (make-passage :arrival (+ (- now +hour+) (floor (* index +hour+) count))
                                    :kind "text" :model "m" :worker (format nil "w~D" (mod chat +workers+))
                                    :outcome "DONE" :needs (capability-set pb:+chat+)
                                    :bytes-in (* 2000 (1+ turn))
                                    :bytes-out 2000 :wanted 200 :made 200 :queued 0 :running ran :ran ran
                                    :first first :streamed-p t :weight 100 :deadline 600000000
                                    :reading (* 25 (1+ turn)) :prompt-tokens (* 500 (1+ turn))
                                    :cached-tokens (* 500 turn))
        for hashes = (chat-blocks chat turn)
        do (setf (passage-blocks passage) (length hashes)
                 (values (passage-prompt passage) (passage-parent passage) (passage-shared passage))
                 (note-prompt prompts hashes (passage-end passage)))
        collect passage))

(defun cluster ()
  (let ((cluster (new-cluster)))
    (dotimes (index +workers+ cluster)
      (add-worker cluster :id (format nil "w~D" index) :rate 40d0))))

(defun write-record (folder storage count)
  "Record COUNT tasks in FOLDER as a head does."
  (let ((archive (open-archive (open-storage (storage-path folder storage) storage)))
        (cluster (cluster))
        (now (wall-clock)))
    (archive-note-workers archive
                          (registry-workers (dispatcher-workers (core-dispatcher (cluster-core cluster))))
                          (make-terms :worker-timeout 10000000 :queue-size 1000 :task-deadline 600000000
                                      :max-attempts 3)
                          (cluster-now cluster)
                          (- now +hour+ 1000000))
    (loop for passage in (sort (passages count (archive-prompts archive) now) #'< :key #'passage-end)
          for index from 1
          do (archive-add-task archive passage (passage-end passage))
             (when (zerop (mod index 10000))
               (archive-write archive (passage-end passage))))
    (archive-write archive now :all t)
    (archive-close archive)))

(defun forget-peak ()
  "Let PEAK be as much as this process has now."
  (with-open-file (stream "/proc/self/clear_refs" :direction :output :if-exists :append)
    (write-string "5" stream)))

(defun peak ()
  "Return the most memory that this process has had, in MiB."
  (with-open-file (stream "/proc/self/status")
    (loop for line = (read-line stream)
          when (eql 0 (search "VmHWM:" line))
            return (floor (parse-integer line :start 6 :junk-allowed t) 1024))))

(defun measure (storage count)
  (let* ((folder (sb-posix:mkdtemp (format nil "~A/hydramesh-XXXXXX" (uiop:temporary-directory))))
         (policy (format nil "~A/a.policy" folder)))
    (with-open-file (stream policy :direction :output)
      (write-string "(policy \"a\" (rule \"w0 rests\" (exclude (= worker.name \"w0\"))))" stream))
    (write-record folder storage count)
    (sb-ext:gc :full t)
    (forget-peak)
    (let ((began (get-internal-real-time)) (before (get-internal-run-time)) (size (peak)))
      (format t "~&~A, ~:D tasks, ~:D bytes on the disk:~%" storage count
              (sb-posix:stat-size (sb-posix:stat (storage-path folder storage))))
      (replay-main (list policy "--state-dir" folder "--storage" storage "--since" "2h") '() *standard-output*
                   *error-output*)
      (flet ((seconds (since now) (/ (- now since) (float internal-time-units-per-second 1d0))))
        (format t "in ~,1F s, ~,1F s of processor time; the process had ~D MiB before and ~D MiB at the ~
                   most~2%"
                (seconds began (get-internal-real-time)) (seconds before (get-internal-run-time))
                size (peak))))
    (uiop:delete-directory-tree (uiop:ensure-directory-pathname folder) :validate t)))

(defun run (&optional (count 20000))
  "Measure a replay of COUNT tasks out of each store; that of StreamDB only if its library is here."
  (measure "sqlite" count)
  (handler-case (progn (load-streamdb) (measure "streamdb" count))
    (error (reason) (format t "streamdb is left out: ~A~%" reason))))
