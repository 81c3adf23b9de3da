(defpackage #:hydramesh/head/placement
  (:use #:cl)
  (:import-from #:hydramesh/head/eligibility #:may-serve-p)
  (:import-from #:hydramesh/head/group-ledger
                #:group-ledger-held #:group-ledger-formed #:group-ledger-make-way
                #:group-ledger-may-serve-p)
  (:import-from #:hydramesh/head/job #:job-model)
  (:import-from #:hydramesh/head/model-index #:+loaded+)
  (:import-from #:hydramesh/head/registry #:registry-lending)
  (:import-from #:hydramesh/head/scheduling #:choose)
  (:import-from #:hydramesh/head/worker #:worker-free-p)
  (:import-from #:hydramesh/head/worker-models #:worker-readiness)
  (:export #:place #:servable-p)
  (:documentation "Where a job runs: on one worker that can hold its model, else on several together."))
(in-package #:hydramesh/head/placement)

(defun place (workers groups job now)
  "Return the worker that should get JOB now, and the group that it leads, if it does.
A group that has the model loaded comes before a worker that would have to load it. NIL if the job has to
wait, or there is nobody."
  (let ((alone (choose workers job now)))
    (if (or (zerop (registry-lending workers))
            (and alone (eql (worker-readiness alone (job-model job)) +loaded+)))
        alone
        (multiple-value-bind (lead group) (group-ledger-held groups job now)
          (cond ((and (null lead) (or alone (may-serve-p workers job)))
                 alone)
                (t
                 (unless lead
                   (multiple-value-setq (lead group) (group-ledger-formed groups job now)))
                 (unless lead
                   (group-ledger-make-way groups job now))
                 (when (and lead (worker-free-p lead))
                   (values lead group))))))))

(defun servable-p (workers groups job)
  "Return whether JOB can run on a worker or a group, now or later."
  (or (may-serve-p workers job)
      (and (plusp (registry-lending workers))
           (group-ledger-may-serve-p groups job))))
