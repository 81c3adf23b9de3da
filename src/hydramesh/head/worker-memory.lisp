(defpackage #:hydramesh/head/worker-memory
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:memory-in)
  (:documentation "How much memory of a worker models can take, by its heartbeat."))
(in-package #:hydramesh/head/worker-memory)

(defun memory-in (heartbeat)
  "Return the bytes that models could take on the worker that HEARTBEAT is of, NIL if it does not tell; and
those on its GPUs, if it has any."
  (let* ((vram (pb:heartbeat-vram heartbeat))
         (ram (pb:heartbeat-ram heartbeat))
         (on-gpus (if vram (pb:memory-total vram) 0)))
    (if (and (zerop on-gpus) (or (null ram) (zerop (pb:memory-total ram))))
        (values nil 0)
        (let* ((held (held-in heartbeat))
               (memory (+ (if vram (pb:memory-free vram) 0)
                          (if ram (pb:memory-free ram) 0)
                          held)))
          (values memory
                  (if (zerop on-gpus)
                      memory
                      (min on-gpus (+ held (pb:memory-free vram)))))))))

(defun held-in (heartbeat)
  "Return the bytes that the models of HEARTBEAT hold on its worker."
  (loop with counted = '()
        with id = (pb:heartbeat-worker-id heartbeat)
        for model in (pb:heartbeat-models heartbeat)
        for shards = (pb:model-status-shards model)
        unless (same-by-another-name-p model counted)
          sum (if shards
                  (loop for shard in shards
                        when (string= id (pb:shard-worker-id shard))
                          sum (pb:shard-bytes shard))
                  (pb:model-status-bytes model))
        when (plusp (pb:model-status-bytes model))
          do (push model counted)))

(defun same-by-another-name-p (model others)
  "Return whether one of OTHERS has the weights and the quantization of MODEL."
  (flet ((aspects (model)
           (let ((identity (pb:model-status-identity model)))
             (and identity
                  (string/= "" (pb:model-identity-weights identity))
                  (list (pb:model-identity-weights identity)
                        (pb:model-identity-quantization identity))))))
    (let ((aspects (aspects model)))
      (and aspects
           (member aspects others :key #'aspects :test #'equal)))))
