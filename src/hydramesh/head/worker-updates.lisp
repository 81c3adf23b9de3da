(defpackage #:hydramesh/head/worker-updates
  (:use #:cl)
  (:import-from #:hydramesh/head/model-index
                #:make-model-index #:model-index-remembered-rate #:worker-model-beat #:worker-model-caches
                #:worker-model-capabilities #:worker-model-identity #:worker-model-keeps
                #:worker-model-rate #:worker-model-readiness #:worker-model-shards #:worker-model-slices
                #:worker-model-takes #:+downloading+ #:+failed+ #:+loaded+ #:+loading+ #:+on-disk+)
  (:import-from #:hydramesh/head/proximity #:make-proximity)
  (:import-from #:hydramesh/head/read-prompts #:forget-unless)
  (:import-from #:hydramesh/head/tags #:tag-set)
  (:import-from #:hydramesh/head/worker
                #:blank-worker #:worker-address #:worker-beat #:worker-can-download #:worker-contested
                #:worker-elsewhere #:worker-excess #:worker-heartbeat #:worker-id #:worker-index
                #:worker-memory #:worker-models #:worker-note-elsewhere #:worker-offer #:worker-policy-view
                #:worker-proximity #:worker-read #:worker-refilled #:worker-room #:worker-running
                #:worker-seen-at #:worker-slots #:worker-state #:worker-tags #:worker-told #:worker-untold)
  (:import-from #:hydramesh/head/worker-memory #:memory-in)
  (:import-from #:hydramesh/head/worker-models #:add-model #:remove-model #:worker-readiness)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:capabilities-of)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:make-worker #:worker-update)
  (:documentation "What a heartbeat changes of what the head knows of a worker."))
(in-package #:hydramesh/head/worker-updates)

(defconstant +least-rate+ 1d-6
  "A rate below this one counts as this: what is divided by it stays a number.")

(defun make-worker (heartbeat address now &optional (index (make-model-index)))
  "Return the worker that HEARTBEAT is of; its models are in INDEX from now on."
  (let ((worker (blank-worker :process (cons (pb:heartbeat-worker-id heartbeat)
                                             (pb:heartbeat-incarnation heartbeat))
                              :index index)))
    (worker-update worker heartbeat address now)
    worker))

(defun worker-update (worker heartbeat address now)
  "Replace what the same process said before."
  (unless (= address (worker-address worker))
    (setf (worker-proximity worker) (make-proximity)))
  (let ((before (worker-heartbeat worker)))
    (replace-heartbeat worker heartbeat address now)
    (note-untold worker
                 heartbeat
                 (and before (> (pb:heartbeat-tasks-done heartbeat) (pb:heartbeat-tasks-done before))))))

(defun replace-heartbeat (worker heartbeat address now)
  (setf (worker-heartbeat worker) heartbeat
        (worker-address worker) address
        (worker-seen-at worker) now
        (worker-state worker) (pb:heartbeat-state heartbeat)
        (worker-slots worker) (max 1 (pb:heartbeat-slots heartbeat))
        (worker-can-download worker) (pb:heartbeat-can-download heartbeat)
        (worker-tags worker) (tag-set (pb:heartbeat-tags heartbeat))
        (worker-offer worker) (pb:heartbeat-shard heartbeat)
        (worker-policy-view worker) nil
        (values (worker-memory worker) (worker-room worker)) (memory-in heartbeat))
  (update-models worker (pb:heartbeat-models heartbeat))
  (when (worker-read worker)
    (forget-unless (worker-read worker)
                   (lambda (model) (eql +loaded+ (worker-readiness worker model))))))

(defun note-untold (worker heartbeat ended-some)
  "Note how many tasks WORKER has by HEARTBEAT from heads that do not tell, and whether those always fill it:
ENDED-SOME says that it has ended tasks since the last heartbeat."
  ;; A heartbeat and a result may cross on the way, so only what two heartbeats say counts.
  (let ((excess (max 0 (- (+ (pb:heartbeat-running heartbeat) (pb:heartbeat-waiting heartbeat))
                          (worker-running worker)
                          (worker-told worker)))))
    (setf (worker-untold worker) (min excess (worker-excess worker))
          (worker-excess worker) excess))
  (worker-note-elsewhere worker (worker-told worker) (worker-contested worker))
  (setf (worker-refilled worker) (and (plusp (worker-untold worker))
                                      (>= (worker-elsewhere worker) (worker-slots worker))
                                      (or (worker-refilled worker) ended-some))))

(defun update-models (worker said)
  "Let the models of WORKER be those that SAID, a list of PB:MODEL-STATUS, tells."
  (let ((beat (incf (worker-beat worker)))
        (models (worker-models worker))
        (told 0))
    (declare (type fixnum told))
    (dolist (status said)
      (let ((readiness (readiness-in status)))
        (when readiness
          (let ((model (or (gethash (pb:model-status-name status) models)
                           (add-model worker (pb:model-status-name status)))))
            (unless (= (worker-model-beat model) beat)
              (incf told)
              (setf (worker-model-beat model) beat))
            (setf (worker-model-readiness model) readiness
                  (worker-model-rate model) (rate-in status worker)
                  (worker-model-capabilities model) (capabilities-of status)
                  (worker-model-identity model) (pb:model-status-identity status)
                  (worker-model-takes model) (pb:model-status-needs status)
                  (worker-model-keeps model) (pb:model-status-lead-needs status)
                  (worker-model-shards model) (pb:model-status-shards status)
                  (worker-model-slices model) (pb:model-status-slices status)
                  (worker-model-caches model) (pb:model-status-cache-tokens status))))))
    (when (< told (hash-table-count models))
      (loop for model being the hash-values of models
            unless (= (worker-model-beat model) beat)
              collect model into gone
            finally (dolist (model gone)
                      (remove-model worker model))))))

(defun readiness-in (status)
  "Return how soon the model could be run that STATUS tells of; NIL if that is not known."
  (let ((state (pb:model-status-state status)))
    (cond ((= state pb:+loaded+) +loaded+)
          ((= state pb:+loading+) +loading+)
          ((= state pb:+available+) +on-disk+)
          ((= state pb:+downloading+) +downloading+)
          ((= state pb:+failed+) +failed+)
          (t nil))))

(defun rate-in (status worker)
  "Return the rate that STATUS tells of a model on WORKER, else the one that is remembered, else 0."
  (let* ((told (pb:model-status-rate status))
         (remembered (model-index-remembered-rate (worker-index worker)))
         (rate (if (and (zerop told) remembered)
                   (or (funcall remembered (worker-id worker) (pb:model-status-name status)) 0d0)
                   told)))
    (declare (type double-float told rate))
    (if (< 0d0 rate +least-rate+) +least-rate+ rate)))
