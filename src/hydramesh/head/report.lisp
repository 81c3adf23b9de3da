(defpackage #:hydramesh/head/report
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/events #:wall-clock)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-workers #:dispatcher-queue #:dispatcher-policy #:dispatcher-in-flight
                #:dispatcher-started-at #:policy-queue-size)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/head/statistics
                #:statistics-done #:statistics-failed #:statistics-moved)
  (:import-from #:hydramesh/head/worker
                #:worker-heartbeat #:worker-address #:worker-seen-at #:worker-attempts #:worker-rtt)
  (:import-from #:hydramesh/version #:+version+)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:status-of)
  (:documentation "The head's view of the cluster, as StatusTask asks for it."))
(in-package #:hydramesh/head/report)

(defun status-of (dispatcher statistics now)
  "Return the state of everything the head knows, a PB:CLUSTER-STATUS."
  (pb:make-cluster-status
   :workers (loop for worker in (by-name (registry-workers (dispatcher-workers dispatcher)))
                  collect (worker-status worker now))
   :queued (job-queue-length (dispatcher-queue dispatcher))
   :queue-size (policy-queue-size (dispatcher-policy dispatcher))
   :in-flight (dispatcher-in-flight dispatcher)
   :tasks-done (statistics-done statistics)
   :tasks-failed (statistics-failed statistics)
   :tasks-moved (statistics-moved statistics)
   :uptime-s (floor (- now (dispatcher-started-at dispatcher)) 1000000)
   :timestamp-us (wall-clock)
   :version +version+))

(defun by-name (workers)
  (stable-sort (copy-list workers) #'string<
               :key (lambda (worker) (pb:heartbeat-name (worker-heartbeat worker)))))

(defun worker-status (worker now)
  (pb:make-worker-status
   :heartbeat (worker-heartbeat worker)
   :address (format-address (worker-address worker))
   :age-ms (floor (- now (worker-seen-at worker)) 1000)
   :in-flight (hash-table-count (worker-attempts worker))
   :rtt-ms (/ (or (worker-rtt worker) 0) 1000d0)))
