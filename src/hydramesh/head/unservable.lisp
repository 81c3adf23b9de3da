(defpackage #:hydramesh/head/unservable
  (:use #:cl)
  (:import-from #:hydramesh/errors #:make-task-error)
  (:import-from #:hydramesh/head/job #:job-model #:job-needs #:job-pinned #:job-tags)
  (:import-from #:hydramesh/head/model-index #:worker-model-capabilities)
  (:import-from #:hydramesh/head/naming #:listed #:models #:quoted #:+looked-at+)
  (:import-from #:hydramesh/head/tags #:tag-difference #:tag-set #:tag-subset-p)
  (:import-from #:hydramesh/head/worker
                #:worker-can-download #:worker-id #:worker-memory #:worker-models #:worker-offer
                #:worker-serving-p #:worker-tags #:worker-title)
  (:import-from #:hydramesh/head/worker-models
                #:worker-holds-p #:worker-lacks-p #:worker-readiness #:worker-slices #:worker-takes)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:shown)
  (:import-from #:hydramesh/work #:ability #:can-p #:capability-list)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:unservable #:excluded)
  (:documentation "Why no worker can serve a task, and what could be done about it."))
(in-package #:hydramesh/head/unservable)

(defun unservable (job workers)
  "No worker can serve the task: NO_WORKER, MODEL_NOT_FOUND or UNSUPPORTED, and who could."
  (let* ((serving (remove-if-not #'worker-serving-p workers))
         (pinned (job-pinned job))
         (allowed (if (string= pinned "")
                      serving
                      (remove pinned serving :key #'worker-id :test #'string/=)))
         (tagged (remove-if-not (lambda (worker) (tag-subset-p (job-tags job) (worker-tags worker)))
                                allowed)))
    (cond ((and (string/= pinned "") (null allowed))
           (pinned-away job serving))
          ((null serving)
           (make-task-error
            pb:+no-worker+
            (if workers "no worker takes tasks now" "no worker has registered with this head")
            "start one with `daiic-worker`, and give it this head's address in its `heads`"))
          ((null tagged)
           (no-worker-with-tags job allowed))
          (t
           (let ((lacking (remove-if-not (lambda (worker)
                                           (worker-lacks-p worker (job-model job) (job-needs job)))
                                         serving)))
             ;; What the model lacks on another worker it would lack after a download too.
             (cond ((and lacking
                         (some (lambda (worker) (worker-readiness worker (job-model job))) tagged))
                    (unsupported job lacking tagged))
                   ((notevery (lambda (worker) (worker-holds-p worker (job-model job))) tagged)
                    (too-large-for-all job tagged))
                   (t
                    (model-not-found job tagged serving))))))))

(defun excluded (exclusion)
  "The policy keeps the task from all workers, as EXCLUSION says in words."
  (make-task-error pb:+no-worker+
                   (format nil "no worker may have the task: ~a" exclusion)
                   "change what the rule looks at in the task, add a worker that it allows, or ask for another rule"))

(defun too-large-for-all (job tagged)
  (let ((takes (loop for worker in tagged
                     unless (worker-holds-p worker (job-model job))
                       minimize (worker-takes worker (job-model job))))
        (largest (reduce (lambda (one other)
                           (if (> (or (worker-memory other) 0) (or (worker-memory one) 0)) other one))
                         tagged))
        (lent (loop for worker in tagged
                    when (worker-offer worker)
                      sum (pb:shard-offer-bytes (worker-offer worker)))))
    (make-task-error
     pb:+out-of-memory+
     (format nil "~a takes ~a; ~a has most, ~a~:[, and none lends memory to others~*~;, and all that lend ~
                  memory have ~a for others~]~:[~;, and those that could compute slices of it are too ~
                  few, or unlike~]"
             (shown (job-model job)) (gib takes) (shown (worker-title largest))
             (gib (or (worker-memory largest) 0))
             (plusp lent) (gib lent)
             (some (lambda (worker) (worker-slices worker (job-model job))) tagged))
     "add a worker, set shard = true on those that there are, or use a smaller quantization")))

(defun gib (size)
  "Return SIZE in GiB, in whole numbers so that every head says the same."
  (multiple-value-bind (whole tenth) (floor (ash (+ (* size 10) (ash 1 29)) -30) 10)
    (format nil "~d.~d GiB" whole tenth)))

(defun pinned-away (job serving)
  (make-task-error
   pb:+no-worker+
   (format nil "there is no worker \"~a\"" (shown (job-pinned job)))
   (if serving
       (format nil "name one of ~a" (listed (mapcar (lambda (worker) (shown (worker-id worker))) serving)))
       "no worker takes tasks now; leave worker_id empty and try again later")))

(defun no-worker-with-tags (job allowed)
  (let* ((there (tags-of allowed))
         (missing (tag-difference (job-tags job) there)))
    (make-task-error
     pb:+no-worker+
     (if missing
         (format nil "no worker has the tag~p ~a" (length missing) (quoted missing))
         (format nil "no worker has all of the tags ~a" (quoted (job-tags job))))
     (if there
         (format nil "ask for fewer tags; the workers' are ~a" (quoted there))
         "leave the tags out, or give workers some with their setting `tags`"))))

(defun tags-of (workers)
  "Return the set of all tags of WORKERS. Many may have the same, so each is looked at before it is sorted."
  (let ((seen (make-hash-table :test 'equal)))
    (dolist (worker workers)
      (dolist (tag (worker-tags worker))
        (setf (gethash tag seen) t)))
    (tag-set (loop for tag being the hash-keys of seen collect tag))))

(defun unsupported (job lacking tagged)
  (let* ((missing (loop with least = nil
                        for worker in lacking
                        for model = (gethash (job-model job) (worker-models worker))
                        for lacks = (logandc2 (job-needs job)
                                              (or (worker-model-capabilities model) 0))
                        when (or (null least) (< (logcount lacks) (logcount least)))
                          do (setf least lacks)
                        finally (return least)))
         (verbs (format nil "~{~a~^ or ~}" (mapcar #'ability (capability-list missing))))
         (could (models-that-can (job-needs job) tagged)))
    (if could
        (make-task-error pb:+unsupported+
                         (format nil "~a cannot ~a" (shown (job-model job)) verbs)
                         (format nil "models that can: ~a" (listed could)))
        (make-task-error pb:+unsupported+
                         (format nil "~a cannot ~a, and no other model of this cluster can"
                                 (shown (job-model job)) verbs)
                         "add a model that can to a worker, or ask for less"))))

(defun models-that-can (needs workers)
  "Return the models with all of NEEDS, each with a worker that has it."
  (let ((found (make-hash-table :test 'equal))
        (left +looked-at+))
    (block looking
      (dolist (worker workers)
        (loop for name being the hash-keys of (worker-models worker) using (hash-value model)
              for capabilities = (worker-model-capabilities model)
              do (when (minusp (decf left))
                   (return-from looking))
                 (when (and capabilities
                            (can-p capabilities needs)
                            (not (gethash name found)))
                   (setf (gethash name found)
                         (format nil "~a on worker ~a" (shown name) (shown (worker-title worker))))))))
    (sort (loop for text being the hash-values of found collect text) #'string<)))

(defun model-not-found (job tagged serving)
  (let ((names (models tagged)))
    (make-task-error
     pb:+model-not-found+
     (format nil "no worker~@[ with the tags ~a~] has the model \"~a\""
             (and (job-tags job)
                  (< (length tagged) (length serving))
                  (quoted (job-tags job)))
             (shown (job-model job)))
     (format nil "~@[there is ~a; ~]~a"
             (and names (listed names))
             (if (some #'worker-can-download tagged)
                 "or name one of Hugging Face as owner/name"
                 "put it into a worker's models folder, or allow a worker downloads")))))
