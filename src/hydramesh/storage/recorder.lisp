(defpackage #:hydramesh/storage/recorder
  (:use #:cl)
  (:import-from #:hydramesh/events #:wall-clock)
  (:import-from #:hydramesh/head/observer
                #:observe-task #:observe-rate
                #:finished-task #:finished-task-kind #:finished-task-model #:finished-task-outcome
                #:finished-task-worker #:finished-task-queued #:finished-task-running
                #:finished-task-total #:finished-task-bytes-in #:finished-task-bytes-out
                #:finished-task-made #:finished-task-moved #:finished-task-needs #:finished-task-wanted
                #:finished-task-client #:finished-task-host #:finished-task-tags #:finished-task-pinned
                #:finished-task-streamed #:finished-task-together #:finished-task-weight
                #:finished-task-deadline #:finished-task-reading #:finished-task-first #:finished-task-ran
                #:finished-task-prefix #:finished-task-prompt-tokens #:finished-task-cached-tokens
                #:finished-task-cold #:finished-task-beside #:finished-task-beside-ran)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:import-from #:hydramesh/storage/archive
                #:archive-store #:archive-rates #:archive-counters #:archive-prompts #:archive-salt
                #:archive-add-task
                #:archive-add-sample #:archive-add-rate #:archive-note-workers #:archive-set-counters
                #:archive-due-p)
  (:import-from #:hydramesh/storage/codec #:kept #:cut)
  (:import-from #:hydramesh/storage/keeper
                #:keeper #:make-keeper #:keeper-path #:keeper-archive #:keeper-trouble #:keeper-missing
                #:keeper-open #:keeper-call #:keeper-write #:keeper-check #:keeper-retry #:keeper-close
                #:uptime)
  (:import-from #:hydramesh/storage/limits #:+name-characters+ #:+recorder-queue+ #:+tags-kept+)
  (:import-from #:hydramesh/storage/opening #:storage-path)
  (:import-from #:hydramesh/storage/prompts #:note-prompt)
  (:import-from #:hydramesh/storage/pseudonym #:pseudonym)
  (:import-from #:hydramesh/storage/rates #:make-rates #:rates-get #:rates-note #:rates-list)
  (:import-from #:hydramesh/storage/ring #:make-ring #:ring-put #:ring-take #:ring-lost)
  (:import-from #:hydramesh/storage/store #:store-pace)
  (:import-from #:hydramesh/storage/traffic
                #:make-passage #:passage-blocks #:passage-parent #:passage-prompt #:passage-shared)
  (:export #:recorder #:start-recorder #:stop-recorder #:recorder-counters #:recorder-rate
           #:recorder-sample #:recorder-look #:recorder-settle #:recorder-figures)
  (:documentation "Who writes down what the head does, in a thread of its own.

The thread that does the head's work hands over numbers and never waits: what there is no room for is lost
and counted. Whatever is wrong with the disk, the head does not notice."))
(in-package #:hydramesh/storage/recorder)

(defconstant +turn+ 1 "Seconds until the thread looks again at what it was given.")
(defconstant +quiet+ 60 "Seconds between two writes when no task ends.")

(defstruct (recorder (:constructor make-recorder (keeper)))
  "RATES are those that the head's thread remembers; KEEPER, WRITTEN-AT and the counts are the recorder's.
COUNTERS is what an earlier head has counted. PRESENT is what the head has shown of its workers last."
  keeper
  (present nil :type list)
  (ring (make-ring +recorder-queue+))
  (rates (make-rates))
  (counters '() :type list)
  (thread nil)
  (written-at 0 :type unsigned-byte)
  (recorded 0 :type (unsigned-byte 62))
  (dropped 0 :type (unsigned-byte 62))
  ;; What other threads ask of it.
  (lock (sb-thread:make-mutex :name "recorder"))
  (wake (sb-thread:make-semaphore :name "recorder"))
  (askers '() :type list)
  (stopping nil))

;;; The head's thread

(defmethod observe-task ((recorder recorder) task now)
  (declare (ignore now))
  ;; A client may name a model and tags of any length, and what waits must not have it all.
  (setf (finished-task-model task) (cut (finished-task-model task)))
  (when (finished-task-tags task)
    (setf (finished-task-tags task) (few (finished-task-tags task))))
  (ring-put (recorder-ring recorder) (cons (wall-clock) task)))

(defun few (tags)
  "Return the TAGS of a task that are kept, in their order."
  (loop with room = +name-characters+
        for tag in tags
        repeat +tags-kept+
        while (<= (length tag) room)
        do (decf room (length tag))
        collect tag))

(defmethod observe-rate ((recorder recorder) worker model rate now)
  (declare (ignore now))
  (let ((at (wall-clock)))
    (rates-note (recorder-rates recorder) worker model rate (floor at 1000000))
    (ring-put (recorder-ring recorder) (list at :rate worker model rate))))

(defun recorder-rate (recorder worker model)
  "Return what MODEL made a second when it was measured on WORKER last, or NIL."
  (values (rates-get (recorder-rates recorder) worker model)))

(defun recorder-sample (recorder counters queued in-flight workers)
  "Note what the head has counted, a list of (name . number), and how much there is of what."
  (ring-put (recorder-ring recorder) (list (wall-clock) :sample counters queued in-flight workers)))

(defun recorder-look (recorder workers terms now)
  "Show WORKERS, a list that will not be altered, and the head's TERMS at NOW. Only what was shown last is
looked at."
  (setf (recorder-present recorder) (list workers terms now (wall-clock))))

;;; Other threads

(defun recorder-settle (recorder seconds)
  "Wait until all that was handed over before is written, for SECONDS at most. Return whether it is."
  (let ((asker (sb-thread:make-semaphore)))
    (and (null (keeper-trouble (recorder-keeper recorder)))
         (sb-thread:with-mutex ((recorder-lock recorder))
           (unless (recorder-stopping recorder)
             (push asker (recorder-askers recorder))))
         (progn
           (sb-thread:signal-semaphore (recorder-wake recorder))
           (sb-thread:wait-on-semaphore asker :timeout seconds))
         (null (keeper-trouble (recorder-keeper recorder))))))

(defun recorder-figures (recorder)
  "Return a list of (name kind help number) for those who watch, where KIND is :counter or :gauge."
  (list (list "hydramesh_recorded" :counter "Tasks that were written down" (recorder-recorded recorder))
        (list "hydramesh_unrecorded" :counter "What was not written down because the disk was too slow or full"
              (+ (recorder-dropped recorder) (ring-lost (recorder-ring recorder))))
        (list "hydramesh_recording" :gauge "1 while tasks are written down, 0 if something prevents it"
              (if (keeper-trouble (recorder-keeper recorder)) 0 1))))

;;; The recorder's thread

(defun passage-of (task at salt)
  "Return what is kept of TASK, which has ended AT. SALT makes pseudonyms of who asked for it."
  (make-passage :arrival (kept (- at (finished-task-total task)))
                :kind (cut (finished-task-kind task))
                :model (cut (finished-task-model task))
                :worker (cut (finished-task-worker task))
                :outcome (cut (finished-task-outcome task))
                :needs (kept (finished-task-needs task))
                :bytes-in (kept (finished-task-bytes-in task))
                :bytes-out (kept (finished-task-bytes-out task))
                :wanted (kept (finished-task-wanted task))
                :made (kept (finished-task-made task))
                :queued (kept (finished-task-queued task))
                :running (kept (finished-task-running task))
                :moved (kept (finished-task-moved task))
                :client (pseudonym (finished-task-client task) salt)
                :host (pseudonym (finished-task-host task) salt)
                :tags (finished-task-tags task)
                :pinned-p (finished-task-pinned task)
                :streamed-p (finished-task-streamed task)
                :together-p (finished-task-together task)
                :weight (kept (finished-task-weight task))
                :deadline (kept (finished-task-deadline task))
                :reading (kept (finished-task-reading task))
                :first (kept (finished-task-first task))
                :ran (kept (finished-task-ran task))
                :prompt-tokens (kept (finished-task-prompt-tokens task))
                :cached-tokens (kept (finished-task-cached-tokens task))
                :cold-p (finished-task-cold task)
                :beside (cut (finished-task-beside task))
                :beside-ran (kept (finished-task-beside-ran task))))

(defun with-prompt (passage hashes prompts at)
  "Return PASSAGE, and note in it how its prompt with these HASHES begins."
  (when (plusp (length hashes))
    (setf (passage-blocks passage) (length hashes)
          (values (passage-prompt passage) (passage-parent passage) (passage-shared passage))
          (note-prompt prompts hashes at)))
  passage)

(defun take (recorder archive at what)
  "Hand WHAT has happened AT a time to ARCHIVE."
  (if (typep what 'finished-task)
      (progn
        (archive-add-task archive
                          (with-prompt (passage-of what at (archive-salt archive))
                            (finished-task-prefix what) (archive-prompts archive) at)
                          at)
        (incf (recorder-recorded recorder)))
      (ecase (first what)
        (:rate
         (destructuring-bind (worker model rate) (rest what)
           (archive-add-rate archive worker model rate at)))
        (:sample
         (destructuring-bind (counters queued in-flight workers) (rest what)
           (archive-set-counters archive counters)
           (archive-add-sample archive queued in-flight workers at))))))

(defun pass-over (recorder archive what)
  "Count WHAT cannot be written down; what the head has counted is worth having in any case."
  (cond ((typep what 'finished-task)
         (incf (recorder-dropped recorder))
         (incf (keeper-missing (recorder-keeper recorder))))
        ((and archive (eq (first what) :sample))
         (archive-set-counters archive (second what)))))

(defun take-all (recorder)
  (let ((keeper (recorder-keeper recorder)))
    (loop for item = (ring-take (recorder-ring recorder))
          while item
          do (destructuring-bind (at . what) item
               (if (keeper-trouble keeper)
                   (pass-over recorder (keeper-archive keeper) what)
                   (take recorder (keeper-archive keeper) at what))))))

(defun look (recorder)
  "Note what has changed of the workers since the last time."
  (let ((present (shiftf (recorder-present recorder) nil))
        (keeper (recorder-keeper recorder)))
    (when (and present (not (keeper-trouble keeper)))
      (apply #'archive-note-workers (keeper-archive keeper) present))))

(defun write-due-p (recorder)
  (let ((archive (keeper-archive (recorder-keeper recorder)))
        (since (- (uptime) (recorder-written-at recorder))))
    (>= since (if (archive-due-p archive) (store-pace (archive-store archive)) +quiet+))))

(defun turn (recorder asked stopping)
  "Take what has come, and write it if it is time, or if somebody has ASKED, or it is the last time."
  (let ((keeper (recorder-keeper recorder)))
    (keeper-retry keeper :at-once stopping)
    (keeper-call keeper (lambda ()
                          (look recorder)
                          (take-all recorder)))
    (when (and (not (keeper-trouble keeper))
               (or asked stopping (write-due-p recorder)))
      (keeper-write keeper :all stopping)
      (setf (recorder-written-at recorder) (uptime)))))

(defun take-questions (recorder)
  "Return who has asked, and whether to stop."
  (sb-thread:with-mutex ((recorder-lock recorder))
    (values (shiftf (recorder-askers recorder) '()) (recorder-stopping recorder))))

(defun work (recorder)
  (keeper-check (recorder-keeper recorder))
  (loop
    (sb-thread:wait-on-semaphore (recorder-wake recorder) :timeout +turn+)
    (multiple-value-bind (askers stopping) (take-questions recorder)
      (turn recorder (and askers t) stopping)
      (mapc #'sb-thread:signal-semaphore askers)
      (when stopping
        (keeper-close (recorder-keeper recorder))
        (return)))))

;;; From the beginning to the end

(defun remember (recorder archive)
  (setf (recorder-counters recorder) (archive-counters archive))
  (loop for (worker model rate seconds) in (rates-list (archive-rates archive))
        do (rates-note (recorder-rates recorder) worker model rate seconds)))

(defun start-recorder (state-dir storage)
  "Return a recorder that keeps what it is told in STATE-DIR, in STORAGE, \"sqlite\" or \"streamdb\".
What is wrong with the file is logged, and signals nothing."
  (let* ((keeper (make-keeper (storage-path state-dir storage) storage))
         (recorder (make-recorder keeper)))
    (keeper-open keeper)
    (when (keeper-archive keeper)
      (remember recorder (keeper-archive keeper)))
    (setf (recorder-thread recorder)
          (sb-thread:make-thread #'work :name "recorder" :arguments (list recorder)))
    recorder))

(defun stop-recorder (recorder seconds)
  "Write everything down and end the recorder, within SECONDS. Return whether that was enough."
  (sb-thread:with-mutex ((recorder-lock recorder))
    (setf (recorder-stopping recorder) t))
  (sb-thread:signal-semaphore (recorder-wake recorder))
  (let ((result (sb-thread:join-thread (recorder-thread recorder) :timeout seconds :default :late)))
    (when (eq result :late)
      (log-warning "the disk is too slow: what was recorded last is lost"
                   :file (keeper-path (recorder-keeper recorder))))
    (not (eq result :late))))
