(defpackage #:hydramesh/head/scheduling
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/answer-order #:answer-order-made-by)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/job
                #:job #:job-model #:job-pinned #:job-needs #:job-tags #:job-failed-on #:job-too-small #:job-kind
                #:job-size #:job-reading #:job-queued-at #:job-answer)
  (:import-from #:hydramesh/head/model-index
                #:do-holders #:worker-model-lacks-p #:worker-model-takes #:worker-model-continues-p #:readiness
                #:worker-model-worker #:worker-model-readiness #:worker-model-rate #:+on-disk+
                #:+downloadable+ #:+never+)
  (:import-from #:hydramesh/head/registry #:registry #:registry-workers #:registry-index)
  (:import-from #:hydramesh/head/tags #:tag-subset-p)
  (:import-from #:hydramesh/head/worker
                #:worker #:worker-id #:worker-process #:worker-state #:worker-serving-p
                #:worker-tags #:worker-slots #:worker-load #:worker-free-p #:worker-models
                #:worker-can-download #:worker-last-assignment #:worker-number #:worker-rate
                #:names-repository-p #:worker-fits-p #:model-held-p)
  (:import-from #:hydramesh/work #:capabilities #:work-kind-loads #:work-kind-shared #:work-kind-usual-rate)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:choose #:may-run-p #:may-serve-p #:cost #:done-in #:comes-before-p #:spreads-p #:may-lead-p)
  (:documentation "Which worker gets a task: one that could run its model soonest, then the one done first.

Only workers count that have all the tags that the task asks for, whose model can do what it needs, and
that can hold it alone; hydramesh/head/group-ledger is for models that nobody can. An answer that was begun
goes on where the same model is loaded, if it is anywhere.

The time on a worker is what the task has it make, over the measured rate of one task there,
stretched by what the worker has already: tasks that run together share it, others come one after
the other. A worker that was not measured counts as the fastest, so that it gets measured."))
(in-package #:hydramesh/head/scheduling)

(defconstant +spread-after+ (seconds 2)
  "How long a task waits for a busy worker with its model before another loads it too.")

(declaim (inline may-lead-p allowed-p loads-p stretch))

(defun may-lead-p (worker job)
  "Return whether JOB may go to WORKER alone or with others, whatever models that has."
  (let ((pinned (job-pinned job))
        (failed-on (job-failed-on job))
        (tags (job-tags job)))
    (and (or (string= pinned "") (string= pinned (worker-id worker)))
         (or (null failed-on) (not (member (worker-process worker) failed-on :test #'equal)))
         (or (null tags) (tag-subset-p tags (worker-tags worker))))))

(defun allowed-p (worker job)
  "Return whether JOB may go to WORKER alone, whatever models that has."
  (and (may-lead-p worker job)
       (or (null (job-too-small job))
           (not (member (worker-process worker) (job-too-small job) :test #'equal)))))

(defun loads-p (job)
  "Return whether the model of JOB has to be in memory for it."
  (work-kind-loads (job-kind job)))

(defun stretch (worker job)
  "Return how many times longer JOB takes on WORKER than if that had nothing else."
  (let ((load (float (worker-load worker) 1d0)))
    (+ 1d0 (if (work-kind-shared (job-kind job))
               (/ load (worker-slots worker))
               load))))

(defun done-in (worker job rate fastest)
  "Return in how many seconds JOB would be done by WORKER, with a model of that RATE.
FASTEST is the highest rate of all that the choice is among."
  (* (/ (job-size job)
        (cond ((plusp rate) rate) ((plusp fastest) fastest) (t 1d0)))
     (stretch worker job)))

;;; Choosing

(defstruct (choice (:copier nil))
  "The free workers that would be done first, of those looked at that could run the model at
READINESS: the one that would be of those that were measured, of which FASTEST is the highest rate,
in SECONDS; and of the others, for which it has the least of STRETCH."
  (readiness +never+ :type readiness)
  (measured nil :type (or null worker))
  (seconds 0d0 :type double-float)
  (fastest 0d0 :type double-float)
  (other nil :type (or null worker))
  (stretch 0d0 :type double-float))

(defun comes-before-p (worker other)
  "Return whether WORKER gets a task that OTHER would be done with in the same time."
  (let ((one (worker-last-assignment worker))
        (two (worker-last-assignment other)))
    (or (< one two)
        (and (= one two) (< (worker-number worker) (worker-number other))))))

(declaim (inline better-p consider))

(defun better-p (worker amount best least)
  "Return whether WORKER, with that AMOUNT, comes before BEST, which has the LEAST until now."
  (declare (type double-float amount least))
  (or (null best)
      (< amount least)
      (and (= amount least) (comes-before-p worker best))))

(defun consider (choice worker readiness rate job)
  "Take into CHOICE that WORKER is free, and has the model at READINESS with that RATE."
  (declare (type double-float rate))
  (when (< readiness (choice-readiness choice))
    (setf (choice-readiness choice) readiness
          (choice-measured choice) nil
          (choice-fastest choice) 0d0
          (choice-other choice) nil))
  (let ((stretch (stretch worker job)))
    (if (plusp rate)
        (let ((seconds (* (/ (job-size job) rate) stretch)))
          (when (> rate (choice-fastest choice))
            (setf (choice-fastest choice) rate))
          (when (better-p worker seconds (choice-measured choice) (choice-seconds choice))
            (setf (choice-measured choice) worker
                  (choice-seconds choice) seconds)))
        (when (better-p worker stretch (choice-other choice) (choice-stretch choice))
          (setf (choice-other choice) worker
                (choice-stretch choice) stretch)))))

(defun chosen (choice job)
  "Return the worker of CHOICE that would be done with JOB first, NIL if there is none."
  (let ((measured (choice-measured choice))
        (other (choice-other choice)))
    (cond ((null other) measured)
          ((null measured) other)
          (t
           ;; What was not measured counts as the fastest.
           (let ((seconds (* (/ (job-size job) (choice-fastest choice)) (choice-stretch choice))))
             (if (better-p other seconds measured (choice-seconds choice)) other measured))))))

(declaim (inline least))
(defun least (known takes)
  "Return the lesser of two numbers of bytes, of which KNOWN may be 0, for none."
  (declare (type (unsigned-byte 64) known takes))
  (if (zerop known) takes (min known takes)))

(defun choose (registry job now)
  "Return the worker that should get JOB now; NIL if it has to wait, or there is none."
  (declare (type microseconds now) (optimize speed))
  (let ((choice (make-choice))
        (needs (job-needs job))
        (same (same-model-among registry job))
        (soonest +never+)               ; of all that can run it, free or not
        (lacking nil)
        (takes 0))
    (declare (type capabilities needs) (type readiness soonest) (type (unsigned-byte 64) takes)
             (dynamic-extent choice))
    (do-holders (model (registry-index registry) (job-model job))
      (let ((worker (worker-model-worker model))
            (readiness (worker-model-readiness model)))
        (declare (type worker worker))
        (when (= (worker-state worker) pb:+ready+)
          (cond ((worker-model-lacks-p model needs)
                 (setf lacking t))
                ((and (loads-p job) (not (model-held-p model worker)))
                 (setf takes (least takes (worker-model-takes model))))
                ((and (allowed-p worker job)
                      (or (null same) (worker-model-continues-p model same)))
                 (setf soonest (min soonest readiness))
                 (when (and (<= readiness (choice-readiness choice)) (worker-free-p worker))
                   (consider choice worker readiness (worker-model-rate model) job)))))))
    (when (and (> soonest +downloadable+) (not lacking) (names-repository-p (job-model job)))
      (setf soonest (consider-downloads choice registry job soonest takes)))
    (when (or (= soonest (choice-readiness choice))
              (spreads-p job (choice-readiness choice) now))
      (chosen choice job))))

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
                     (model-held-p model worker)
                     (allowed-p worker job))
            (return-from same-model-among made-by)))))))

(defun downloads-p (worker job)
  "Return whether WORKER may download the model of JOB, which it does not have."
  (and (loads-p job)
       (worker-can-download worker)
       (allowed-p worker job)
       (not (nth-value 1 (gethash (job-model job) (worker-models worker))))))

(defun consider-downloads (choice registry job soonest takes)
  "Take into CHOICE who might download the model of JOB, which TAKES so many bytes; return how soon any
worker could run it."
  (dolist (worker (registry-workers registry) soonest)
    (when (and (= (worker-state worker) pb:+ready+)
               (downloads-p worker job)
               (worker-fits-p worker takes))
      (setf soonest +downloadable+)
      (when (worker-free-p worker)
        (consider choice worker +downloadable+ 0d0 job)))))

;;; Who may run it at all

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
        (lacking nil)
        (takes 0))
    (do-holders (model (registry-index registry) name)
      (let ((worker (worker-model-worker model)))
        (when (worker-serving-p worker)
          (cond ((worker-model-lacks-p model needs) (setf lacking t))
                ((and (loads-p job) (not (model-held-p model worker)))
                 (setf takes (least takes (worker-model-takes model))))
                ((allowed-p worker job) (return-from may-serve-p t))))))
    ;; What a model cannot do here it will not do after it was downloaded there.
    (and (not lacking)
         (names-repository-p name)
         (some (lambda (worker)
                 (and (worker-serving-p worker)
                      (downloads-p worker job)
                      (worker-fits-p worker takes)))
               (registry-workers registry)))))

(defun cost (worker job)
  "Return roughly for how many seconds JOB takes one of the slots of WORKER."
  (let ((rate (worker-rate worker (job-model job))))
    (/ (+ (job-size job) (job-reading job))
       (if (plusp rate) rate (work-kind-usual-rate (job-kind job))))))
