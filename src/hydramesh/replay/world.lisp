(defpackage #:hydramesh/replay/world
  (:use #:cl)
  (:import-from #:hydramesh/events
                #:make-message #:make-pong #:+heartbeat+ #:+task+ #:+result+ #:+cancel+ #:+error+)
  (:import-from #:hydramesh/head/assignments #:assignments-get)
  (:import-from #:hydramesh/head/core #:core-dispatcher #:core-take)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-assignments)
  (:import-from #:hydramesh/head/job #:job-id #:job-model)
  (:import-from #:hydramesh/head/link #:link-forget #:link-ping #:link-send #:link-trust)
  (:import-from #:hydramesh/head/observer #:finished-task-total #:observe-rate #:observe-task)
  (:import-from #:hydramesh/replay/loading #:loads-done #:loads-seen #:need #:told)
  (:import-from #:hydramesh/replay/machine
                #:begun #:drop-all #:drop-run #:machine-address #:machine-alive-p #:machine-beat-at
                #:machine-cache
                #:machine-gone-p #:machine-heartbeat #:machine-held #:machine-id #:machine-rtt
                #:machine-runs #:make-run #:rate-of
                #:ready #:run-attempt #:run-begun-p #:run-index #:run-left #:run-model #:run-part
                #:run-share #:settle #:status-in)
  (:import-from #:hydramesh/replay/prompts #:hashes-of #:note-in #:prompt-tree #:share-in)
  (:import-from #:hydramesh/replay/record
                #:record-held #:record-passages #:record-since)
  (:import-from #:hydramesh/replay/service #:load-time #:service-time #:share-had)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/traffic
                #:passage-made #:passage-outcome #:passage-prompt-tokens #:passage-ran #:passage-streamed-p)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:world #:new-world #:world-core #:world-record #:world-services #:world-names #:world-now
           #:world-machines #:world-by-address #:world-by-arrival #:world-outcomes #:world-over
           #:world-loads-seen
           #:world-unknown-loads
           #:head-time #:passage-at #:hashes-at #:tell #:beat #:begin-started #:act #:lose #:+offset+)
  (:documentation "What a simulated head talks to: workers that run what it sends them, and answer.

Each runs a task for as long as HYDRAMESH/REPLAY/SERVICE says, once it has the model loaded. It answers
with one RESULT, and if parts were asked for with another one before, once the prompt is read. A task that
was wrong, by the record, fails again."))
(in-package #:hydramesh/replay/world)

(defconstant +offset+ 1000000000 "What the head's clock shows when the record begins.")
(defconstant +beat+ 2000000)

(defparameter +of-the-task+
  '("BAD_REQUEST" "UNSUPPORTED" "MODEL_GATED" "UNSAFE_WEIGHTS")
  "Errors that a task meets with any worker.")

(defstruct (world (:copier nil))
  "STARTED are attempts that the head has sent and that no worker has begun with: lists of a worker, an
attempt and the part to go on with. OUTCOMES has a FINISHED-TASK for each passage that is over, and
BY-ARRIVAL tells its index. HASHES are those of prompts of which tasks are under way, and LEFT has which
part of them is not answered yet after their worker was lost. UNKNOWN-LOADS counts the models that were
loaded in no time, as the record does not tell how long it takes. Times are the head's."
  core
  record
  services
  names
  (now +offset+)
  (machines '() :type list)
  (by-address (make-hash-table))
  (started '() :type list)
  (by-arrival (make-hash-table))
  (outcomes #() :type vector)
  (over 0 :type unsigned-byte)
  (tree nil)
  (hashes (make-hash-table))
  (left (make-hash-table))
  (loads-seen nil)
  (unknown-loads 0 :type unsigned-byte))

(defun new-world (record services names)
  "Return the world of RECORD when that begins, without a head."
  (let* ((passages (record-passages record)) (all (concatenate 'vector (record-held record) passages)))
    (make-world :record record :services services :names names
                :outcomes (make-array (length passages) :initial-element nil)
                :tree (prompt-tree all)
                :loads-seen (loads-seen all))))

(defun head-time (at world)
  "Return the head's time AT a time in microseconds since 1970; its beginning for what was before the record."
  (+ +offset+ (max 0 (- at (record-since (world-record world))))))

(defun passage-at (world index)
  (aref (record-passages (world-record world)) index))

(defun hashes-at (world index)
  "Return the numbers of the blocks of the prompt at INDEX."
  (or (gethash index (world-hashes world))
      (setf (gethash index (world-hashes world))
            (hashes-of (world-tree world) (passage-at world index)))))

;;; The head's way out

(defmethod link-send ((world world) to type payload)
  (let ((machine (gethash to (world-by-address world))))
    (when machine
      (cond ((= type +task+)
             (let* ((task (pb:decode 'pb:task payload)) (resume (pb:task-resume task)))
               (push (list machine (pb:task-id task) (if resume (pb:resume-index resume) 0))
                     (world-started world))))
            ((= type +cancel+)
             (settle machine (world-services world) (world-now world))
             (let ((run (drop-run machine (pb:cancel-id (pb:decode 'pb:cancel payload)))))
               (when run
                 (note-left world run))))))
    t))

(defun lose (world machine)
  "Let the process of MACHINE be gone, with all that it runs."
  (settle machine (world-services world) (world-now world))
  (dolist (run (machine-runs machine))
    (note-left world run))
  (drop-all machine))

(defmethod link-ping ((world world) to)
  (let ((machine (gethash to (world-by-address world))))
    (when (and machine (machine-alive-p machine) (machine-rtt machine))
      (core-take (world-core world) (make-pong :peer to :rtt (machine-rtt machine)) (world-now world)))))

(defmethod link-forget ((world world) peer)
  (declare (ignore peer)))

(defmethod link-trust ((world world) peer)
  (declare (ignore peer)))

(defmethod observe-rate ((world world) worker model rate now)
  (declare (ignore worker model rate now)))

(defmethod observe-task ((world world) task now)
  (let ((index (gethash (- now (finished-task-total task)) (world-by-arrival world))))
    (when (and index (null (aref (world-outcomes world) index)))
      (setf (aref (world-outcomes world) index) task)
      (remhash index (world-hashes world))
      (remhash index (world-left world))
      (incf (world-over world)))))

(defun tell (world address type octets)
  "Let the head have a message from ADDRESS, and workers begin with what it sends them for that."
  (core-take (world-core world)
             (make-message :peer address :type type :sequence 1 :payload octets)
             (world-now world))
  (begin-started world))

(defun beat (world machine)
  "Send a heartbeat of MACHINE."
  (setf (machine-beat-at machine) (+ (world-now world) +beat+))
  (tell world (machine-address machine) +heartbeat+ (told machine)))

;;; Beginning

(defun begin-started (world)
  "Let workers begin with what the head has sent them."
  (loop while (world-started world)
        do (loop for (machine attempt part) in (reverse (shiftf (world-started world) '()))
                 for job = (assignments-get (dispatcher-assignments (core-dispatcher (world-core world)))
                                            attempt)
                 when (and job (not (machine-gone-p machine)))
                   do (begin world machine attempt part job))))

(defun begin (world machine attempt part job)
  "Let MACHINE begin with ATTEMPT at JOB, which goes on with PART."
  (let* ((now (world-now world))
         (index (1- (job-id job)))
         (passage (passage-at world index))
         (run (run-of world machine attempt part job)))
    (settle machine (world-services world) now)
    (cond ((need machine (job-model job) now (lambda () (loading-time world passage machine)))
           (push run (machine-held machine))
           (beat world machine))
          (t
           (push run (machine-runs machine))))))

(defun loading-time (world passage machine)
  (or (load-time (world-services world) passage (machine-id machine))
      (progn (incf (world-unknown-loads world)) 0)))

(defun run-of (world machine attempt part job)
  (let* ((index (1- (job-id job)))
         (passage (passage-at world index))
         (services (world-services world))
         (id (machine-id machine))
         (share (share-had services passage id
                           (share-in (machine-cache machine) passage (hashes-at world index)))))
    (multiple-value-bind (read make)
        (service-time services passage index id (rate-of machine (job-model job)) share)
      (make-run :index index :attempt attempt :model (job-model job) :part part :share share
                :read (float read 1d0)
                :make (float (* make (if (plusp part) (left-of world index) 1)) 1d0)
                :whole (float make 1d0)
                :begun-p (not (passage-streamed-p passage))))))

(defun left-of (world index)
  "Return which part of the answer at INDEX is to be made yet: another worker makes it now, or did."
  (loop for machine in (world-machines world)
        for run = (find index (machine-runs machine) :key #'run-index)
        when run
          do (settle machine (world-services world) (world-now world))
             (return (run-left run))
        finally (return (gethash index (world-left world) 1))))

(defun note-left (world run)
  "Note how much of RUN, which is not answered, is left for another worker that goes on with it."
  (when (and (run-index run) (plusp (run-part run)))
    (setf (gethash (run-index run) (world-left world)) (run-left run))))

;;; Answering

(defun act (world machine)
  "Let MACHINE do what it is to do now: begin with what waited for models, and answer."
  (let ((now (world-now world)))
    (settle machine (world-services world) now)
    (dolist (model (loads-done machine now))
      (let ((held (remove model (machine-held machine) :key #'run-model :test-not #'string=)))
        (setf (machine-held machine) (set-difference (machine-held machine) held :test #'eq)
              (machine-runs machine) (append held (machine-runs machine))))
      (beat world machine))
    (dolist (run (begun machine))
      (setf (run-begun-p run) t)
      (answer-first world machine run))
    (dolist (run (ready machine))
      (if (run-index run)
          (answer-last world machine run)
          (beat world machine)))))

(defun answer-first (world machine run)
  (when (run-index run)
    (note-in (machine-cache machine) (passage-at world (run-index run)) (hashes-at world (run-index run)))
    (let ((part (run-part run)))
      (incf (run-part run))
      (tell world (machine-address machine) +result+
            (pb:encode (pb:make-result :id (run-attempt run) :index part
                                       :model (identity-of machine run)))))))

(defun identity-of (machine run)
  (let ((status (status-in (machine-heartbeat machine) (run-model run))))
    (or (and status (pb:model-status-identity status))
        (pb:make-model-identity))))

(defun answer-last (world machine run)
  (let* ((passage (passage-at world (run-index run)))
         (code (and (plusp (passage-ran passage))
                    (member (passage-outcome passage) +of-the-task+ :test #'string=)
                    (pb:enum-number 'pb:error-code (passage-outcome passage)))))
    (note-in (machine-cache machine) passage (hashes-at world (run-index run)))
    (if code
        (tell world (machine-address machine) +error+
              (pb:encode (pb:make-error :id (run-attempt run) :code code :message "as recorded")))
        (tell world (machine-address machine) +result+
              (pb:encode (pb:make-result :id (run-attempt run) :index (run-part run) :final t
                                         :usage (usage passage run)))))))

(defun usage (passage run)
  (let ((tokens (min #xffffffff (passage-prompt-tokens passage))))
    (and (plusp tokens)
         (pb:make-usage :prompt-tokens tokens
                        :completion-tokens (min #xffffffff (passage-made passage))
                        :cached-tokens (round (* (run-share run) tokens))))))
