(defpackage #:hydramesh/storage/portrait
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/limits #:+worker-heads+ #:+worker-models+ #:+worker-tags+)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:portrait)
  (:documentation "What is kept of a worker's heartbeat: what decides about tasks, in numbers that do not change
with every heartbeat."))
(in-package #:hydramesh/storage/portrait)

(defconstant +rate-change+ 1/10 "Of a rate: less is the same rate.")
(defconstant +memory-change+ 1/16 "Of all memory: if less of it came free or was taken, that is no change.")

(defun steady (now before least)
  "Return BEFORE, unless that is NIL or NOW differs from it by more than LEAST."
  (if (and before (<= (abs (- now before)) least)) before now))

(defun portrait (heartbeat &optional before)
  "Return what is kept of HEARTBEAT, as one with fewer fields. BEFORE is what was kept of the last one."
  (flet ((memory (reader)
           (let ((memory (funcall reader heartbeat)))
             (and memory (memory-of memory (and before (funcall reader before)))))))
    (pb:make-heartbeat
     :worker-id (pb:heartbeat-worker-id heartbeat)
     :incarnation (pb:heartbeat-incarnation heartbeat)
     :name (pb:heartbeat-name heartbeat)
     :state (pb:heartbeat-state heartbeat)
     :backend (pb:heartbeat-backend heartbeat)
     :device (pb:heartbeat-device heartbeat)
     :vram (memory #'pb:heartbeat-vram)
     :ram (memory #'pb:heartbeat-ram)
     :can-download (pb:heartbeat-can-download heartbeat)
     :slots (pb:heartbeat-slots heartbeat)
     :tags (few (pb:heartbeat-tags heartbeat) +worker-tags+)
     :heads (few (pb:heartbeat-heads heartbeat) +worker-heads+)
     ;; What several workers hold together, none has alone.
     :models (loop for model in (few (remove-if #'pb:model-status-shards (pb:heartbeat-models heartbeat))
                                     +worker-models+)
                   collect (model-of model (and before (model-in before (pb:model-status-name model))))))))

(defun few (list most)
  (if (nthcdr most list) (subseq list 0 most) list))

(defun memory-of (memory before)
  (let* ((total (pb:memory-total memory))
         (same (and before (= total (pb:memory-total before)))))
    (pb:make-memory :total total
                    :free (steady (pb:memory-free memory) (and same (pb:memory-free before))
                                  (* total +memory-change+)))))

(defun model-in (heartbeat name)
  (find name (pb:heartbeat-models heartbeat) :key #'pb:model-status-name :test #'string=))

(defun model-of (model before)
  (pb:make-model-status
   :name (pb:model-status-name model)
   :kind (pb:model-status-kind model)
   :state (pb:model-status-state model)
   :bytes (pb:model-status-bytes model)
   :needs (pb:model-status-needs model)
   :capabilities (pb:model-status-capabilities model)
   :identity (pb:model-status-identity model)
   :rate (let ((rate (pb:model-status-rate model)) (known (and before (pb:model-status-rate before))))
           (steady rate known (if known (* known +rate-change+) 0)))))
