(defpackage #:hydramesh/head/model-index
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/head/pace #:pace #:make-pace #:+pace-classes+)
  (:import-from #:hydramesh/model-identity #:same-model-p)
  (:import-from #:hydramesh/work #:capabilities #:can-p)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:readiness #:+loaded+ #:+loading+ #:+on-disk+ #:+downloading+ #:+downloadable+ #:+failed+
           #:+never+ #:readiness-name
           #:worker-model #:worker-model-worker #:worker-model-name #:worker-model-readiness
           #:worker-model-rate #:worker-model-capabilities #:worker-model-identity
           #:worker-model-takes #:worker-model-keeps #:worker-model-shards #:worker-model-slices #:worker-model-caches
           #:worker-model-lacks-p #:worker-model-continues-p #:worker-model-same-p #:worker-model-pace
           #:model-index #:make-model-index #:model-index-remembered-rate
           #:model-index-add #:model-index-remove #:do-holders)
  (:documentation "Which workers have a model.

A head that knows a thousand workers looks only at those that have the model of a task, and finds
them by its name once instead of asking each worker for it."))
(in-package #:hydramesh/head/model-index)

;;; Readiness

(deftype readiness ()
  "How soon a worker could run a model, the soonest first."
  '(integer 0 6))

(defconstant +loaded+ 0)
(defconstant +loading+ 1)
(defconstant +on-disk+ 2)
(defconstant +downloading+ 3)
(defconstant +downloadable+ 4)
(defconstant +failed+ 5)
(defconstant +never+ 6)

(defun readiness-name (readiness)
  "Return READINESS as a keyword."
  (svref #(:loaded :loading :on-disk :downloading :downloadable :failed :never) readiness))

;;; A model on a worker

(defstruct (worker-model (:copier nil))
  "A model on one WORKER.

RATE is what it makes a second of one task, 0 if that was not measured. CAPABILITIES are NIL until
they are known. IDENTITY is known while the model is loaded, NIL if the worker tells none. It TAKES
that many bytes of memory, 0 if that is not known, and KEEPS those of them where it is led from, if several
machines hold it; SHARDS are its parts then. SLICES says what slices of it take, that like workers could
compute, NIL if there are none. It CACHES that many tokens of prompts, 0 if that is not known. PACES are those of its answers by PACE-CLASS, NIL until the first. PLACE is where it is among the holders of that name, and BEAT
the heartbeat that told of it last."
  (worker nil :read-only t)
  (name "" :type string :read-only t)
  (readiness +loading+ :type readiness)
  (rate 0d0 :type double-float)
  (capabilities nil :type (or null capabilities))
  (identity nil :type (or null pb:model-identity))
  (takes 0 :type (unsigned-byte 64))
  (keeps 0 :type (unsigned-byte 64))
  (shards '() :type list)
  (slices nil :type (or null pb:model-slices))
  (caches 0 :type (unsigned-byte 64))
  (paces nil :type (or null simple-vector))
  (place 0 :type fixnum)
  (beat 0 :type fixnum))

(declaim (inline worker-model-lacks-p worker-model-continues-p))

(defun worker-model-lacks-p (model needs)
  "Return whether it is known that MODEL cannot do all of NEEDS."
  (let ((capabilities (worker-model-capabilities model)))
    (and capabilities (not (can-p capabilities needs)))))

(defun worker-model-continues-p (model identity)
  "Return whether MODEL is loaded, and the same as IDENTITY."
  (and (= (worker-model-readiness model) +loaded+)
       (same-model-p (worker-model-identity model) identity)))

(defun worker-model-pace (model class)
  "Return the PACE of MODEL with tasks of that PACE-CLASS."
  (let ((paces (or (worker-model-paces model)
                   (setf (worker-model-paces model) (make-array +pace-classes+ :initial-element nil)))))
    (or (svref paces class)
        (setf (svref paces class) (make-pace)))))

(defun worker-model-same-p (model other)
  "Return whether it is known that MODEL and OTHER, both loaded, are the same."
  (flet ((told-p (identity)
           (and identity (string/= "" (pb:model-identity-weights identity)))))
    (and (told-p (worker-model-identity model))
         (told-p (worker-model-identity other))
         (worker-model-continues-p model (worker-model-identity other)))))

;;; The index

(defconstant +longest+ 256 "Characters of a model's name; heartbeats with longer ones are cut.")

(defstruct (holders (:copier nil))
  "Those who have the models of one name: the first COUNT of MODELS, in no order."
  (models (make-array 4 :initial-element nil) :type simple-vector)
  (count 0 :type (unsigned-byte 32)))

(defstruct (model-index (:copier nil))
  "The HOLDERS of models, by their names.

REMEMBERED-RATE is a function of a worker's id and a model's name that returns the rate that was
measured there before, or NIL: it counts until the worker has measured one itself."
  (holders (make-hash-table :test 'equal) :type hash-table :read-only t)
  (remembered-rate nil :type (or null function)))

(defun model-index-add (index model)
  "Let MODEL, a WORKER-MODEL, be found."
  (let* ((table (model-index-holders index))
         (name (worker-model-name model))
         (holders (or (gethash name table) (setf (gethash name table) (make-holders))))
         (count (holders-count holders)))
    (when (= count (length (holders-models holders)))
      (let ((larger (make-array (* 2 count) :initial-element nil)))
        (setf (holders-models holders) (replace larger (holders-models holders)))))
    (setf (svref (holders-models holders) count) model
          (worker-model-place model) count
          (holders-count holders) (1+ count))))

(defun model-index-remove (index model)
  "Let MODEL no longer be found."
  (let* ((table (model-index-holders index))
         (name (worker-model-name model))
         (holders (gethash name table))
         (models (holders-models holders))
         (last (1- (holders-count holders)))
         (moved (svref models last)))
    (setf (svref models (worker-model-place model)) moved
          (worker-model-place moved) (worker-model-place model)
          (svref models last) nil
          (holders-count holders) last)
    (when (zerop last)
      (remhash name table))))

(declaim (inline holders-of))
(defun holders-of (index name)
  "Return the holders of the models with that NAME, or NIL. It is not looked for if it is too long."
  (and (<= (length (the string name)) +longest+)
       (gethash name (model-index-holders index))))

(defmacro do-holders ((model index name) &body body)
  "Run BODY for each WORKER-MODEL with that NAME, which nothing may add or remove meanwhile."
  (let ((holders (gensym)) (place (gensym)))
    `(let ((,holders (holders-of ,index ,name)))
       (when ,holders
         (loop for ,place of-type fixnum below (holders-count ,holders)
               for ,model of-type worker-model = (svref (holders-models ,holders) ,place)
               do (progn ,@body))))))
