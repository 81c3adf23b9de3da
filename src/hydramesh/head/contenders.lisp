(defpackage #:hydramesh/head/contenders
  (:use #:cl)
  (:import-from #:hydramesh/head/model-index
                #:worker-model #:worker-model-rate #:readiness #:+never+)
  (:import-from #:hydramesh/head/worker #:worker)
  (:export #:contenders #:make-contenders #:contenders-readiness #:contenders-fastest #:contenders-clear
           #:contenders-count #:contenders-add #:contenders-score #:contenders-next
           #:contenders-next-score #:do-contenders)
  (:documentation "Those that a choice of a worker is among.

There may be a thousand, so the room for them is kept for the next choice."))
(in-package #:hydramesh/head/contenders)

(defstruct (contenders (:copier nil))
  "Free workers that could run a model at READINESS: the first COUNT of WORKERS, each with what it has
of the model among MODELS, a WORKER-MODEL or NIL. FASTEST is the highest rate among them. SCORE is the one of
who was chosen, NEXT who would have been otherwise, if there is one, with NEXT-SCORE."
  (workers (make-array 16 :initial-element nil) :type simple-vector)
  (models (make-array 16 :initial-element nil) :type simple-vector)
  (count 0 :type (unsigned-byte 32))
  (readiness +never+ :type readiness)
  (fastest 0d0 :type double-float)
  (score 0d0 :type double-float)
  (next nil :type (or null worker))
  (next-score 0d0 :type double-float))

(defun contenders-clear (contenders)
  "Make CONTENDERS none, and forget those that it had."
  (fill (contenders-workers contenders) nil :end (contenders-count contenders))
  (fill (contenders-models contenders) nil :end (contenders-count contenders))
  (setf (contenders-count contenders) 0
        (contenders-readiness contenders) +never+
        (contenders-fastest contenders) 0d0
        (contenders-next contenders) nil))

(declaim (inline contenders-add))
(defun contenders-add (contenders worker model readiness)
  "Add WORKER, which could run MODEL at READINESS, unless others could sooner; drop who could only later."
  (declare (type (or null worker-model) model) (type readiness readiness))
  (when (< readiness (contenders-readiness contenders))
    (contenders-clear contenders)
    (setf (contenders-readiness contenders) readiness))
  (when (= readiness (contenders-readiness contenders))
    (let ((count (contenders-count contenders)))
      (when (= count (length (contenders-workers contenders)))
        (grow contenders))
      (setf (svref (contenders-workers contenders) count) worker
            (svref (contenders-models contenders) count) model
            (contenders-count contenders) (1+ count)))
    (when (and model (> (worker-model-rate model) (contenders-fastest contenders)))
      (setf (contenders-fastest contenders) (worker-model-rate model)))))

(defun grow (contenders)
  (flet ((larger (vector)
           (replace (make-array (* 2 (length vector)) :initial-element nil) vector)))
    (setf (contenders-workers contenders) (larger (contenders-workers contenders))
          (contenders-models contenders) (larger (contenders-models contenders)))))

(defmacro do-contenders ((worker model contenders) &body body)
  "Run BODY for each WORKER of CONTENDERS and its MODEL."
  (let ((all (gensym)) (workers (gensym)) (models (gensym)) (place (gensym)))
    `(let* ((,all ,contenders)
            (,workers (contenders-workers ,all))
            (,models (contenders-models ,all)))
       (dotimes (,place (contenders-count ,all))
         (let ((,worker (svref ,workers ,place))
               (,model (svref ,models ,place)))
           (declare (type worker ,worker) (type (or null worker-model) ,model))
           ,@body)))))
