(defpackage #:hydramesh/head/verdicts
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/answer-order #:answer-order-made-by)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/breaker #:breaker-wait)
  (:import-from #:hydramesh/head/in-force #:judged #:model-on)
  (:import-from #:hydramesh/head/job
                #:job-awaits #:job-model #:job-pinned #:job-needs #:job-tags #:job-failed-on #:job-too-small #:job-answer)
  (:import-from #:hydramesh/head/model-index
                #:do-holders #:worker-model-lacks-p #:worker-model-continues-p #:worker-model-worker
                #:worker-model-readiness #:+downloadable+ #:+never+ #:readiness-name)
  (:import-from #:hydramesh/head/patience #:wait #:wait-worker #:worth-waiting)
  (:import-from #:hydramesh/head/registry #:registry-workers #:registry-index #:registry-in-force)
  (:import-from #:hydramesh/head/scheduling #:spreads-p)
  (:import-from #:hydramesh/head/scoring #:seconds-on #:comes-before-p)
  (:import-from #:hydramesh/head/tags #:tag-subset-p)
  (:import-from #:hydramesh/head/worker
                #:worker #:worker-id #:worker-process #:worker-state #:worker-tags #:worker-free-p
                #:worker-breaker #:worker-set-aside-p #:worker-can-download)
  (:import-from #:hydramesh/head/worker-models #:worker-holds-p #:worker-rate #:names-repository-p)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:explain-choice #:verdict #:verdict-worker #:verdict-wait #:verdict-reason #:verdict-readiness
           #:verdict-rules #:verdict-weight #:verdict-seconds #:verdict-rank #:verdict-awaits)
  (:documentation "Why each worker gets a task or does not, for people and for whoever plans ahead.

It takes no part in the choice, so it may be slow: hydramesh/head/scheduling makes the same one."))
(in-package #:hydramesh/head/verdicts)

(defstruct (verdict (:copier nil))
  "What becomes of WORKER in the choice for a job.

REASON says why it is not chosen, NIL if it might be:
  :PINNED     the task names another worker;
  :FAILED     this process has failed the task before;
  :TAGS       it has not all tags that the task asks for;
  :STARTING   it takes no tasks yet;
  :CLOSED     it takes no tasks any more;
  :NO-MODEL   it neither has the model nor may it download it;
  :TOO-LARGE  it cannot hold the model alone;
  :POLICY     the policy in force excludes it;
  :UNABLE     its model cannot do what the task needs, or could not if it were downloaded;
  :OTHER      another model than its own has begun the answer, and is there;
  :SET-ASIDE  it has failed again and again, and others could run the task;
  :BUSY       it has no free slot;
  :FURTHER    another free worker could run the model sooner;
  :WAITING    a busy worker has the model, and the task has not waited long for that;
  :AWAITED    it is busy, and the task waits for it, as it has read the prompt: AWAITS says for how long;
  :PATIENT    it is free, but the task waits so for another.
READINESS is a keyword, NIL if it can never run the model. WEIGHT is what the policy gives the worker, and RULES
are those of it that speak of it, each with its factor, NIL where it excludes. RANK is its place among those
that might be chosen: 1 is chosen. All these would be done in SECONDS, of which a weight of 2 counts half. WAIT
is how long a worker that is set aside stays so, 0 if it is being tried."
  (worker nil :type worker :read-only t)
  (reason nil :type symbol)
  (readiness nil :type symbol)
  (weight nil :type (or null double-float))
  (rules '() :type list)
  (seconds nil :type (or null double-float))
  (rank nil :type (or null fixnum))
  (awaits nil :type (or null wait))
  (wait 0 :type microseconds))

(defun explain-choice (registry job now)
  "Return a VERDICT about each worker: those that CHOOSE is between, the best first, then the others.
JOB has the plan that the policy in force makes of it."
  (let* ((lacking (lacking-p registry job))
         (judged (loop for worker in (registry-workers registry)
                       collect (verdict-on worker job lacking (registry-in-force registry))))
         (made-by (answer-order-made-by (job-answer job))))
    (labels ((left () (remove-if #'verdict-reason judged))
             (order (verdict) (readiness-of (verdict-worker verdict) job))
             (soonest () (reduce #'min (left) :key #'order :initial-value +never+))
             (exclude (reason test)
               (dolist (verdict (left))
                 (when (funcall test verdict)
                   (setf (verdict-reason verdict) reason))))
             (other-p (verdict)
               (not (continues-p (verdict-worker verdict) job made-by))))
      (when (and made-by (notevery #'other-p (left)))
        (exclude :other #'other-p))
      (flet ((set-aside-p (verdict)
               (worker-set-aside-p (verdict-worker verdict) now)))
        (unless (every #'set-aside-p (left))
          (dolist (verdict (left))
            (when (set-aside-p verdict)
              (setf (verdict-wait verdict) (breaker-wait (worker-breaker (verdict-worker verdict)) now))))
          (exclude :set-aside #'set-aside-p)))
      (let ((soonest (soonest)))
        (exclude :busy (lambda (verdict) (not (worker-free-p (verdict-worker verdict)))))
        (let ((free (soonest)))
          (exclude :further (lambda (verdict) (> (order verdict) free)))
          (when (and (> free soonest) (not (spreads-p job free now)))
            (exclude :waiting #'identity))))
      (let ((ranked (rank (left) job)))
        (append (awaited ranked judged registry job now)
                ranked
                (remove-if (lambda (verdict) (member (verdict-reason verdict) '(nil :awaited :patient))) judged))))))

(defun awaited (ranked judged registry job now)
  "Return a list of the verdict about the worker for which JOB waits as that has read its prompt, if it does; none
of those that are RANKED is chosen then. It is one of those that were JUDGED."
  (let* ((wait (and ranked
                    (job-awaits job)
                    (worth-waiting registry (verdict-worker (first ranked)) job now)))
         (verdict (and wait (find (wait-worker wait) judged :key #'verdict-worker))))
    (when verdict
      (dolist (other ranked)
        (setf (verdict-reason other) :patient
              (verdict-rank other) nil
              (verdict-awaits other) wait))
      (setf (verdict-reason verdict) :awaited
            (verdict-awaits verdict) wait)
      (list verdict))))

(defun lacking-p (registry job)
  "Return whether a ready worker has the model of JOB, and that cannot do what it needs."
  (do-holders (model (registry-index registry) (job-model job))
    (when (and (= (worker-state (worker-model-worker model)) pb:+ready+)
               (worker-model-lacks-p model (job-needs job)))
      (return-from lacking-p t))))

(defun readiness-of (worker job)
  (let ((known (model-on worker job)))
    (if known (worker-model-readiness known) +downloadable+)))

(defun continues-p (worker job made-by)
  (let ((known (model-on worker job)))
    (and known (worker-model-continues-p known made-by))))

(defun verdict-on (worker job lacking in-force)
  "Return a VERDICT about WORKER alone; LACKING says that the model of JOB is known to lack something."
  (multiple-value-bind (weight rules) (judged in-force worker job)
    (make-verdict :worker worker
                  :readiness (and (possible-p worker job) (readiness-name (readiness-of worker job)))
                  :weight weight
                  :rules rules
                  :reason (or (reason-against worker job lacking)
                              (if weight nil :policy)))))

(defun possible-p (worker job)
  (or (model-on worker job)
      (and (worker-can-download worker) (names-repository-p (job-model job)))))

(defun reason-against (worker job lacking)
  "Return why WORKER alone cannot get JOB, whatever the policy says; NIL if it might."
  (let ((known (model-on worker job)))
    (cond ((not (member (job-pinned job) (list "" (worker-id worker)) :test #'string=)) :pinned)
          ((member (worker-process worker) (job-failed-on job) :test #'equal) :failed)
          ((not (tag-subset-p (job-tags job) (worker-tags worker))) :tags)
          ((= (worker-state worker) pb:+starting+) :starting)
          ((/= (worker-state worker) pb:+ready+) :closed)
          ((not (possible-p worker job)) :no-model)
          ((if known (worker-model-lacks-p known (job-needs job)) lacking) :unable)
          ((or (not (worker-holds-p worker (job-model job)))
               (member (worker-process worker) (job-too-small job) :test #'equal))
           :too-large))))

(defun score-in (verdict)
  (/ (verdict-seconds verdict) (verdict-weight verdict)))

(defun rank (verdicts job)
  "Return VERDICTS in the order in which their workers would be done with JOB, numbered."
  (flet ((rate (verdict) (worker-rate (verdict-worker verdict) (job-model job))))
    (let ((fastest (reduce #'max verdicts :key #'rate :initial-value 0d0)))
      (dolist (verdict verdicts)
        (let ((worker (verdict-worker verdict)))
          (setf (verdict-seconds verdict) (seconds-on worker (model-on worker job) job fastest)))))
    (let ((ranked (sort verdicts (lambda (one other)
                                   (or (< (score-in one) (score-in other))
                                       (and (= (score-in one) (score-in other))
                                            (comes-before-p (verdict-worker one)
                                                            (verdict-worker other))))))))
      (loop for verdict in ranked
            for place from 1
            do (setf (verdict-rank verdict) place))
      ranked)))
