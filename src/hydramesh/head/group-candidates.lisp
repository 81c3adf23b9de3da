(defpackage #:hydramesh/head/group-candidates
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/head/eligibility #:may-lead-p)
  (:import-from #:hydramesh/head/in-force #:model-on #:permitted-later-p #:permitted-p)
  (:import-from #:hydramesh/head/job #:job-model #:job-needs #:job-tags)
  (:import-from #:hydramesh/head/model-index
                #:+downloadable+ #:+failed+ #:do-holders #:readiness #:worker-model-capabilities
                #:worker-model-keeps #:worker-model-readiness #:worker-model-slices
                #:worker-model-takes)
  (:import-from #:hydramesh/head/registry #:registry-in-force #:registry-index #:registry-workers)
  (:import-from #:hydramesh/head/tags #:tag-subset-p)
  (:import-from #:hydramesh/head/worker
                #:worker #:worker-can-download #:worker-models #:worker-offer #:worker-serving-p
                #:worker-tags)
  (:import-from #:hydramesh/head/worker-models #:names-repository-p #:worker-lacks-p #:worker-slices)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:candidate #:candidate-worker #:candidate-takes #:candidate-keeps #:candidate-rank
           #:make-candidate #:leads #:size #:lenders #:slicers #:can-lead-p #:could-lead-p #:fit-to-lead-p)
  (:documentation "Which workers could lead a group for a task, and which could lend memory to it."))
(in-package #:hydramesh/head/group-candidates)

(defstruct (candidate (:copier nil))
  "A WORKER that could lead. The model TAKES so many bytes, and KEEPS those of them where it leads; RANK
says how soon it has it."
  (worker nil :type worker :read-only t)
  (takes 0 :type unsigned-byte :read-only t)
  (keeps 0 :type unsigned-byte :read-only t)
  (rank 0 :type readiness :read-only t))

(defun leads (registry job state-p lead-p)
  "Return the workers that satisfy STATE-P and could lead a group for JOB by layers, as CANDIDATEs. LEAD-P is
CAN-LEAD-P or COULD-LEAD-P.
They have its model and know how much it takes, or may download it when another has told that."
  (multiple-value-bind (takes keeps) (size registry job)
    (when (plusp takes)
      (loop for worker in (registry-workers registry)
            for known = (gethash (job-model job) (worker-models worker))
            ;; What has failed and says nothing of what it can do is not on the disk.
            for here = (and known
                            (or (/= (worker-model-readiness known) +failed+)
                                (worker-model-capabilities known)))
            when (and (worker-offer worker)
                      (funcall state-p worker)
                      (not (worker-slices worker (job-model job)))
                      (funcall lead-p registry worker job))
              if (and here (plusp (worker-model-takes known)))
                collect (make-candidate :worker worker
                                        :takes (worker-model-takes known)
                                        :keeps (worker-model-keeps known)
                                        :rank (worker-model-readiness known))
              else
                if (and (not here)
                        (worker-can-download worker)
                        (names-repository-p (job-model job)))
                  collect (make-candidate :worker worker :takes takes :keeps keeps
                                          :rank +downloadable+)))))

(defun size (registry job)
  "Return the least bytes that the model of JOB takes on a worker, and what a lead keeps; 0 if none tells."
  (let ((least 0)
        (kept 0))
    (declare (type unsigned-byte least kept))
    (do-holders (model (registry-index registry) (job-model job))
      (let ((takes (worker-model-takes model))
            (keeps (worker-model-keeps model)))
        (when (and (plusp takes)
                   (null (worker-model-slices model))
                   (or (zerop least)
                       (< takes least)
                       (and (= takes least) (< keeps kept))))
          (setf least takes
                kept keeps))))
    (values least kept)))

(defun lenders (registry job)
  "Return the workers that could lend memory to a group for JOB."
  (remove-if-not (lambda (worker)
                   (and (worker-offer worker)
                        (string/= "" (pb:shard-offer-address (worker-offer worker)))
                        (worker-serving-p worker)
                        (tag-subset-p (job-tags job) (worker-tags worker))))
                 (registry-workers registry)))

(defun slicers (registry job state-p)
  "Return the workers that satisfy STATE-P and could compute a slice of the model of JOB."
  (remove-if-not (lambda (worker)
                   (and (worker-offer worker)
                        (string/= "" (pb:shard-offer-slice-address (worker-offer worker)))
                        (funcall state-p worker)
                        (worker-slices worker (job-model job))
                        (tag-subset-p (job-tags job) (worker-tags worker))))
                 (registry-workers registry)))

(defun fit-to-lead-p (worker job)
  "Return whether WORKER may have JOB, as far as it knows what its model can do, whatever the policy says."
  (and (may-lead-p worker job)
       (not (worker-lacks-p worker (job-model job) (job-needs job)))))

(defun can-lead-p (registry worker job)
  "Return whether WORKER may have JOB, as far as it knows what its model can do, and the policy lets it."
  (and (fit-to-lead-p worker job)
       (permitted-p (registry-in-force registry) worker job (model-on worker job))))

(defun could-lead-p (registry worker job)
  "Return whether CAN-LEAD-P is true, or may be when the policy says something else."
  (and (fit-to-lead-p worker job)
       (permitted-later-p (registry-in-force registry) worker job (model-on worker job))))
