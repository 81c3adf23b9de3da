(defpackage #:hydramesh/replay/simulation
  (:use #:cl)
  (:import-from #:hydramesh/events #:seconds #:+task+ #:+cancel+)
  (:import-from #:hydramesh/head/core 
                #:make-core #:core-act #:core-dispatcher #:core-due #:core-observer #:core-tick)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-jobs #:dispatcher-workers)
  (:import-from #:hydramesh/head/in-force #:in-force-noted-at #:in-force-replace #:in-force-situation)
  (:import-from #:hydramesh/head/registry #:registry-in-force)
  (:import-from #:hydramesh/policy/views #:situation-at)
  (:import-from #:hydramesh/replay/changes #:apply-change #:changes-in-order #:machine-named #:settings-of)
  (:import-from #:hydramesh/replay/loading #:next-load)
  (:import-from #:hydramesh/replay/machine
                #:machine-alive-p #:machine-beat-at #:machine-octets #:machine-runs #:make-run #:next-end)
  (:import-from #:hydramesh/replay/record
                #:record-arrivals #:record-held #:record-passages #:record-since #:record-waiting)
  (:import-from #:hydramesh/replay/service #:services-alone)
  (:import-from #:hydramesh/replay/tasks #:address-of #:task-of)
  (:import-from #:hydramesh/replay/world
                #:act #:beat #:begin-started #:hashes-at #:head-time #:new-world #:passage-at #:tell
                #:world-by-arrival #:world-core #:world-machines #:world-names #:world-now #:world-outcomes
                #:world-over #:world-record #:world-services #:world-unknown-loads #:+offset+)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/traffic
                #:passage-deadline #:passage-end #:passage-model #:passage-outcome #:passage-ran
                #:passage-worker)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:simulate)
  (:documentation "A head in a time that is not the real one, with the workers and tasks of a record.

The head is the real one but for its socket. Workers come, change and leave as recorded, and tasks come and
are cancelled as they were; what becomes of them is told by the head."))
(in-package #:hydramesh/replay/simulation)

(defconstant +busy-tick+ 100000)
(defconstant +idle-tick+ 1000000 "Between two ticks while there is nothing to do.")
(defconstant +grace+ 60000000 "How long it may take after the last deadline until all tasks are over.")

(defstruct (script (:copier nil))
  "What has to happen yet: the NEXT passage that arrives, CHANGES and CANCELS, conses of a time of the head
and of what then, and the next TICK."
  (next 0 :type unsigned-byte)
  (changes '() :type list)
  (cancels '() :type list)
  (tick +offset+))

(defun cancels (record world)
  "Return conses of a time and the index of a passage that was cancelled then."
  (sort (loop for passage across (record-passages record)
              for index from 0
              when (string= (passage-outcome passage) "CANCELLED")
                collect (cons (head-time (passage-end passage) world) index))
        #'< :key #'car))

(defun script-of (record world)
  (make-script :changes (loop for (at . change) in (changes-in-order record)
                              collect (cons (head-time at world) change))
               :cancels (cancels record world)))

(defun arrival (world index)
  "Return when the passage at INDEX arrives, NIL if there is none."
  (let ((arrivals (record-arrivals (world-record world))))
    (and (< index (length arrivals)) (head-time (aref arrivals index) world))))

(defun arrive (world index)
  (let ((passage (passage-at world index)))
    (setf (gethash (world-now world) (world-by-arrival world)) index)
    (tell world (address-of passage (world-names world)) +task+
          (pb:encode (task-of passage (1+ index) (world-names world) (hashes-at world index))))))

(defun cancel (world index)
  (unless (aref (world-outcomes world) index)
    (tell world (address-of (passage-at world index) (world-names world)) +cancel+
          (pb:encode (pb:make-cancel :id (1+ index))))))

(defun hold (world)
  "Let workers run what they ran when the record began, as long as they did."
  (dolist (passage (record-held (world-record world)))
    (let* ((machine (machine-named world (passage-worker passage)))
           (left (- (passage-end passage) (record-since (world-record world))))
           (alone (gethash passage (services-alone (world-services world))))
           (part (if (plusp (passage-ran passage)) (/ left (passage-ran passage)) 0)))
      (setf (machine-octets machine) nil)
      (push (make-run :model (passage-model passage)
                      :make (float (if alone (* part (+ (car alone) (cdr alone))) left) 1d0)
                      :begun-p t)
            (machine-runs machine)))))

(defun tell-the-time (world in-force)
  "Let a policy have the time of day of the record."
  (setf (in-force-situation in-force)
        (situation-at (floor (+ (record-since (world-record world)) (- (world-now world) +offset+)) 1000000))
        (in-force-noted-at in-force) (world-now world)))

(defun end-of-time (record world)
  (+ +grace+ (loop for passage across (record-passages record)
                   for at across (record-arrivals record)
                   maximize (head-time (+ at (passage-deadline passage)) world))))

(defun next-time (world script)
  "Return when something happens next."
  (let ((next (script-tick script)))
    (flet ((at (time)
             (when (and time (< time next))
               (setf next time))))
      (at (arrival world (script-next script)))
      (at (car (first (script-changes script))))
      (at (car (first (script-cancels script))))
      (at (core-due (world-core world)))
      (dolist (machine (world-machines world))
        (at (next-end machine (world-services world)))
        (at (next-load machine))
        (when (machine-alive-p machine)
          (at (machine-beat-at machine)))))
    next))

(defun happen (world script)
  "Let all happen that is due now."
  (let ((now (world-now world)) (services (world-services world)))
    (flet ((due-p (time) (and time (<= time now))))
      (loop while (due-p (car (first (script-changes script))))
            do (apply-change world (cdr (pop (script-changes script)))))
      (dolist (machine (world-machines world))
        (when (or (due-p (next-end machine services)) (due-p (next-load machine)))
          (act world machine))
        (when (and (machine-alive-p machine) (due-p (machine-beat-at machine)))
          (beat world machine)))
      (loop while (due-p (car (first (script-cancels script))))
            do (cancel world (cdr (pop (script-cancels script)))))
      (loop while (due-p (arrival world (script-next script)))
            do (arrive world (script-next script))
               (incf (script-next script)))
      (when (due-p (core-due (world-core world)))
        (core-act (world-core world) now)
        (begin-started world))
      (when (due-p (script-tick script))
        (tick world script)))))

(defun tick (world script)
  (let* ((core (world-core world)) (busy (hash-table-count (dispatcher-jobs (core-dispatcher core)))))
    (core-tick core (world-now world))
    (begin-started world)
    (setf (script-tick script)
          (+ (world-now world) (if (plusp busy) +busy-tick+ +idle-tick+)))))

(defun simulate (record services names policy)
  "Return a vector with what became of each passage of RECORD that is counted under POLICY, a
PLACEMENT-POLICY or NIL: a FINISHED-TASK, or NIL if it did not end. SERVICES say how long tasks take, NAMES
who asked for them. The second value is how often a model was loaded in no time, because the record does
not tell how long that takes."
  (let* ((world (new-world record services names))
         (script (script-of record world))
         (end (end-of-time record world))
         (core (make-core (settings-of record) world (- +offset+ (seconds 100))))
         (in-force (registry-in-force (dispatcher-workers (core-dispatcher core)))))
    (setf (world-core world) core
          (core-observer core) world)
    (in-force-replace in-force policy)
    (hold world)
    (loop until (= (world-over world) (length (record-passages record)))
          do (setf (world-now world) (max (world-now world) (next-time world script)))
             (when (> (world-now world) end)
               (return))
             (tell-the-time world in-force)
             (happen world script))
    (values (subseq (world-outcomes world) (record-waiting record))
            (world-unknown-loads world))))
