(defpackage #:hydramesh/replay/loading
  (:use #:cl)
  (:import-from #:hydramesh/replay/machine
                #:machine-heartbeat #:machine-held #:machine-models #:machine-octets #:machine-runs
                #:machine-used #:run-index #:run-model #:status-in)
  (:import-from #:hydramesh/replay/record #:passage-begin)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/traffic
                #:passage-cold-p #:passage-end #:passage-model #:passage-worker)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:loads-seen #:caused-p #:become #:need #:loads-done #:next-load #:told #:shared-p)
  (:documentation "Which models the workers of a simulation have in memory.

As in the record, but for what tasks bring about: a model that was loaded because of a task is there once
the simulation has loaded it because of one, wherever that is. What a machine's MODELS says of a model goes
before the record: :LOADED, :UNLOADED, or the time at which it will be loaded."))
(in-package #:hydramesh/replay/loading)

(defconstant +late+ 5000000 "Microseconds after a task in which a load may be noted that it brought about.")

(defun loads-seen (passages)
  "Return a table of when tasks of PASSAGES had models loaded, by worker and model."
  (let ((table (make-hash-table :test #'equal)))
    (map nil (lambda (passage)
               (when (passage-cold-p passage)
                 (push (cons (passage-begin passage) (+ (passage-end passage) +late+))
                       (gethash (cons (passage-worker passage) (passage-model passage)) table))))
         passages)
    table))

(defun caused-p (loads-seen worker model at)
  "Return whether a task has made WORKER load MODEL, if it is there AT that time."
  (loop for (begin . end) in (gethash (cons worker model) loads-seen)
          thereis (<= begin at end)))

(defun in-memory-p (status)
  (and status (member (pb:model-status-state status) (list pb:+loaded+ pb:+loading+))))

(defun become (machine heartbeat caused-p)
  "Let MACHINE be as HEARTBEAT says, but for models of which CAUSED-P says that a task has made it load them."
  (let ((before (machine-heartbeat machine)) (models (machine-models machine)))
    (when before
      (dolist (status (pb:heartbeat-models heartbeat))
        (let ((name (pb:model-status-name status)))
          (when (and (in-memory-p status)
                     (not (in-memory-p (status-in before name)))
                     (null (gethash name models))
                     (funcall caused-p name))
            (setf (gethash name models) :unloaded))))
      (dolist (status (pb:heartbeat-models before))
        (let ((name (pb:model-status-name status)))
          (when (and (in-memory-p status)
                     (not (in-memory-p (status-in heartbeat name)))
                     (not (integerp (gethash name models)))
                     (not (in-use-p machine name)))
            (remhash name models)))))
    (setf (machine-heartbeat machine) heartbeat
          (machine-octets machine) nil)))

(defun in-use-p (machine model)
  (find model (machine-runs machine) :key #'run-model :test #'string=))

(defun state (machine model)
  "Return :LOADED, :UNLOADED, or when MODEL will be loaded."
  (or (gethash model (machine-models machine))
      (let ((status (status-in (machine-heartbeat machine) model)))
        (if (and status (= (pb:model-status-state status) pb:+loaded+)) :loaded :unloaded))))

(defun need (machine model now load-time)
  "Return when MACHINE has MODEL loaded, NIL if it has. If it begins with that NOW it takes LOAD-TIME, a
function."
  (setf (gethash model (machine-used machine)) now)
  (let ((state (state machine model)))
    (case state
      (:loaded nil)
      (:unloaded
       (make-room machine model)
       (setf (machine-octets machine) nil
             (gethash model (machine-models machine)) (+ now (funcall load-time))))
      (t state))))

(defun loads-done (machine now)
  "Return a list of the models that MACHINE has loaded by NOW, and did not have before."
  (loop for model being the hash-keys of (machine-models machine) using (hash-value state)
        when (and (integerp state) (<= state now))
          collect model into done
        finally (dolist (model done)
                  (setf (gethash model (machine-models machine)) :loaded
                        (machine-octets machine) nil))
                (return (sort done #'string<))))

(defun next-load (machine)
  "Return when MACHINE has loaded something that runs wait for, NIL if it loads nothing."
  (loop with next = nil
        for run in (machine-held machine)
        for state = (gethash (run-model run) (machine-models machine))
        when (integerp state)
          do (setf next (min state (or next state)))
        finally (return next)))

;;; Memory

(defun size (machine model)
  "Return how many bytes MODEL takes on MACHINE; 0 if that is not known."
  (let ((status (status-in (machine-heartbeat machine) model)))
    (if status (max (pb:model-status-needs status) (pb:model-status-bytes status)) 0)))

(defun total (heartbeat)
  (flet ((total-of (memory) (if memory (pb:memory-total memory) 0)))
    (let ((vram (total-of (pb:heartbeat-vram heartbeat))))
      (if (plusp vram) vram (total-of (pb:heartbeat-ram heartbeat))))))

(defun make-room (machine model)
  "Let MACHINE unload what it has not needed for longest until there is room for MODEL, as far as is known."
  (let* ((total (total (machine-heartbeat machine)))
         (names (mapcar #'pb:model-status-name (pb:heartbeat-models (machine-heartbeat machine))))
         (loaded (remove :loaded names :key (lambda (name) (state machine name)) :test-not #'eq)))
    (when (plusp total)
      (loop with taken = (reduce #'+ loaded :key (lambda (name) (size machine name)))
            for name in (sort (remove-if (lambda (name) (in-use-p machine name)) loaded)
                              #'< :key (lambda (name) (gethash name (machine-used machine) 0)))
            while (> (+ taken (size machine model)) total)
            do (decf taken (size machine name))
               (setf (gethash name (machine-models machine)) :unloaded)))))

;;; Heartbeats

(defun told (machine)
  "Return what a heartbeat of MACHINE says now, encoded."
  (cond ((shared-p machine)
         (setf (machine-octets machine) nil)
         (pb:encode (present machine)))
        ((machine-octets machine))
        (t
         (setf (machine-octets machine) (pb:encode (present machine))))))

(defun shared-p (machine)
  "Return whether MACHINE runs tasks that the head has not sent: they ran before the record, and tell that."
  (find nil (machine-runs machine) :key #'run-index))

(defun present (machine)
  (let ((heartbeat (pb:copy-message (machine-heartbeat machine))))
    (setf (pb:heartbeat-heads heartbeat) '()
          (pb:heartbeat-models heartbeat)
          (append (mapcar (lambda (status) (presented machine status)) (pb:heartbeat-models heartbeat))
                  (loop for name in (unheard machine)
                        collect (presented machine (pb:make-model-status :name name))))
          (pb:heartbeat-running heartbeat)
          (if (shared-p machine)
              (+ (length (machine-runs machine)) (length (machine-held machine)))
              0))
    heartbeat))

(defun unheard (machine)
  "Return the names of models that only the simulation has had MACHINE load."
  (sort (loop for name being the hash-keys of (machine-models machine)
              unless (status-in (machine-heartbeat machine) name)
                collect name)
        #'string<))

(defun presented (machine status)
  (let ((state (gethash (pb:model-status-name status) (machine-models machine))))
    (when state
      (setf status (pb:copy-message status)
            (pb:model-status-state status)
            (case state
              (:loaded pb:+loaded+)
              (:unloaded (if (in-memory-p status) pb:+available+ (pb:model-status-state status)))
              (t pb:+loading+))))
    status))
