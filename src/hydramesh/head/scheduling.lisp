(defpackage #:hydramesh/head/scheduling
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/answer-order #:answer-order-made-by)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/contenders
                #:contenders #:contenders-readiness #:contenders-fastest #:contenders-clear
                #:contenders-add #:contenders-score #:contenders-next #:contenders-next-score #:do-contenders)
  (:import-from #:hydramesh/head/eligibility
                #:allowed-p #:downloads-p #:least #:loads-p #:same-model-among)
  (:import-from #:hydramesh/head/in-force #:permitted-p)
  (:import-from #:hydramesh/head/job #:job-answer #:job-model #:job-needs #:job-queued-at #:job-worker)
  (:import-from #:hydramesh/head/model-index
                #:do-holders #:worker-model-lacks-p #:worker-model-takes #:worker-model-continues-p #:worker-model-same-p #:readiness
                #:worker-model-worker #:worker-model-readiness #:+loaded+ #:+on-disk+ #:+downloadable+ #:+never+)
  (:import-from #:hydramesh/head/registry
                #:registry-workers #:registry-index #:registry-contenders #:registry-in-force)
  (:import-from #:hydramesh/head/scoring #:score #:comes-before-p)
  (:import-from #:hydramesh/head/worker
                #:worker #:worker-models #:worker-state #:worker-free-p #:worker-set-aside-p)
  (:import-from #:hydramesh/head/worker-models #:names-repository-p #:worker-fits-p #:model-held-p)
  (:import-from #:hydramesh/work #:capabilities)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:choose #:choose-second #:could-run-p #:spreads-p)
  (:documentation "Which worker gets a task: one that could run its model soonest, then the one done first.

The first pass, over all that have the model, finds how soon it could be run at all, and who is free to
do so soonest; the second one, over those, who has the best score. Workers that are set aside count only
for a task that no other could run, now or later."))
(in-package #:hydramesh/head/scheduling)

(defconstant +spread-after+ (seconds 2)
  "How long a task waits for a busy worker with its model before another loads it too.")

(defun choose (registry job now)
  "Return the worker that should get JOB now; NIL if it has to wait, or there is none."
  (declare (type microseconds now) (optimize speed))
  (let* ((contenders (registry-contenders registry))
         (soonest (gather-well contenders registry job now))
         (readiness (contenders-readiness contenders)))
    (declare (type contenders contenders) (type readiness soonest readiness))
    (when (or (= soonest readiness) (spreads-p job readiness now))
      (best contenders job))))

(defun gather-well (contenders registry job now)
  "Let CONTENDERS be the free workers that could run JOB soonest; return how soon any could, free or not.
Who is set aside is left out unless there is nobody else."
  (multiple-value-bind (soonest left-out) (gather contenders registry job now)
    (if (and left-out (= soonest +never+))
        (values (gather contenders registry job nil))
        soonest)))

(defun gather (contenders registry job now)
  "Do what GATHER-WELL does for those that are not set aside NOW, or all if that is NIL.
Return how soon any of these could, and whether any was left out."
  (declare (type contenders contenders) (type (or null microseconds) now) (optimize speed))
  (let ((needs (job-needs job))
        (same (same-model-among registry job))
        (in-force (registry-in-force registry))
        (soonest +never+)
        (lacking nil)
        (left-out nil)
        (takes 0))
    (declare (type capabilities needs) (type readiness soonest) (type (unsigned-byte 64) takes))
    (contenders-clear contenders)
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
                      (or (null same) (worker-model-continues-p model same))
                      (permitted-p in-force worker job model))
                 (cond ((and now (worker-set-aside-p worker now))
                        (setf left-out t))
                       (t
                        (setf soonest (min soonest readiness))
                        (when (and (<= readiness (contenders-readiness contenders)) (worker-free-p worker))
                          (contenders-add contenders worker model readiness)))))))))
    (if (and (> soonest +downloadable+) (not lacking) (names-repository-p (job-model job)))
        (gather-downloads contenders registry job now soonest takes left-out)
        (values soonest left-out))))

(defun gather-downloads (contenders registry job now soonest takes left-out)
  "Add those to CONTENDERS who might download the model of JOB, which TAKES so many bytes.
Return what GATHER does, which was SOONEST and LEFT-OUT until now."
  (dolist (worker (registry-workers registry))
    (when (and (= (worker-state worker) pb:+ready+)
               (downloads-p worker job)
               (worker-fits-p worker takes)
               (permitted-p (registry-in-force registry) worker job nil))
      (cond ((and now (worker-set-aside-p worker now))
             (setf left-out t))
            (t
             (setf soonest +downloadable+)
             (when (worker-free-p worker)
               (contenders-add contenders worker nil +downloadable+))))))
  (values soonest left-out))

(defun choose-second (registry job now)
  "Return the worker that should run JOB beside the one that does, NIL if there is none: a free one that has
the very same model loaded."
  (let* ((first (job-worker job))
         (theirs (gethash (job-model job) (worker-models first)))
         (contenders (registry-contenders registry)))
    (contenders-clear contenders)
    (when theirs
      (do-holders (model (registry-index registry) (job-model job))
        (let ((worker (worker-model-worker model)))
          (when (and (not (eq worker first))
                     (worker-free-p worker)
                     (worker-model-same-p model theirs)
                     (could-run-p registry worker model job now))
            (contenders-add contenders worker model +loaded+)))))
    (best contenders job)))

(defun could-run-p (registry worker model job now)
  "Return whether WORKER, which has MODEL loaded, could run JOB if it had room; note its weight by the policy."
  (let ((made-by (answer-order-made-by (job-answer job))))
    (and (= (worker-state worker) pb:+ready+)
         (not (worker-set-aside-p worker now))
         (or (null made-by) (worker-model-continues-p model made-by))
         (not (worker-model-lacks-p model (job-needs job)))
         (model-held-p model worker)
         (allowed-p worker job)
         (permitted-p (registry-in-force registry) worker job model))))

(defun best (contenders job)
  "Return the worker of CONTENDERS with the least score for JOB, NIL if there are none; note who is next."
  (declare (type contenders contenders) (optimize speed))
  (let ((fastest (contenders-fastest contenders))
        (best nil)
        (least 0d0)
        (next nil)
        (next-least 0d0))
    (declare (type double-float least next-least))
    (do-contenders (worker model contenders)
      (let ((score (score worker model job fastest)))
        (cond ((or (null best)
                   (< score least)
                   (and (= score least) (comes-before-p worker best)))
               (shiftf next best worker)
               (shiftf next-least least score))
              ((or (null next) (< score next-least))
               (setf next worker
                     next-least score)))))
    (setf (contenders-score contenders) least
          (contenders-next contenders) next
          (contenders-next-score contenders) next-least)
    best))

(defun spreads-p (job readiness now)
  "Return whether JOB need not wait for a worker with its model, as one at READINESS is free."
  (and (<= readiness +on-disk+)
       (>= (- now (job-queued-at job)) +spread-after+)))
