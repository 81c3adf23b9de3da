(defpackage #:hydramesh/head/policy-views
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/address #:address-family #:address-ip)
  (:import-from #:hydramesh/answer-order #:answer-order-task)
  (:import-from #:hydramesh/foreign/system #:ip-text)
  (:import-from #:hydramesh/head/clients #:client-address)
  (:import-from #:hydramesh/head/job
                #:job-answer #:job-arrived-at #:job-attempts #:job-client #:job-deadline #:job-kind #:job-model
                #:job-needs #:job-queued-at #:job-reading #:job-size #:job-tags #:job-user #:job-view)
  (:import-from #:hydramesh/head/model-index
                #:+loaded+ #:+downloadable+ #:readiness-name #:worker-model-rate #:worker-model-readiness)
  (:import-from #:hydramesh/head/proximity #:proximity-group)
  (:import-from #:hydramesh/head/worker
                #:worker-address #:worker-heartbeat #:worker-id #:worker-inside #:worker-load #:worker-proximity
                #:worker-rtt
                #:worker-slots #:worker-tags #:worker-title #:worker-policy-view)
  (:import-from #:hydramesh/policy/views
                #:make-policy-task #:policy-task-attempts #:policy-task-model #:policy-task-waited
                #:make-policy-worker #:policy-worker-free-slots #:policy-worker-group #:policy-worker-inside #:policy-worker-load
                #:policy-worker-loaded #:policy-worker-rate #:policy-worker-readiness #:policy-worker-rtt)
  (:import-from #:hydramesh/work #:work-kind-field #:+read-per-written+)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:task-view #:worker-view)
  (:documentation "What a policy sees of the head's jobs and workers.

A view is made when a policy first asks. What a heartbeat tells stays in it until the next one; what the
head itself changes is written into it each time."))
(in-package #:hydramesh/head/policy-views)

(defun in-seconds (microseconds)
  (/ microseconds 1d6))

(defun ip-of (address)
  (ip-text (address-ip address) (address-family address)))

(defun task-view (job now)
  "Return the POLICY-TASK of JOB as of NOW."
  (let ((view (or (job-view job) (setf (job-view job) (new-task-view job)))))
    (setf (policy-task-model view) (job-model job)
          (policy-task-waited view) (in-seconds (- now (job-queued-at job)))
          (policy-task-attempts view) (job-attempts job))
    view))

(defun new-task-view (job)
  (make-policy-task :kind (work-kind-field (job-kind job))
                    :size (job-size job)
                    :prompt (* +read-per-written+ (job-reading job))
                    :needs (job-needs job)
                    :client (job-user job)
                    :address (ip-of (client-address (job-client job)))
                    :tags (job-tags job)
                    :streaming (pb:task-stream (answer-order-task (job-answer job)))
                    :deadline (in-seconds (- (job-deadline job) (job-arrived-at job)))))

(defun worker-view (worker model)
  "Return the POLICY-WORKER of WORKER, with MODEL, the WORKER-MODEL that a task would use there, or NIL."
  (let ((view (or (worker-policy-view worker) (setf (worker-policy-view worker) (new-worker-view worker))))
        (readiness (if model (worker-model-readiness model) +downloadable+))
        (load (worker-load worker)))
    (setf (policy-worker-load view) load
          (policy-worker-free-slots view) (max 0 (- (worker-slots worker) load))
          (policy-worker-group view) (or (proximity-group (worker-proximity worker)) 0)
          (policy-worker-rtt view) (in-seconds (or (worker-rtt worker) 0))
          (policy-worker-rate view) (if model (worker-model-rate model) 0d0)
          (policy-worker-loaded view) (= readiness +loaded+)
          (policy-worker-readiness view) (readiness-name readiness)
          (policy-worker-inside view) (worker-inside worker))
    view))

(defun new-worker-view (worker)
  (let* ((beat (worker-heartbeat worker))
         (ram (pb:heartbeat-ram beat))
         (vram (pb:heartbeat-vram beat)))
    (make-policy-worker :id (worker-id worker)
                        :name (worker-title worker)
                        :backend (pb:heartbeat-backend beat)
                        :device (pb:heartbeat-device beat)
                        :address (ip-of (worker-address worker))
                        :tags (worker-tags worker)
                        :ram (if ram (pb:memory-total ram) 0)
                        :free-ram (if ram (pb:memory-free ram) 0)
                        :vram (if vram (pb:memory-total vram) 0)
                        :free-vram (if vram (pb:memory-free vram) 0)
                        :power (loop for card in (pb:heartbeat-cards beat)
                                     sum (or (pb:card-power card) 0))
                        :slots (worker-slots worker)
                        :waiting (pb:heartbeat-waiting beat))))
