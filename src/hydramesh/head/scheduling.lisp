(defpackage #:hydramesh/head/scheduling
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/answer-order #:answer-order-made-by)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/job
                #:job #:job-model #:job-pinned #:job-needs #:job-tags #:job-failed-on #:job-kind
                #:job-size #:job-reading #:job-queued-at #:job-answer)
  (:import-from #:hydramesh/head/model-index #:do-holders #:worker-model-lacks-p #:worker-model-continues-p)
  (:import-from #:hydramesh/head/registry #:registry #:registry-workers #:registry-index)
  (:import-from #:hydramesh/head/tags #:tag-subset-p)
  (:import-from #:hydramesh/head/worker
                #:worker #:worker-id #:worker-process #:worker-state #:worker-serving-p #:worker-tags
                #:worker-slots #:worker-load #:worker-free-p #:worker-models #:worker-can-download
                #:worker-last-assignment #:worker-number #:worker-rate #:names-repository-p
                #:worker-model #:worker-model-worker #:worker-model-readiness #:worker-model-rate
                #:+on-disk+ #:+downloadable+ #:+never+)
  (:import-from #:hydramesh/work #:capabilities #:work-kind-shared #:work-kind-usual-rate)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:choose #:may-run-p #:may-serve-p #:cost #:done-in #:comes-before-p #:spreads-p)
  (:documentation "Which worker gets a task: one that could run its model soonest, then the one done first.

Only workers count that have all the tags that the task asks for, and whose model can do what it
needs. An answer that was begun goes on where the same model is loaded, if it is anywhere.

The time on a worker is what the task has it make, over the measured rate of one task there,
stretched by what the worker has already: tasks that run together share it, others come one after
the other. A worker that was not measured counts as the fastest, so that it gets measured."))
(in-package #:hydramesh/head/scheduling)

(defconstant +spread-after+ (seconds 2)
  "How long a task waits for a busy worker with its model before another loads it too.")

(declaim (inline allowed-p done-in))

(defun allowed-p (worker job)
  "Return whether JOB may go to WORKER, whatever models that has."
  (let ((pinned (job-pinned job))
        (failed-on (job-failed-on job))
        (tags (job-tags job)))
    (and (or (string= pinned "") (string= pinned (worker-id worker)))
         (or (null failed-on) (not (member (worker-process worker) failed-on :test #'equal)))
         (or (null tags) (tag-subset-p tags (worker-tags worker))))))

(defun done-in (worker job rate fastest)
  "Return in how many seconds JOB would be done by WORKER, with a model of that RATE.
FASTEST is the highest rate of all that the choice is among."
  (declare (type double-float rate fastest))
  (let ((load (float (worker-load worker) 1d0)))
    (* (/ (the double-float (job-size job))
          (cond ((plusp rate) rate) ((plusp fastest) fastest) (t 1d0)))
       (+ 1d0 (if (work-kind-shared (job-kind job))
                  (/ load (worker-slots worker))
                  load)))))

;;; ----------------------------------------------------------------------- choosing

(defstruct (choice (:copier nil))
  "The worker that would be done first, of those looked at; those done alike have the one first that
has waited longest for a task."
  (worker nil :type (or null worker))
  (seconds 0d0 :type double-float))

(declaim (inline consider))
(defun consider (choice worker seconds)
  "Let CHOICE be WORKER, which would be done in that many SECONDS, if it is better."
  (declare (type double-float seconds))
  (let ((best (choice-worker choice)))
    (when (or (null best)
              (< seconds (choice-seconds choice))
              (and (= seconds (choice-seconds choice)) (comes-before-p worker best)))
      (setf (choice-worker choice) worker
            (choice-seconds choice) seconds))))

(defun comes-before-p (worker other)
  "Return whether WORKER gets a task that OTHER would be done with in the same time."
  (let ((one (worker-last-assignment worker))
        (two (worker-last-assignment other)))
    (or (< one two)
        (and (= one two) (< (worker-number worker) (worker-number other))))))

(defun choose (registry job now)
  "Return the worker that should get JOB now; NIL if it has to wait, or there is none."
  (declare (type microseconds now) (optimize speed))
  (let* ((index (registry-index registry))
         (name (job-model job))
         (needs (job-needs job))
         (same (same-model-among registry job))
         (soonest +never+)              ; of all that can run it
         (free +never+)                 ; of those with a free slot
         (fastest 0d0)                  ; of those again that are as soon as any
         (lacking nil))
    (declare (type capabilities needs) (type fixnum soonest free) (type double-float fastest))
    (do-holders (model index name)
      (let ((worker (worker-model-worker model)))
        (declare (type worker worker))
        (when (= (worker-state worker) pb:+ready+)
          (cond ((worker-model-lacks-p model needs)
                 (setf lacking t))
                ((and (allowed-p worker job)
                      (or (null same) (worker-model-continues-p model same)))
                 (let ((readiness (worker-model-readiness model)))
                   (when (< readiness soonest)
                     (setf soonest readiness))
                   (when (and (<= readiness free) (worker-free-p worker))
                     (when (< readiness free)
                       (setf free readiness
                             fastest 0d0))
                     (setf fastest (max fastest (worker-model-rate model))))))))))
    (when (and (> soonest +downloadable+) (not lacking) (names-repository-p name))
      (multiple-value-bind (worker any) (choose-download registry job)
        (when any
          (return-from choose worker))))
    (cond ((= free +never+) nil)
          ((and (> free soonest) (not (spreads-p job free now))) nil)
          (t (done-first index job same free fastest)))))

(defun spreads-p (job readiness now)
  "Return whether JOB need not wait for a worker with its model, as one at READINESS is free."
  (and (<= readiness +on-disk+)
       (>= (- now (job-queued-at job)) +spread-after+)))

(defun same-model-among (registry job)
  "Return the model that has begun the answer to JOB, if a ready worker could go on with it, else NIL."
  (let ((made-by (answer-order-made-by (job-answer job)))
        (needs (job-needs job)))
    (when made-by
      (do-holders (model (registry-index registry) (job-model job))
        (let ((worker (worker-model-worker model)))
          (when (and (= (worker-state worker) pb:+ready+)
                     (worker-model-continues-p model made-by)
                     (not (worker-model-lacks-p model needs))
                     (allowed-p worker job))
            (return-from same-model-among made-by)))))))

(defun downloads-p (worker job)
  "Return whether WORKER may download the model of JOB, which it does not have."
  (and (worker-can-download worker)
       (allowed-p worker job)
       (not (nth-value 1 (gethash (job-model job) (worker-models worker))))))

(defun choose-download (registry job)
  "Return the ready worker that should download the model of JOB, or NIL; and whether any may."
  (let ((choice (make-choice))
        (any nil))
    (declare (dynamic-extent choice))
    (dolist (worker (registry-workers registry))
      (when (and (= (worker-state worker) pb:+ready+) (downloads-p worker job))
        (setf any t)
        (when (worker-free-p worker)
          (consider choice worker (done-in worker job 0d0 0d0)))))
    (values (choice-worker choice) any)))

(defun done-first (index job same readiness fastest)
  "Return the free worker with the model at READINESS that would be done with JOB first."
  (declare (type fixnum readiness) (type double-float fastest) (optimize speed))
  (let ((choice (make-choice))
        (needs (job-needs job)))
    (declare (dynamic-extent choice))
    (do-holders (model index (job-model job))
      (let ((worker (worker-model-worker model)))
        (declare (type worker worker))
        (when (and (= (worker-model-readiness model) readiness)
                   (= (worker-state worker) pb:+ready+)
                   (worker-free-p worker)
                   (not (worker-model-lacks-p model needs))
                   (allowed-p worker job)
                   (or (null same) (worker-model-continues-p model same)))
          (consider choice worker (done-in worker job (worker-model-rate model) fastest)))))
    (choice-worker choice)))

;;; -------------------------------------------------------------- who may run it at all

(defun may-run-p (worker job)
  "Return whether WORKER can run JOB, as far as can be told from it alone."
  (let ((known (gethash (job-model job) (worker-models worker))))
    (and (allowed-p worker job)
         (if known
             (not (worker-model-lacks-p known (job-needs job)))
             (and (worker-can-download worker) (names-repository-p (job-model job)))))))

(defun may-serve-p (registry job)
  "Return whether a worker can run JOB, now or once it has started or is free."
  (let ((name (job-model job))
        (needs (job-needs job))
        (lacking nil))
    (do-holders (model (registry-index registry) name)
      (let ((worker (worker-model-worker model)))
        (when (worker-serving-p worker)
          (cond ((worker-model-lacks-p model needs) (setf lacking t))
                ((allowed-p worker job) (return-from may-serve-p t))))))
    ;; What a model cannot do here it will not do after it was downloaded there.
    (and (not lacking)
         (names-repository-p name)
         (some (lambda (worker) (and (worker-serving-p worker) (downloads-p worker job)))
               (registry-workers registry)))))

(defun cost (worker job)
  "Return roughly for how many seconds JOB takes one of the slots of WORKER."
  (let ((rate (worker-rate worker (job-model job))))
    (/ (+ (job-size job) (job-reading job))
       (if (plusp rate) rate (work-kind-usual-rate (job-kind job))))))
