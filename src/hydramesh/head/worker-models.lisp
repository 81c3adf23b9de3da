(defpackage #:hydramesh/head/worker-models
  (:use #:cl)
  (:import-from #:hydramesh/head/model-index
                #:make-worker-model #:model-index-add #:model-index-remove #:worker-model-caches
                #:worker-model-lacks-p #:worker-model-name #:worker-model-rate #:worker-model-readiness
                #:worker-model-shards #:worker-model-slices #:worker-model-takes #:+downloadable+
                #:+loaded+ #:+loading+)
  (:import-from #:hydramesh/head/worker
                #:worker-can-download #:worker-index #:worker-memory #:worker-models #:worker-offer)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:worker-leave #:worker-readiness #:worker-lacks-p #:worker-rate #:worker-fits-p
           #:worker-holds-p #:worker-takes #:worker-slices #:worker-caches #:worker-address-for
           #:model-held-p #:worker-began #:names-repository-p #:add-model #:remove-model)
  (:documentation "The models of a worker, and what is known of each there."))
(in-package #:hydramesh/head/worker-models)

(defun worker-readiness (worker model)
  "Return how soon it could run MODEL, NIL if never."
  (let ((known (gethash model (worker-models worker))))
    (cond (known (worker-model-readiness known))
          ((and (worker-can-download worker) (names-repository-p model)) +downloadable+))))

(defun worker-lacks-p (worker model needs)
  "Return whether it has MODEL and knows that it cannot do all of NEEDS."
  (let ((known (gethash model (worker-models worker))))
    (and known (worker-model-lacks-p known needs))))

(defun worker-fits-p (worker takes)
  "Return whether it could hold so many bytes alone, as far as that is known."
  (declare (type (unsigned-byte 64) takes))
  (or (zerop takes)
      (null (worker-memory worker))
      (<= takes (worker-memory worker))))

(defun model-held-p (model worker)
  "Return whether WORKER holds MODEL, one of its WORKER-MODELs, alone, or could."
  (and (null (worker-model-shards model))
       (or (= (worker-model-readiness model) +loaded+)
           (worker-fits-p worker (worker-model-takes model)))))

(defun worker-holds-p (worker model)
  "Return whether it holds MODEL alone, or could."
  (let ((known (gethash model (worker-models worker))))
    (or (null known) (model-held-p known worker))))

(defun worker-takes (worker model)
  "Return the bytes of memory that MODEL takes there, 0 if that is not known."
  (let ((known (gethash model (worker-models worker))))
    (if known (worker-model-takes known) 0)))

(defun worker-slices (worker model)
  "Return what slices of MODEL take, NIL if WORKER computes none."
  (let ((known (gethash model (worker-models worker))))
    (and known (worker-model-slices known))))

(defun worker-caches (worker model)
  "Return how many tokens of prompts MODEL keeps there, 0 if that is not known."
  (let ((known (gethash model (worker-models worker))))
    (if known (worker-model-caches known) 0)))

(defun worker-address-for (worker model)
  "Return where WORKER is reached for its part of MODEL, empty if it takes none."
  (let ((offer (worker-offer worker)))
    (cond ((null offer) "")
          ((worker-slices worker model) (pb:shard-offer-slice-address offer))
          (t (pb:shard-offer-address offer)))))

(defun worker-rate (worker model)
  "Return what MODEL makes a second of one task, 0 if that was not measured."
  (let ((known (gethash model (worker-models worker))))
    (if known (worker-model-rate known) 0d0)))

(defun worker-began (worker model)
  "Expect MODEL to be loaded soon, until the next heartbeat."
  (let ((known (or (gethash model (worker-models worker))
                   (add-model worker model))))
    (when (> (worker-model-readiness known) +loading+)
      (setf (worker-model-readiness known) +loading+))))

(defun add-model (worker name)
  (let ((model (make-worker-model :worker worker :name name)))
    (model-index-add (worker-index worker) model)
    (setf (gethash name (worker-models worker)) model)))

(defun remove-model (worker model)
  (model-index-remove (worker-index worker) model)
  (remhash (worker-model-name model) (worker-models worker)))

(defun worker-leave (worker)
  "Take the models of WORKER, which is gone, out of the index."
  (loop for model being the hash-values of (worker-models worker)
        do (model-index-remove (worker-index worker) model))
  (clrhash (worker-models worker)))

(defconstant +longest-repository+ 256 "Characters of a model's name that a worker is asked to download.")

(defparameter +files+ '(".safetensors" ".gguf")
  "How the names of models end that are files of a worker, never Hugging Face's.")

(defun names-repository-p (model)
  "Return whether MODEL has the form of a Hugging Face id, \"owner/name\", maybe with a tag."
  (declare (type string model))
  (let ((slash (and (<= (length model) +longest-repository+) (position #\/ model)))
        (end (length model)))
    (and slash
         (< 0 slash (1- end))
         (not (find #\/ model :start (1+ slash)))
         (notany (lambda (suffix)
                   (and (>= (- end slash 1) (length suffix))
                        (string= suffix model :start2 (- end (length suffix)))))
                 +files+))))
