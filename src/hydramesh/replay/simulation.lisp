(defpackage #:hydramesh/replay/simulation
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events
                #:make-message #:make-pong #:seconds #:+heartbeat+ #:+task+ #:+result+ #:+cancel+ #:+error+)
  (:import-from #:hydramesh/head/assignments #:assignments-get)
  (:import-from #:hydramesh/head/core #:make-core #:core-dispatcher #:core-observer #:core-take #:core-tick)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-assignments #:dispatcher-jobs #:dispatcher-workers #:make-policy)
  (:import-from #:hydramesh/head/in-force #:in-force-noted-at #:in-force-replace #:in-force-situation)
  (:import-from #:hydramesh/head/job #:job-id #:job-model)
  (:import-from #:hydramesh/head/link #:link-forget #:link-ping #:link-send #:link-trust)
  (:import-from #:hydramesh/head/observer #:finished-task-total #:observe-rate #:observe-task)
  (:import-from #:hydramesh/head/registry #:registry-in-force)
  (:import-from #:hydramesh/policy/views #:situation-at)
  (:import-from #:hydramesh/replay/record
                #:record-changes #:record-passages #:record-since)
  (:import-from #:hydramesh/replay/service #:service-time #:stretch)
  (:import-from #:hydramesh/replay/tasks #:address-of #:task-of)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/roster
                #:change-at #:change-heartbeat #:change-kind #:change-rtt #:change-silent #:change-terms
                #:change-worker #:terms-max-attempts #:terms-queue-size #:terms-task-deadline
                #:terms-worker-timeout)
  (:import-from #:hydramesh/storage/traffic
                #:passage-arrival #:passage-deadline #:passage-outcome #:passage-ran #:passage-total)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:simulate)
  (:documentation "A head in a time that is not the real one, with the workers and tasks of a record.

The head is the real one but for its socket. Workers come, change and leave as recorded; each runs what it is
given for as long as HYDRAMESH/REPLAY/SERVICE says, and answers with one RESULT. A task that was wrong, by the
record, fails again, and tasks are cancelled when they were."))
(in-package #:hydramesh/replay/simulation)

(defconstant +offset+ 1000000000 "What the head's clock shows when the record begins.")
(defconstant +beat+ 2000000)
(defconstant +busy-tick+ 100000)
(defconstant +idle-tick+ 1000000 "Between two ticks while there is nothing to do.")
(defconstant +stopped-at-once+ 5000000 "A worker that was silent for less has said that it stops.")
(defconstant +grace+ 60000000 "How long it may take after the last deadline until all tasks are over.")

(defparameter +of-the-task+
  '("BAD_REQUEST" "UNSUPPORTED" "MODEL_GATED" "UNSAFE_WEIGHTS")
  "Errors that a task meets with any worker.")

(defstruct (run (:copier nil))
  "The passage at INDEX runs as ATTEMPT, with LEFT microseconds to go if it were alone."
  (index 0 :type unsigned-byte)
  (attempt 0 :type unsigned-byte)
  (left 0d0 :type double-float))

(defstruct (machine (:copier nil))
  "A worker: its id, ADDRESS, what its heartbeats say, encoded, and RUNS as of UPDATED-AT. It sends heartbeats
while it is ALIVE-P, and runs what it is given unless it is GONE-P."
  (id "" :type string)
  (address 0)
  (heartbeat nil)
  (octets nil)
  (rtt nil)
  (alive-p nil)
  (gone-p nil)
  (beat-at 0)
  (runs '() :type list)
  (updated-at 0))

(defstruct (world (:copier nil))
  "STARTED are attempts that the head has sent and that no worker has begun with. OUTCOMES has a FINISHED-TASK
for each passage that is over, and BY-ARRIVAL tells its index. Times are the head's."
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
  (cancels '() :type list))

(defun head-time (at world)
  "Return the head's time AT a time in microseconds since 1970; its beginning for what was before the record."
  (+ +offset+ (max 0 (- at (record-since (world-record world))))))

;;; The head's way out

(defmethod link-send ((world world) to type payload)
  (let ((machine (gethash to (world-by-address world))))
    (when machine
      (cond ((= type +task+)
             (push (cons machine (pb:task-id (pb:decode 'pb:task payload))) (world-started world)))
            ((= type +cancel+)
             (settle world machine)
             (let ((attempt (pb:cancel-id (pb:decode 'pb:cancel payload))))
               (setf (machine-runs machine)
                     (remove attempt (machine-runs machine) :key #'run-attempt))))))
    t))

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
      (incf (world-over world)))))

;;; What workers do

(defun pace (world machine)
  (/ 1d0 (stretch (world-services world) (machine-id machine) (length (machine-runs machine)))))

(defun settle (world machine)
  "Let what MACHINE runs be as far as it is now."
  (let ((passed (* (- (world-now world) (machine-updated-at machine)) (pace world machine))))
    (dolist (run (machine-runs machine))
      (setf (run-left run) (max 0d0 (- (run-left run) passed))))
    (setf (machine-updated-at machine) (world-now world))))

(defun next-end (world machine)
  "Return when MACHINE is ready with something, NIL if it has nothing."
  (when (machine-runs machine)
    (+ (machine-updated-at machine)
       (ceiling (/ (reduce #'min (machine-runs machine) :key #'run-left) (pace world machine))))))

(defun rate-of (machine model)
  (let ((status (find model (pb:heartbeat-models (machine-heartbeat machine))
                      :key #'pb:model-status-name :test #'string=)))
    (if status (pb:model-status-rate status) 0)))

(defun begin-started (world)
  "Let workers begin with what the head has sent them."
  (loop while (world-started world)
        do (loop for (machine . attempt) in (reverse (shiftf (world-started world) '()))
                 for job = (assignments-get (dispatcher-assignments (core-dispatcher (world-core world)))
                                            attempt)
                 when (and job (not (machine-gone-p machine)))
                   do (begin world machine attempt job))))

(defun begin (world machine attempt job)
  (settle world machine)
  (let* ((index (1- (job-id job)))
         (time (service-time (world-services world) (aref (record-passages (world-record world)) index) index
                             (machine-id machine) (rate-of machine (job-model job)))))
    (push (make-run :index index :attempt attempt :left (float time 1d0)) (machine-runs machine))))

(defun end-runs (world machine)
  "Answer what MACHINE is ready with."
  (settle world machine)
  (let ((ready (remove-if-not (lambda (run) (< (run-left run) 1d0)) (reverse (machine-runs machine)))))
    (setf (machine-runs machine) (set-difference (machine-runs machine) ready :test #'eq))
    (dolist (run ready)
      (let* ((passage (aref (record-passages (world-record world)) (run-index run)))
             (code (and (plusp (passage-ran passage))
                        (member (passage-outcome passage) +of-the-task+ :test #'string=)
                        (pb:enum-number 'pb:error-code (passage-outcome passage)))))
        (if code
            (tell world (machine-address machine) +error+
                  (pb:encode (pb:make-error :id (run-attempt run) :code code :message "as recorded")))
            (tell world (machine-address machine) +result+
                  (pb:encode (pb:make-result :id (run-attempt run) :final t))))))))

(defun tell (world address type octets)
  (core-take (world-core world)
             (make-message :peer address :type type :sequence 1 :payload octets)
             (world-now world))
  (begin-started world))

(defun beat (world machine)
  (setf (machine-beat-at machine) (+ (world-now world) +beat+))
  (tell world (machine-address machine) +heartbeat+ (machine-octets machine)))

;;; What has changed

(defun machine-named (world id)
  (or (find id (world-machines world) :key #'machine-id :test #'string=)
      (let* ((number (1+ (length (world-machines world))))
             (machine (make-machine :id id :address (ipv4 (+ (ash 172 24) (ash 16 16) number) 7717))))
        (setf (world-machines world) (append (world-machines world) (list machine))
              (gethash (machine-address machine) (world-by-address world)) machine)
        machine)))

(defun change (world change)
  (case (change-kind change)
    (:started
     ;; Those that are still there are named next.
     (dolist (machine (world-machines world))
       (setf (machine-alive-p machine) nil)))
    (:is
     (let* ((machine (machine-named world (change-worker change)))
            (heartbeat (change-heartbeat change))
            (before (machine-heartbeat machine)))
       (when (and before (/= (pb:heartbeat-incarnation before) (pb:heartbeat-incarnation heartbeat)))
         (setf (machine-runs machine) '()))
       (settle world machine)
       (setf (machine-heartbeat machine) heartbeat
             (machine-octets machine) (pb:encode heartbeat)
             (machine-rtt machine) (change-rtt change)
             (machine-alive-p machine) t
             (machine-gone-p machine) nil)
       (beat world machine)
       (link-ping world (machine-address machine))))
    (:gone
     (let ((machine (machine-named world (change-worker change))))
       (unless (machine-gone-p machine)
         (setf (machine-alive-p machine) nil
               (machine-gone-p machine) t
               (machine-runs machine) '())
         (when (and (machine-heartbeat machine) (< (change-silent change) +stopped-at-once+))
           (let ((last (pb:copy-message (machine-heartbeat machine))))
             (setf (pb:heartbeat-state last) pb:+stopped+)
             (tell world (machine-address machine) +heartbeat+ (pb:encode last)))))))))

(defun changes-in-order (record)
  "Return conses of a time and a change, in order; a worker that fell silent was gone when it did."
  (let ((started 0))
    (stable-sort (loop for change in (record-changes record)
                       when (eq (change-kind change) :started)
                         do (setf started (change-at change))
                       unless (eq (change-kind change) :terms)
                         collect (cons (max started (- (change-at change) (change-silent change))) change))
                 #'< :key #'car)))

(defun policy-of (record)
  "Return the settings by which the head went first."
  (let ((terms (loop with found = nil
                     for change in (record-changes record)
                     when (and (eq (change-kind change) :terms)
                               (or (null found) (<= (change-at change) (record-since record))))
                       do (setf found (change-terms change))
                     finally (return found))))
    (if terms
        (make-policy :worker-timeout (max 1 (terms-worker-timeout terms))
                     :queue-size (terms-queue-size terms)
                     :task-deadline (max 1 (terms-task-deadline terms))
                     :max-attempts (max 1 (terms-max-attempts terms)))
        (make-policy :worker-timeout (seconds 10) :queue-size 1000 :task-deadline (seconds 600)
                     :max-attempts 3))))

;;; Time

(defun arrive (world index)
  (let ((passage (aref (record-passages (world-record world)) index)))
    (setf (gethash (world-now world) (world-by-arrival world)) index)
    (tell world (address-of passage (world-names world)) +task+
          (pb:encode (task-of passage (1+ index) (world-names world))))))

(defun cancel (world index)
  (unless (aref (world-outcomes world) index)
    (tell world (address-of (aref (record-passages (world-record world)) index) (world-names world)) +cancel+
          (pb:encode (pb:make-cancel :id (1+ index))))))

(defun tell-the-time (world in-force)
  "Let a policy have the time of day of the record."
  (setf (in-force-situation in-force)
        (situation-at (floor (+ (record-since (world-record world)) (- (world-now world) +offset+)) 1000000))
        (in-force-noted-at in-force) (world-now world)))

(defun cancels (record world)
  "Return conses of a time and the index of a passage that was cancelled then."
  (sort (loop for passage across (record-passages record)
              for index from 0
              when (string= (passage-outcome passage) "CANCELLED")
                collect (cons (head-time (+ (passage-arrival passage) (passage-total passage)) world) index))
        #'< :key #'car))

(defun end-of-time (record world)
  (+ +grace+ (loop for passage across (record-passages record)
                   maximize (head-time (+ (passage-arrival passage) (passage-deadline passage)) world))))

(defun simulate (record services names policy)
  "Return a vector with what became of each passage of RECORD under POLICY, a PLACEMENT-POLICY or NIL: a
FINISHED-TASK, or NIL if it did not end. SERVICES say how long tasks take, NAMES who asked for them."
  (let* ((passages (record-passages record))
         (world (make-world :record record :services services :names names
                            :outcomes (make-array (length passages) :initial-element nil)))
         (settings (policy-of record))
         (changes (changes-in-order record))
         (cancels (cancels record world))
         (end (end-of-time record world))
         (next 0)
         (tick +offset+)
         (core (make-core settings world (- +offset+ (seconds 100)))))
    (setf (world-core world) core
          (core-observer core) world)
    (let ((in-force (registry-in-force (dispatcher-workers (core-dispatcher core)))))
      (in-force-replace in-force policy)
      (flet ((arrival () (and (< next (length passages))
                              (head-time (passage-arrival (aref passages next)) world)))
             (change-time () (and changes (head-time (car (first changes)) world)))
             (cancel-time () (and cancels (car (first cancels))))
             (at (time) (and time (<= time (world-now world)))))
        (loop until (= (world-over world) (length passages))
              do (setf (world-now world)
                       (max (world-now world)
                            (reduce #'min
                                    (list* tick (or (arrival) tick) (or (change-time) tick)
                                           (or (cancel-time) tick)
                                           (loop for machine in (world-machines world)
                                                 for time = (next-end world machine)
                                                 when time collect time
                                                 when (machine-alive-p machine)
                                                   collect (machine-beat-at machine))))))
                 (when (> (world-now world) end)
                   (return))
                 (tell-the-time world in-force)
                 (loop while (at (change-time))
                       do (change world (cdr (pop changes))))
                 (dolist (machine (world-machines world))
                   (when (at (next-end world machine))
                     (end-runs world machine))
                   (when (and (machine-alive-p machine) (at (machine-beat-at machine)))
                     (beat world machine)))
                 (loop while (at (cancel-time))
                       do (cancel world (cdr (pop cancels))))
                 (loop while (at (arrival))
                       do (arrive world next)
                          (incf next))
                 (when (at tick)
                   (core-tick core (world-now world))
                   (begin-started world)
                   (setf tick (+ (world-now world)
                                 (if (plusp (hash-table-count (dispatcher-jobs (core-dispatcher core))))
                                     +busy-tick+
                                     +idle-tick+)))))))
    (world-outcomes world)))
