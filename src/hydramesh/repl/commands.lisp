(defpackage #:hydramesh/repl/commands
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/errors #:task-error-message #:task-error-name)
  (:import-from #:hydramesh/head/breaker #:breaker-state #:breaker-wait)
  (:import-from #:hydramesh/head/clients #:client-address)
  (:import-from #:hydramesh/head/core #:core-closed #:core-dispatcher #:core-statistics)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-in-flight #:dispatcher-jobs #:dispatcher-limits #:dispatcher-policy
                #:dispatcher-queue #:dispatcher-started-at #:dispatcher-tasks-bytes #:dispatcher-workers
                #:policy-max-attempts #:policy-queue-size)
  (:import-from #:hydramesh/head/explanations #:verdict-text)
  (:import-from #:hydramesh/head/job
                #:job-arrived-at #:job-attempts #:job-bytes #:job-client #:job-error #:job-hedge-worker #:job-id #:job-kind
                #:job-model #:job-needs #:job-number #:job-numbers #:job-pinned #:job-queued-at #:job-size
                #:job-tags #:job-user #:job-worker #:numbers-began-at)
  (:import-from #:hydramesh/head/job-queue
                #:group-first #:group-jobs #:job-queue-group-of #:job-queue-length)
  (:import-from #:hydramesh/head/limits #:head-limits-tasks-memory)
  (:import-from #:hydramesh/head/proximity #:proximity-group #:proximity-health)
  (:import-from #:hydramesh/head/registry #:registry-count #:registry-workers)
  (:import-from #:hydramesh/head/roles #:worker-roles)
  (:import-from #:hydramesh/head/verdicts
                #:explain-choice #:verdict-worker)
  (:import-from #:hydramesh/head/statistics #:statistics-hedged #:statistics-moved #:statistics-outcomes)
  (:import-from #:hydramesh/head/model-index
                #:worker-model-name #:worker-model-readiness #:+loaded+)
  (:import-from #:hydramesh/head/worker
                #:worker-address #:worker-breaker #:worker-elsewhere #:worker-id #:worker-load
                #:worker-models #:worker-number #:worker-proximity #:worker-rtt #:worker-seen-at
                #:worker-slots #:worker-state #:worker-tags
                #:worker-title)
  (:import-from #:hydramesh/head/scheduling)
  (:import-from #:hydramesh/repl/console #:look #:in-loop #:*core*)
  (:import-from #:hydramesh/head/reasons #:abilities-text #:aside-text #:rank-text)
  (:import-from #:hydramesh/head/waiting #:dispatcher-consider)
  (:import-from #:hydramesh/repl/heads)
  (:import-from #:hydramesh/repl/nodes)
  (:import-from #:hydramesh/plugins #:disabled-text)
  (:import-from #:hydramesh/repl/plugins)
  (:import-from #:hydramesh/repl/policies)
  (:import-from #:hydramesh/repl/tables #:bytes-text #:print-rows #:seconds-text)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:counted #:shown #:word)
  (:import-from #:hydramesh/version #:+version+)
  (:import-from #:hydramesh/work #:work-kind-name #:work-kind-unit)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:status #:workers #:jobs #:explain #:help #:quit #:exit #:in-loop #:*core*)
  (:documentation "What a session of the REPL can ask the head.

Each takes copies of numbers and names on the head's loop, and prints them where it was called."))
(in-package #:hydramesh/repl/commands)

(defun jobs-of (core)
  "Return a list of all jobs that are not over, the oldest first."
  (sort (loop for job being the hash-values of (dispatcher-jobs (core-dispatcher core)) collect job)
        #'< :key #'job-number))

;;; The cluster

(defun status ()
  "Print what the head has to do."
  (write-string
   (look (lambda (core now)
           (let* ((dispatcher (core-dispatcher core))
                  (statistics (core-statistics core))
                  (totals (make-hash-table :test 'equal)))
             (loop for (nil . outcome) being the hash-keys of (statistics-outcomes statistics)
                     using (hash-value count)
                   do (incf (gethash outcome totals 0) count))
             (with-output-to-string (stream)
               (format stream "HydraMesh ~A, up ~A~:[~;, shutting down~]~%" +version+
                       (seconds-text (- now (dispatcher-started-at dispatcher))) (core-closed core))
               (format stream "~A; ~A on workers, ~D waiting of ~D that may; they take ~A of ~A~%"
                       (counted (registry-count (dispatcher-workers dispatcher)) "worker")
                       (counted (dispatcher-in-flight dispatcher) "task")
                       (job-queue-length (dispatcher-queue dispatcher))
                       (policy-queue-size (dispatcher-policy dispatcher))
                       (bytes-text (dispatcher-tasks-bytes dispatcher))
                       (bytes-text (head-limits-tasks-memory (dispatcher-limits dispatcher))))
               (format stream "ended: ~:[none~;~:*~{~D ~A~^, ~}~]; moved to another worker: ~D; hedged: ~D~%"
                       (loop for outcome in (sort (loop for outcome being the hash-keys of totals
                                                        collect outcome)
                                                  #'string<)
                             collect (gethash outcome totals)
                             collect outcome)
                       (statistics-moved statistics)
                       (statistics-hedged statistics))
               (format stream "~@[~A~%~]" (disabled-text)))))))
  (values))

(defun workers ()
  "Print every worker that the head hears from."
  (print-rows
   '("NAME" "ID" "STATE" "TASKS" "SLOTS" "RTT" "GROUP" "HEALTH" "ROLE" "HEARD" "ADDRESS" "TAGS" "LOADED MODELS")
   (look (lambda (core now)
           (loop with registry = (dispatcher-workers (core-dispatcher core))
                 with roles = (worker-roles registry)
                 for worker in (sort (copy-list (registry-workers registry)) #'string< :key #'worker-title)
                 for proximity = (worker-proximity worker)
                 collect (list (worker-title worker)
                               (worker-id worker)
                               (state-text worker now)
                               (if (zerop (worker-elsewhere worker))
                                   (worker-load worker)
                                   (format nil "~D (~D of other heads)" (worker-load worker)
                                           (worker-elsewhere worker)))
                               (worker-slots worker)
                               (if (worker-rtt worker)
                                   (format nil "~,1F ms" (/ (worker-rtt worker) 1000))
                                   "")
                               (proximity-group proximity)
                               (word 'pb:health (1+ (proximity-health proximity)))
                               (word 'pb:role (1+ (gethash (worker-number worker) roles)))
                               (format nil "~A ago" (seconds-text (- now (worker-seen-at worker))))
                               (format-address (worker-address worker))
                               (format nil "~{~A~^, ~}" (worker-tags worker))
                               (format nil "~{~A~^, ~}" (loaded worker))))))
   "workers"))

(defun state-text (worker now)
  (let ((breaker (worker-breaker worker)))
    (format nil "~A~@[; ~A~]"
            (word 'pb:worker-state (worker-state worker))
            (and breaker
                 (not (eq (breaker-state breaker now) :closed))
                 (aside-text breaker (breaker-wait breaker now))))))

(defun loaded (worker)
  (sort (loop for model being the hash-values of (worker-models worker)
              when (= (worker-model-readiness model) +loaded+)
                collect (worker-model-name model))
        #'string<))

(defun jobs ()
  "Print every task that is not over. JOB is the number that `explain` takes."
  (print-rows
   '("JOB" "KIND" "MODEL" "WHERE" "FOR" "AGE" "ATTEMPT" "SIZE" "CLIENT")
   (look (lambda (core now)
           (loop for job in (jobs-of core)
                 for worker = (job-worker job)
                 collect (list (job-number job)
                               (work-kind-name (job-kind job))
                               (job-model job)
                               (where-text worker (job-hedge-worker job))
                               (seconds-text (- now (since job)))
                               (seconds-text (- now (job-arrived-at job)))
                               (job-attempts job)
                               (bytes-text (job-bytes job))
                               (format nil "~A~@[ ~A~]" (format-address (client-address (job-client job)))
                                       (and (string/= (job-user job) "") (job-user job)))))))
   "tasks"))

(defun where-text (worker second)
  (if worker
      (format nil "~A~@[ and ~A~]" (worker-title worker) (and second (worker-title second)))
      "(waiting)"))

(defun since (job)
  "Return when JOB came to where it is."
  (if (job-worker job) (numbers-began-at (job-numbers job)) (job-queued-at job)))

;;; A task

(defun find-jobs (core task)
  "Return the job with the number TASK, or else those whose clients know them by that id."
  (let ((job (gethash task (dispatcher-jobs (core-dispatcher core)))))
    (if job
        (list job)
        (remove task (jobs-of core) :key #'job-id :test-not #'eql))))

(defun explain (task)
  "Print why TASK, a number in (jobs) or the id that its client gave it, is where it is."
  (check-type task integer)
  (let ((texts (look (lambda (core now)
                       (loop for job in (find-jobs core task)
                             repeat 10
                             collect (explanation (core-dispatcher core) job now))))))
    (if texts
        (format t "~{~A~^~%~}" texts)
        (format t "there is no task ~D: it is over, or was never here~%" task)))
  (values))

(defun explanation (dispatcher job now)
  (dispatcher-consider dispatcher job now)
  (let ((*standard-output* (make-string-output-stream)))
    (describe-job dispatcher job now)
    (describe-place dispatcher job now)
    (describe-choice dispatcher job now)
    (get-output-stream-string *standard-output*)))

(defun describe-job (dispatcher job now)
  (format t "job ~D: ~A with ~A, about ~D ~A, from ~A~@[ for ~A~], id ~D~%"
          (job-number job) (work-kind-name (job-kind job)) (shown (job-model job))
          (round (job-size job)) (work-kind-unit (job-kind job))
          (format-address (client-address (job-client job)))
          (and (string/= (job-user job) "") (shown (job-user job)))
          (job-id job))
  (format t "it came ~A ago; ~A of ~D begun~%" (seconds-text (- now (job-arrived-at job)))
          (counted (job-attempts job) "attempt") (policy-max-attempts (dispatcher-policy dispatcher)))
  (unless (zerop (job-needs job))
    (format t "its model has to ~A~%" (abilities-text (job-needs job))))
  (when (job-tags job)
    (format t "its worker has to have the tags ~{~A~^, ~}~%" (mapcar #'shown (job-tags job))))
  (unless (string= (job-pinned job) "")
    (format t "it asks for the worker ~A~%" (shown (job-pinned job))))
  (when (job-error job)
    (format t "the last attempt failed: ~A: ~A~%" (task-error-name (job-error job))
            (shown (task-error-message (job-error job))))))

(defun describe-place (dispatcher job now)
  (let ((worker (job-worker job)) (queue (dispatcher-queue dispatcher)))
    (if worker
        (format t "it has been on ~A (~A) for ~A~@[, and is run by ~A too, as it was late~]~%"
                (shown (worker-title worker)) (shown (worker-id worker))
                (seconds-text (- now (since job)))
                (and (job-hedge-worker job) (shown (worker-title (job-hedge-worker job)))))
        (let* ((group (job-queue-group-of queue job))
               (others (and group (1- (length (group-jobs group))))))
          (format t "it has waited for ~A; ~D of ~A waiting ~:[need~;needs~] the same of a worker~@[, ~A~]~%"
                  (seconds-text (- now (since job)))
                  (or others 0) (counted (1- (job-queue-length queue)) "other task") (eql others 1)
                  (and group
                       (if (eq (group-first group) job)
                           "and it is next of these"
                           "and another is next of these")))))))

(defun describe-choice (dispatcher job now)
  (let ((verdicts (explain-choice (dispatcher-workers dispatcher) job now)))
    (print-rows '("" "WORKER" "ID" "WHY")
                (loop for verdict in verdicts
                      for worker = (verdict-worker verdict)
                      collect (list (rank-text verdict)
                                    (worker-title worker)
                                    (worker-id worker)
                                    (verdict-text verdict job)))
                "workers")))

;;; A session

(defun quit ()
  "End this session. The head goes on."
  (throw 'quit nil))

(defun exit ()
  "End this session. The head goes on."
  (quit))

(defun help ()
  "Print what there is."
  (write-string "(status)            what the head has to do
(workers)           every worker that it hears from
(heads)             this head and the others that it hears, and who is the master
(heads ID)          the workers as another head sees them
(nodes)             every node of another DCF implementation that reports to it
(routes NODE)       the ways from here to a node, in the order in which to try them
(jobs)              every task that is not over
(policy)            the policy in force, and what is wrong with the one that should have replaced it
(load-policy FILE)  has another policy decide, until the head reads its settings again
(plugins)           every plugin, and why one is disabled
(explain TASK)      why a task is where it is, and what speaks for and against each worker;
                    TASK is a number in (jobs), or the id that its client gave it
(in-loop FORM...)   evaluates on the head's own thread, where *core* may be looked into:
                    (in-loop (hash-table-count (dispatcher:dispatcher-jobs (core:core-dispatcher *core*))))
(quit)              ends this session; the head goes on

This is Common Lisp: anything else is evaluated too, in a thread of its own. Nicknames: core, dispatcher,
registry, worker, job, scheduling, statistics, pb (the schema). Of (in-loop ...), the head waits for the
end, a second at most.
")
  (values))

;;; Where sessions are. Nothing of SBCL's own: its EXIT ends the head.
(defpackage #:hydramesh-user
  (:use #:cl #:hydramesh/repl/commands #:hydramesh/repl/heads #:hydramesh/repl/nodes
        #:hydramesh/repl/plugins #:hydramesh/repl/policies)
  (:local-nicknames (#:core #:hydramesh/head/core)
                    (#:dispatcher #:hydramesh/head/dispatcher)
                    (#:job #:hydramesh/head/job)
                    (#:pb #:hydramesh/schema)
                    (#:registry #:hydramesh/head/registry)
                    (#:scheduling #:hydramesh/head/scheduling)
                    (#:statistics #:hydramesh/head/statistics)
                    (#:worker #:hydramesh/head/worker))
  (:documentation "Sessions of the REPL start here."))
