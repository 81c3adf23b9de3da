(defpackage #:hydramesh/tests/head/any-order
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/head/assignments #:assignments-early-bytes)
  (:import-from #:hydramesh/head/core #:core-dispatcher #:core-statistics)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-assignments #:dispatcher-in-flight #:dispatcher-jobs #:dispatcher-queue
                #:dispatcher-tasks-bytes #:dispatcher-workers)
  (:import-from #:hydramesh/head/job #:job-awaits #:job-worker)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length #:job-queue-patient)
  (:import-from #:hydramesh/head/enforcing #:enforce)
  (:import-from #:hydramesh/head/hedging #:make-hedging)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/head/statistics #:statistics-hedged)
  (:import-from #:hydramesh/head/worker #:worker-attempts #:worker-awaited #:worker-load #:worker-slots)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:answer #:ask #:cancel #:cancelled #:cluster-core #:cluster-now
                #:die
                #:fail-task #:member-inbox #:new-cluster #:pass-time #:restart-worker #:results #:say
                #:task-errors #:tasks #:unreachable #:worker-alive-p)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Whatever happens in whatever order, every task ends once, and every text is whole."))
(in-package #:hydramesh/tests/head/any-order)

(fiveam:def-suite any-order :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite any-order)

(defparameter +length+ 3 "Parts of a text that is not cut short.")

(defstruct (turmoil (:constructor %make-turmoil (state cluster workers clients &optional raced)))
  "Two clients and some workers, of which each does what it likes, as STATE has it. RACED: late tasks are run on
two workers, which may be told to stop and go on all the same.
RUNS are what workers have to do: the worker, its task and the index of the next part. TEXTS are the
parts that came of each task, ENDED and CANCELLED ids of tasks. So many at a time were PATIENT. WRONG is the
first thing that was."
  state cluster workers clients raced
  (runs '())
  (texts (make-hash-table))
  (ended '())
  (cancelled '())
  (patient 0)
  (wrong nil))

(defun make-turmoil (seed)
  (let ((cluster (new-cluster :queue-size 4 :task-deadline 30)))
    (%make-turmoil (sb-ext:seed-random-state seed)
                   cluster
                   (list (add-worker cluster :id "both" :models '("a" "b") :slots 2)
                         (add-worker cluster :id "a" :models '("a") :slots 1)
                         (add-worker cluster :id "b" :models `(("b" . ,pb:+available+)) :slots 2))
                   (list (add-client cluster) (add-client cluster)))))

(defun loaded (name)
  (pb:make-model-status :name name :state pb:+loaded+ :rate 10d0 :identity (identity-of name)))

(defun identity-of (name)
  (pb:make-model-identity :weights (format nil "weights of ~A" name)))

(defun make-raced-turmoil (seed)
  (let ((cluster (new-cluster :queue-size 4 :task-deadline 30 :hedging (make-hedging :share 1d0))))
    (enforce (core-dispatcher (cluster-core cluster))
             (read-policy "(policy \"races\" (rule \"soon\" (hedge (after 50 ms))))" "test")
             (cluster-now cluster))
    (%make-turmoil (sb-ext:seed-random-state seed)
                   cluster
                   (loop for (id slots . models) in '(("both" 2 "a" "b") ("a" 1 "a")
                                                      ("other" 2 "a" "b") ("b" 2 "b"))
                         collect (add-worker cluster :id id :slots slots :models (mapcar #'loaded models)))
                   (list (add-client cluster) (add-client cluster))
                   t)))

(defun pick (turmoil choices)
  (and choices (nth (random (length choices) (turmoil-state turmoil)) choices)))

(defun check (turmoil true what)
  (unless (or true (turmoil-wrong turmoil))
    (setf (turmoil-wrong turmoil) what)))

(defun collect (turmoil)
  "Read everything that the head has sent."
  (dolist (worker (turmoil-workers turmoil))
    (dolist (task (tasks worker))
      (push (list worker task (if (pb:task-resume task) (pb:resume-index (pb:task-resume task)) 0))
            (turmoil-runs turmoil)))
    (dolist (attempt (if (and (turmoil-raced turmoil) (zerop (random 3 (turmoil-state turmoil))))
                         (progn (cancelled worker) '())
                         (cancelled worker)))
      (setf (turmoil-runs turmoil)
            (remove attempt (turmoil-runs turmoil) :key (lambda (run) (pb:task-id (second run)))))))
  (dolist (client (turmoil-clients turmoil))
    (dolist (part (results client))
      (check turmoil (= (pb:result-index part) (length (gethash (pb:result-id part) (turmoil-texts turmoil))))
             "a part came out of order")
      (push (pb:result-text part) (gethash (pb:result-id part) (turmoil-texts turmoil)))
      (when (pb:result-final part)
        (end turmoil (pb:result-id part))))
    (dolist (error (task-errors client))
      (end turmoil (pb:error-id error)))))

(defun end (turmoil id)
  (check turmoil (not (member id (turmoil-ended turmoil))) "a task ended twice")
  (check turmoil (not (member id (turmoil-cancelled turmoil))) "a cancelled task ended")
  (push id (turmoil-ended turmoil)))

(defun some-run (turmoil)
  "Take one of what workers have to do; NIL if there is nothing."
  (collect turmoil)
  (let ((run (pick turmoil (turmoil-runs turmoil))))
    (setf (turmoil-runs turmoil) (remove run (turmoil-runs turmoil)))
    run))

(defun forget-runs (turmoil worker)
  (setf (turmoil-runs turmoil) (remove worker (turmoil-runs turmoil) :key #'first)))

(defparameter +long+ (make-string 9216 :initial-element #\x)
  "A prompt of 30 blocks, which is worth waiting for who has read it.")

(defun octets (count octet)
  (make-array count :element-type '(unsigned-byte 8) :initial-element octet))

(defun prefix (chat)
  "Return the hashes of the blocks of +LONG+ as CHAT, a number, has it."
  (octets 240 chat))

(defun do-something (turmoil)
  (let ((worker (pick turmoil (turmoil-workers turmoil))))
    (ecase (random 10 (turmoil-state turmoil))
      ((0 1)
       (ask-something turmoil (pick turmoil '(nil 1 2))
                      :model (pick turmoil '("a" "b")) :deadline-ms (pick turmoil '(0 3000))))
      ((2 3)
       (go-on turmoil (zerop (random 2 (turmoil-state turmoil)))))
      (4
       (let ((run (some-run turmoil)))
         (when run
           (fail-task (first run) (second run)
                      (pick turmoil (list pb:+internal+ pb:+shutting-down+ pb:+bad-request+
                                          pb:+out-of-memory+))))))
      (5
       (collect turmoil)
       (let ((id (pick turmoil (loop for id being the hash-keys of (turmoil-texts turmoil)
                                     unless (member id (turmoil-ended turmoil))
                                       collect id))))
         (when id
           (push id (turmoil-cancelled turmoil))
           (dolist (client (turmoil-clients turmoil))
             (cancel client id)))))
      (6
       (forget-runs turmoil worker)
       (if (zerop (random 2 (turmoil-state turmoil)))
           (die worker)
           (come-back worker)))
      (7
       (if (and (worker-alive-p worker) (zerop (random 2 (turmoil-state turmoil))))
           (say worker pb:heartbeat-state (pick turmoil (list pb:+ready+ pb:+draining+ pb:+starting+)))
           (unreachable worker)))
      (8
       (pass-time (turmoil-cluster turmoil) (pick turmoil '(1/10 1 4 12)))
       (dolist (worker (turmoil-workers turmoil))
         (unless (worker-alive-p worker)
           (setf (member-inbox worker) '()))))
      (9
       (read-chat turmoil (pick turmoil '(1 2)))))))

(defun ask-something (turmoil chat &rest fields)
  "Ask with the prompt of CHAT, a short one if that is NIL."
  (let ((id (apply #'ask (pick turmoil (turmoil-clients turmoil))
                   :stream t
                   :text (pb:make-text-task :prompt (if chat +long+ "hello"))
                   :prefix (if chat (prefix chat) (octets 0 0))
                   fields)))
    (setf (gethash id (turmoil-texts turmoil)) '())))

(defun read-chat (turmoil chat)
  "Let one worker read CHAT and get something else to do; then the chat goes on."
  (ask-something turmoil chat :model "a" :worker-id "a")
  (collect turmoil)
  (loop with worker = (second (turmoil-workers turmoil))
        for (who task index) in (turmoil-runs turmoil)
        when (eq who worker)
          do (pass-time (turmoil-cluster turmoil) 1/10)
             (answer worker task :index index :text (format nil "~d" index)
                                 :tokens (make-array 1 :element-type '(unsigned-byte 32)
                                                       :initial-element index))
        finally (forget-runs turmoil worker))
  (ask-something turmoil nil :model "a" :worker-id "a")
  (ask-something turmoil chat :model "a"))

(defun come-back (worker)
  (setf (worker-alive-p worker) t)
  (restart-worker worker))

(defun go-on (turmoil final)
  "Let a worker send the next part of some task, the last one if FINAL or if there are enough."
  (let ((run (some-run turmoil)))
    (when run
      (destructuring-bind (worker task index) run
        (let ((final (or final (>= index +length+))))
          (unless final
            (push (list worker task (1+ index)) (turmoil-runs turmoil)))
          (answer worker task :index index :text (format nil "~d" index) :final final
                              :model (and (turmoil-raced turmoil) (identity-of (pb:task-model task)))
                              :tokens (make-array 1 :element-type '(unsigned-byte 32)
                                                    :initial-element index)))
        t))))

(defun check-books (turmoil)
  (let* ((dispatcher (core-dispatcher (cluster-core (turmoil-cluster turmoil))))
         (workers (registry-workers (dispatcher-workers dispatcher))))
    (let ((in-flight (dispatcher-in-flight dispatcher))
          (attempts (loop for worker in workers sum (hash-table-count (worker-attempts worker)))))
      (check turmoil (<= in-flight attempts (if (turmoil-raced turmoil) (* 2 in-flight) in-flight))
             "the workers' attempts are not the head's"))
    (check turmoil (every (lambda (worker) (<= 0 (worker-load worker) (worker-slots worker))) workers)
           "a worker has more than its slots")
    (check turmoil (= (hash-table-count (dispatcher-jobs dispatcher))
                      (+ (dispatcher-in-flight dispatcher)
                         (job-queue-length (dispatcher-queue dispatcher))))
           "a job is nowhere, or twice")
    (let ((patient (job-queue-patient (dispatcher-queue dispatcher))))
      (setf (turmoil-patient turmoil) (max (turmoil-patient turmoil) (hash-table-count patient)))
      (check turmoil (loop for job being the hash-values of patient
                           always (and (job-awaits job)
                                       (not (job-worker job))
                                       (plusp (worker-awaited (job-awaits job)))))
             "a job that waits for a worker waits for none, or runs")
      (check turmoil (>= (hash-table-count patient)
                         (loop for worker in workers sum (worker-awaited worker)))
             "a worker is awaited by a job that is not there"))))

(defun settle (turmoil)
  "In the end all workers work, and nothing is left."
  (dolist (worker (turmoil-workers turmoil))
    (forget-runs turmoil worker)
    (come-back worker)
    (say worker pb:heartbeat-state pb:+ready+))
  (loop repeat 400
        while (go-on turmoil nil))
  (pass-time (turmoil-cluster turmoil) 31)
  (collect turmoil)
  (let ((dispatcher (core-dispatcher (cluster-core (turmoil-cluster turmoil)))))
    (check turmoil (zerop (hash-table-count (dispatcher-jobs dispatcher))) "a job is left")
    (check turmoil (zerop (dispatcher-tasks-bytes dispatcher)) "memory of tasks is left")
    (check turmoil (zerop (assignments-early-bytes (dispatcher-assignments dispatcher)))
           "memory of early parts is left"))
  (loop for text being the hash-values of (turmoil-texts turmoil) using (hash-key id)
        do (check turmoil (or (member id (turmoil-ended turmoil)) (member id (turmoil-cancelled turmoil)))
                  "a task has not ended")
           (check turmoil (equal (reverse text) (loop for index below (length text)
                                                      collect (format nil "~d" index)))
                  "a text is not whole")))

(test every-task-ends-once-and-every-text-is-whole
  (loop with patient = 0
        for seed from 1 to 60
        for turmoil = (make-turmoil seed)
        do (loop repeat 60
                 do (do-something turmoil)
                    (collect turmoil)
                    (check-books turmoil))
           (settle turmoil)
           (is (null (turmoil-wrong turmoil)) "With the seed ~d, ~a." seed (turmoil-wrong turmoil))
           (setf patient (max patient (turmoil-patient turmoil)))
        finally (is (plusp patient) "No task ever waited for a worker that had read its prompt.")))

(test with-races-every-task-ends-once-and-every-text-is-whole
  (let ((hedged 0))
    (loop for seed from 1 to 60
          for turmoil = (make-raced-turmoil seed)
          do (loop repeat 60
                   do (do-something turmoil)
                      (when (zerop (random 3 (turmoil-state turmoil)))
                        (pass-time (turmoil-cluster turmoil) 1/10))
                      (collect turmoil)
                      (check-books turmoil))
             (incf hedged (statistics-hedged (core-statistics (cluster-core (turmoil-cluster turmoil)))))
             (settle turmoil)
             (is (null (turmoil-wrong turmoil)) "With the seed ~d, ~a." seed (turmoil-wrong turmoil)))
    (is (< 60 hedged) "There are races.")))
