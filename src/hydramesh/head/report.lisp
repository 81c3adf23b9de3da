(defpackage #:hydramesh/head/report
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/events #:wall-clock)
  (:import-from #:hydramesh/head/breaker
                #:breaker-failures #:breaker-reason #:breaker-state #:breaker-wait)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-workers #:dispatcher-jobs #:dispatcher-queue #:dispatcher-policy
                #:dispatcher-in-flight #:dispatcher-heads #:dispatcher-started-at #:policy-queue-size)
  (:import-from #:hydramesh/head/explanations #:explanation-of)
  (:import-from #:hydramesh/head/in-force #:in-force-policy #:in-force-refused #:in-force-since)
  (:import-from #:hydramesh/head/job
                #:job-arrived-at #:job-attempts #:job-awaits #:job-hedge-worker #:job-kind #:job-model #:job-number #:job-worker)
  (:import-from #:hydramesh/head/heads #:heads-statuses)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length)
  (:import-from #:hydramesh/head/nodes
                #:node-address #:node-id #:node-master #:node-neighbours #:node-role #:node-seen-at #:nodes-list)
  (:import-from #:hydramesh/head/proximity #:proximity-group #:proximity-health)
  (:import-from #:hydramesh/head/registry #:registry-in-force #:registry-workers)
  (:import-from #:hydramesh/head/roles #:worker-roles)
  (:import-from #:hydramesh/head/statistics
                #:statistics-done #:statistics-failed #:statistics-hedged #:statistics-moved)
  (:import-from #:hydramesh/head/waiting #:dispatcher-consider)
  (:import-from #:hydramesh/head/worker
                #:worker-breaker #:worker-heartbeat #:worker-id #:worker-address #:worker-seen-at
                #:worker-attempts #:worker-number #:worker-proximity #:worker-rtt)
  (:import-from #:hydramesh/policy/policy #:policy-digest #:policy-name #:policy-rule-count #:policy-text)
  (:import-from #:hydramesh/shown #:shown)
  (:import-from #:hydramesh/version #:+version+)
  (:import-from #:hydramesh/work #:work-kind-name)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:status-of)
  (:documentation "The head's view of the cluster, as StatusTask asks for it."))
(in-package #:hydramesh/head/report)

(defconstant +most-tasks+ 1000 "Tasks that a status tells of, the oldest first.")

(defun status-of (dispatcher nodes statistics asked now)
  "Return the state of everything the head knows, a PB:CLUSTER-STATUS, with what ASKED, a PB:STATUS-TASK, says."
  (pb:make-cluster-status
   :workers (loop with roles = (worker-roles (dispatcher-workers dispatcher))
                  for worker in (by-name (registry-workers (dispatcher-workers dispatcher)))
                  collect (worker-status worker (gethash (worker-number worker) roles) now))
   :nodes (loop for node in (nodes-list nodes) collect (node-status node now))
   :queued (job-queue-length (dispatcher-queue dispatcher))
   :queue-size (policy-queue-size (dispatcher-policy dispatcher))
   :in-flight (dispatcher-in-flight dispatcher)
   :tasks-done (statistics-done statistics)
   :tasks-failed (statistics-failed statistics)
   :tasks-moved (statistics-moved statistics)
   :tasks-hedged (statistics-hedged statistics)
   :uptime-s (floor (- now (dispatcher-started-at dispatcher)) 1000000)
   :timestamp-us (wall-clock)
   :version +version+
   :heads (heads-statuses (dispatcher-heads dispatcher) now)
   :policy (policy-status (registry-in-force (dispatcher-workers dispatcher))
                          (pb:status-task-policy asked))
   :tasks (and (pb:status-task-tasks asked) (tasks-of dispatcher now))
   :explanation (explanation-in dispatcher (pb:status-task-explain asked) now)))

(defun tasks-of (dispatcher now)
  (let ((jobs (sort (loop for job being the hash-values of (dispatcher-jobs dispatcher) collect job)
                    #'< :key #'job-number)))
    (loop repeat +most-tasks+
          for job in jobs
          for worker = (job-worker job)
          collect (pb:make-task-status
                   :number (job-number job)
                   :kind (work-kind-name (job-kind job))
                   :model (shown (job-model job))
                   :worker-id (if worker (worker-id worker) "")
                   :hedge-worker-id (if (job-hedge-worker job) (worker-id (job-hedge-worker job)) "")
                   :awaits-worker-id (if (job-awaits job) (worker-id (job-awaits job)) "")
                   :age-ms (floor (- now (job-arrived-at job)) 1000)
                   :attempts (job-attempts job)))))

(defun explanation-in (dispatcher number now)
  "Return why the task with that NUMBER is where it is, NIL if there is none."
  (let ((job (gethash number (dispatcher-jobs dispatcher))))
    (when job
      (dispatcher-consider dispatcher job now)
      (explanation-of (dispatcher-workers dispatcher) job now))))

(defun policy-status (in-force text-p)
  "Return the PB:POLICY-STATUS of IN-FORCE, with the policy's text if TEXT-P; NIL if there is none."
  (let ((policy (in-force-policy in-force)))
    (when (or policy (string/= "" (in-force-refused in-force)))
      (pb:make-policy-status :name (if policy (policy-name policy) "")
                             :digest (if policy (policy-digest policy) "")
                             :text (if (and policy text-p) (policy-text policy) "")
                             :loaded-us (if policy (in-force-since in-force) 0)
                             :rules (if policy (policy-rule-count policy) 0)
                             :refused (in-force-refused in-force)))))

(defun by-name (workers)
  (stable-sort (copy-list workers) #'string<
               :key (lambda (worker) (pb:heartbeat-name (worker-heartbeat worker)))))

(defun worker-status (worker role now)
  (pb:make-worker-status
   :heartbeat (worker-heartbeat worker)
   :address (format-address (worker-address worker))
   :age-ms (floor (- now (worker-seen-at worker)) 1000)
   :in-flight (hash-table-count (worker-attempts worker))
   :rtt-ms (/ (or (worker-rtt worker) 0) 1000d0)
   :group (proximity-group (worker-proximity worker))
   ;; The schema's numbers are one more than DCF's, as 0 says nothing there.
   :health (1+ (proximity-health (worker-proximity worker)))
   :role (1+ role)
   :set-aside (set-aside worker now)))

(defun set-aside (worker now)
  "Return why WORKER is set aside, a PB:SET-ASIDE; NIL if it gets tasks as others do."
  (let ((breaker (worker-breaker worker)))
    (when (and breaker (not (eq (breaker-state breaker now) :closed)))
      (pb:make-set-aside :reason (breaker-reason breaker)
                         :failures (breaker-failures breaker)
                         :retry-ms (min (ceiling (breaker-wait breaker now) 1000) #xffffffff)))))

(defun node-status (node now)
  (pb:make-node-status
   :node (node-id node)
   :address (format-address (node-address node))
   :role (1+ (node-role node))
   :master (node-master node)
   :age-ms (floor (- now (node-seen-at node)) 1000)
   :peers (length (node-neighbours node))))
