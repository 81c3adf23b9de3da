(defpackage #:hydramesh/head/eligibility
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/answer-order #:answer-order-made-by)
  (:import-from #:hydramesh/head/in-force #:permitted-p #:permitted-later-p)
  (:import-from #:hydramesh/head/job
                #:job-model #:job-pinned #:job-needs #:job-tags #:job-failed-on #:job-too-small #:job-kind
                #:job-answer)
  (:import-from #:hydramesh/head/model-index
                #:do-holders #:worker-model-lacks-p #:worker-model-takes #:worker-model-continues-p
                #:worker-model-worker)
  (:import-from #:hydramesh/head/registry #:registry-workers #:registry-index #:registry-in-force)
  (:import-from #:hydramesh/head/tags #:tag-subset-p)
  (:import-from #:hydramesh/head/worker
                #:worker-id #:worker-process #:worker-state #:worker-serving-p #:worker-tags
                #:worker-models #:worker-can-download)
  (:import-from #:hydramesh/head/worker-models #:names-repository-p #:worker-fits-p #:model-held-p)
  (:import-from #:hydramesh/work #:work-kind-loads)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:may-lead-p #:allowed-p #:loads-p #:downloads-p #:same-model-among #:least #:may-run-p
           #:may-serve-p)
  (:documentation "Which workers may have a task at all.

Only workers count that have all the tags that the task asks for, whose model can do what it needs, and
that can hold it alone; hydramesh/head/group-ledger is for models that nobody can. The policy in force may keep
a task from some of them. An answer that was begun
goes on where the same model is loaded, if it is anywhere."))
(in-package #:hydramesh/head/eligibility)

(declaim (inline may-lead-p allowed-p loads-p least))

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

(defun least (known takes)
  "Return the lesser of two numbers of bytes, of which KNOWN may be 0, for none."
  (declare (type (unsigned-byte 64) known takes))
  (if (zerop known) takes (min known takes)))

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
                     (allowed-p worker job)
                     (permitted-p (registry-in-force registry) worker job model))
            (return-from same-model-among made-by)))))))

(defun downloads-p (worker job)
  "Return whether WORKER may download the model of JOB, which it does not have."
  (and (loads-p job)
       (worker-can-download worker)
       (allowed-p worker job)
       (not (nth-value 1 (gethash (job-model job) (worker-models worker))))))

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
        (in-force (registry-in-force registry))
        (lacking nil)
        (takes 0))
    (do-holders (model (registry-index registry) name)
      (let ((worker (worker-model-worker model)))
        (when (worker-serving-p worker)
          (cond ((worker-model-lacks-p model needs) (setf lacking t))
                ((and (loads-p job) (not (model-held-p model worker)))
                 (setf takes (least takes (worker-model-takes model))))
                ((and (allowed-p worker job) (permitted-later-p in-force worker job model))
                 (return-from may-serve-p t))))))
    ;; What a model cannot do here it will not do after it was downloaded there.
    (and (not lacking)
         (names-repository-p name)
         (some (lambda (worker)
                 (and (worker-serving-p worker)
                      (downloads-p worker job)
                      (worker-fits-p worker takes)
                      (permitted-later-p in-force worker job nil)))
               (registry-workers registry)))))
