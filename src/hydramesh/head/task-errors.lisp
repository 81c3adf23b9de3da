(defpackage #:hydramesh/head/task-errors
  (:use #:cl)
  (:import-from #:hydramesh/answer-order #:+last-resumed+ #:too-much-of)
  (:import-from #:hydramesh/errors #:make-task-error)
  (:import-from #:hydramesh/head/job
                #:job-arrived-at #:job-attempts #:job-deadline #:job-model #:job-needs #:job-pinned
                #:job-tags)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-named-models)
  (:import-from #:hydramesh/head/link #:message-too-large)
  (:import-from #:hydramesh/head/tags #:tag-difference #:tag-set #:tag-subset-p)
  (:import-from #:hydramesh/head/model-index #:worker-model-capabilities)
  (:import-from #:hydramesh/head/worker
                #:worker-can-download #:worker-heartbeat #:worker-id #:worker-memory #:worker-offer
                #:worker-models #:worker-serving-p #:worker-tags #:worker-title)
  (:import-from #:hydramesh/head/worker-models
                #:worker-holds-p #:worker-lacks-p #:worker-slices #:worker-takes #:worker-readiness)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:shown)
  (:import-from #:hydramesh/work #:ability #:can-p #:capability-list)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:unservable #:excluded #:queue-full #:gave-way #:answer-has-no-room #:answer-too-large
           #:answers-too-long #:task-too-large #:stopping #:late #:worker-lost #:disorderly
           #:too-much-resumed #:resumed-too-late #:no-memory #:too-large #:nothing-to-do
           #:no-model #:no-worker-named)
  (:documentation "The errors that the head itself ends tasks with, and what their reader can do.

Each function returns a TASK-ERROR."))
(in-package #:hydramesh/head/task-errors)

(defconstant +looked-at+ 4096 "Models of workers that are looked at to name some.")

;;; Nobody can serve it

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

(defun excluded (exclusion)
  "The policy keeps the task from all workers, as EXCLUSION says in words."
  (make-task-error pb:+no-worker+
                   (format nil "no worker may have the task: ~a" exclusion)
                   "change what the rule looks at in the task, add a worker that it allows, or ask for another rule"))

;;; No room

(defun queue-full (length)
  "The queue has no room for another task."
  (make-task-error
   pb:+queue-full+
   (format nil "the queue is full: ~d tasks wait already" length)
   "try again later, add workers, or raise the head's queue_size"))

(defun gave-way (length)
  "The queue is full, and this client has more in it than others."
  (make-task-error
   pb:+queue-full+
   (format nil "the queue is full: ~d tasks wait, and this client has more of them than others" length)
   "send fewer at once, add workers, or raise the head's queue_size"))

(defun answer-has-no-room ()
  "Too much waits for the client to acknowledge it."
  (make-task-error
   pb:+queue-full+
   "the head has no memory left for this answer, because the client is slow to receive others"
   "receive answers faster, or ask for less at once"))

(defun answers-too-long (most)
  "What was delivered of all answers takes more than MOST bytes, and this one has most of it."
  (make-task-error
   pb:+queue-full+
   (format nil "the answers that are being given already take the ~d MiB that there are for them"
           (ash most -20))
   "try again later, or ask for less at once"))

(defun answer-too-large (reason)
  "The answer does not fit into a message; REASON is a MESSAGE-TOO-LARGE."
  (declare (type message-too-large reason))
  (make-task-error
   pb:+bad-request+
   (format nil "the answer cannot be sent: ~a" reason)
   "ask for less at once; the same answer is smaller in Protocol Buffers than in JSON"))

(defun task-too-large (reason)
  "With what it resumes, the task does not fit into a message; REASON is a MESSAGE-TOO-LARGE."
  (declare (type message-too-large reason))
  (make-task-error
   pb:+bad-request+
   (format nil "the task cannot be sent to a worker: ~a" reason)
   "ask for less at once"))

(defun no-memory (most)
  "The tasks that are not over take all the memory that there is for them."
  (make-task-error
   pb:+queue-full+
   (format nil "the tasks that wait and run already take the ~d MiB that there are for them"
           (ash most -20))
   "try again later, or send smaller tasks"))

;;; What goes wrong

(defun stopping ()
  "The head is about to end."
  (make-task-error pb:+shutting-down+ "this head is shutting down" "send the task to another head"))

(defun late (job exclusion)
  "The task's deadline has passed; if it waited because of the policy, EXCLUSION says so in words."
  (make-task-error
   pb:+deadline-exceeded+
   (format nil "the task was not done within ~a s~:[~;, in which no worker had room for it~]~@[; ~a~]"
           (seconds-in-words (- (job-deadline job) (job-arrived-at job)))
           (and (zerop (job-attempts job)) (null exclusion))
           exclusion)
   "ask for less, raise deadline_ms or the head's task_deadline, or add workers"))

(defun seconds-in-words (time)
  "Return TIME, in microseconds, as C's %g prints its seconds: six digits that count."
  (let* ((exact (/ time 1000000))
         (exponent (if (zerop exact)
                       0
                       (loop for exponent from 9 downto -6
                             when (>= exact (expt 10 exponent))
                               return exponent)))
         (digits (round exact (expt 10 (- exponent 5)))))
    (when (= digits 1000000)
      (setf digits 100000)
      (incf exponent))
    (if (<= -4 exponent 5)
        (decimal digits (- 5 exponent))
        (format nil "~ae~:[+~;-~]~2,'0d" (decimal digits 5) (minusp exponent) (abs exponent)))))

(defun decimal (digits places)
  "Return DIGITS with the point before the last PLACES of them, and no zeros at the end of these."
  (multiple-value-bind (whole fraction) (floor digits (expt 10 places))
    (string-right-trim "." (string-right-trim "0" (format nil "~d.~v,'0d" whole places fraction)))))

(defun worker-lost (worker what)
  "The worker is gone; WHAT says in which way."
  (make-task-error
   pb:+worker-lost+
   (format nil "the worker ~a ~a" (shown (worker-title worker)) what)
   "send the task again; the worker's log says why it ended"))

(defun disorderly (worker reason)
  "The worker sends more than the head keeps; REASON is a TOO-MUCH."
  (make-task-error
   pb:+internal+
   (format nil "the worker ~a sends ~a" (shown (worker-title worker)) (too-much-of reason))
   "ask for less at once; if that does not help, see the worker's log"))

(defun too-much-resumed (most)
  "What the task says was delivered is more than an answer may have."
  (make-task-error
   pb:+bad-request+
   (format nil "the task resumes an answer of more than ~d MiB" (ash most -20))
   "send it without `resume`, and ask for less at once"))

(defun resumed-too-late ()
  "The parts that follow could not be numbered."
  (make-task-error
   pb:+bad-request+
   (format nil "the task resumes an answer at an index above ~d" +last-resumed+)
   "set resume.index to the number of parts that came before"))

(defun too-large (size largest)
  "The task is larger than a task may be."
  (make-task-error
   pb:+bad-request+
   (format nil "the task has ~d MiB, and ~d MiB is the limit" (ash size -20) (ash largest -20))
   "send a shorter prompt, or fewer inputs at once"))

(defun nothing-to-do ()
  "The task does not say what to do."
  (make-task-error pb:+bad-request+
                   "the task has no work"
                   "set one of text, image, embed, transcribe, speak, rerank, load, manage and status"))

(defun no-worker-named ()
  "The task is one for a certain worker, and names none."
  (make-task-error pb:+bad-request+
                   "the task does not say which worker is to manage its model"
                   "set worker_id to one of those that `daiic status` shows"))

(defun no-model (workers)
  "The task names no model."
  (let ((names (models workers)))
    (make-task-error
     pb:+bad-request+
     "the task names no model"
     (format nil "set model~@[ to one of ~a~]" (and names (listed names))))))

;;; Words

(defun models (workers)
  "Return the names of the models that WORKERS tell of, in order."
  (let ((names (make-hash-table :test 'equal))
        (left +looked-at+))
    (block looking
      (dolist (worker workers)
        (dolist (model (pb:heartbeat-models (worker-heartbeat worker)))
          (when (minusp (decf left))
            (return-from looking))
          (setf (gethash (shown (pb:model-status-name model)) names) t))))
    (sort (loop for name being the hash-keys of names collect name) #'string<)))

(defun quoted (names)
  (listed names (lambda (name) (format nil "\"~a\"" (shown name)))))

(defun listed (names &optional (show #'identity))
  (let* ((most (head-limits-named-models +limits+))
         (more (- (length names) most)))
    (format nil "~{~a~^, ~}~@[ and ~d more~]"
            (mapcar show (if (plusp more) (subseq names 0 most) names))
            (and (plusp more) more))))
