(defpackage #:hydramesh/tests/head/scheduling
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-workers)
  (:import-from #:hydramesh/head/registry #:registry-remembered-rate)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:pass-time #:add-worker #:add-client #:say #:beat
                #:ask #:status #:task #:tasks #:answer #:task-error #:task-errors)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Which worker gets a task."))
(in-package #:hydramesh/tests/head/scheduling)

(fiveam:def-suite scheduling :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite scheduling)

(defun rated (rate &optional (name "m"))
  (list (pb:make-model-status :name name :state pb:+loaded+ :rate rate)))

(defun asks (client count &rest fields)
  (loop repeat count do (apply #'ask client fields)))

(defparameter +nearest-first+
  (list (list :models (list (cons "o/m" pb:+loaded+)))
        (list :models (list (cons "o/m" pb:+loading+)))
        (list :models (list (cons "o/m" pb:+available+)))
        (list :models (list (cons "o/m" pb:+downloading+)))
        (list :models '() :can-download t)
        (list :models (list (cons "o/m" pb:+failed+)))))

(test the-worker-nearer-to-the-model-gets-the-task
  (loop for (near far) on +nearest-first+
        while far
        do (let* ((cluster (new-cluster))
                  (further (apply #'add-worker cluster :id "further" :rate 1000d0 far))
                  (nearer (apply #'add-worker cluster :id "nearer" :rate 1d0 near)))
             (ask (add-client cluster) :model "o/m")
             (is (string= "o/m" (pb:task-model (task nearer))))
             (is (null (tasks further))))))

(test the-faster-worker-gets-the-task
  (let* ((cluster (new-cluster))
         (slow (add-worker cluster :id "slow" :rate 10d0))
         (fast (add-worker cluster :id "fast" :rate 30d0)))
    (asks (add-client cluster) 2)
    (is (equal '(2 0) (list (length (tasks fast)) (length (tasks slow)))))))

(test a-slower-worker-helps-when-the-faster-has-much-to-do
  (let* ((cluster (new-cluster))
         (slow (add-worker cluster :id "slow" :rate 20d0))
         (fast (add-worker cluster :id "fast" :rate 30d0)))
    (asks (add-client cluster) 6)
    (is (>= (length (tasks slow)) 2))
    (is (>= (length (tasks fast)) 3))))

(test images-queue-up-behind-each-other-so-an-idle-slower-worker-is-sooner
  (let* ((cluster (new-cluster))
         (slow (add-worker cluster :id "slow" :rate 0.6d0))
         (fast (add-worker cluster :id "fast" :rate 1d0)))
    (asks (add-client cluster) 2 :image (pb:make-image-task :prompt "a red circle"))
    (is (equal '(1 1) (list (length (tasks fast)) (length (tasks slow)))))))

(test a-worker-that-was-never-measured-is-tried
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "measured" :rate 50d0)
    (let ((new (add-worker cluster :id "new")))
      (asks (add-client cluster) 2)
      (is (tasks new)))))

(test a-rate-that-is-remembered-counts-until-another-is-measured
  (let* ((cluster (new-cluster))
         (registry (dispatcher-workers (core-dispatcher (cluster-core cluster)))))
    (setf (registry-remembered-rate registry)
          (lambda (id model)
            (when (and (string= id "slow") (string= model "m")) 1d0)))
    (let ((slow (add-worker cluster :id "slow"))
          (other (add-worker cluster :id "other" :rate 50d0))
          (client (add-client cluster)))
      (asks client 2)
      (is (equal '(0 2) (list (length (tasks slow)) (length (tasks other)))))
      (say slow pb:heartbeat-models (rated 1000d0))
      (ask client)
      (is (tasks slow)))))

(test a-rate-that-is-hardly-above-nothing-is-a-rate
  (let* ((cluster (new-cluster))
         (slow (add-worker cluster :id "slow" :rate least-positive-double-float))
         (fast (add-worker cluster :id "fast" :rate 1d0))
         (client (add-client cluster)))
    (asks client 9)
    (is (equal '(4 4) (list (length (tasks slow)) (length (tasks fast)))))
    (is (null (task-errors client)))))

(test equal-workers-share-equally
  (let* ((cluster (new-cluster))
         (workers (loop for id in '("a" "b" "c") collect (add-worker cluster :id id)))
         (client (add-client cluster))
         (shares (list 0 0 0)))
    (loop repeat 30
          do (ask client)
             (loop for worker in workers
                   for place from 0
                   do (dolist (task (tasks worker))
                        (incf (nth place shares))
                        (answer worker task))))
    (is (equal '(10 10 10) shares))))

(test tasks-of-other-heads-count
  (let* ((cluster (new-cluster))
         (shared (add-worker cluster :id "shared")))
    (say shared pb:heartbeat-running 4)
    (beat shared)
    (let ((other (add-worker cluster :id "other")))
      (asks (add-client cluster) 4)
      (is (equal '(0 4) (list (length (tasks shared)) (length (tasks other))))))))

(test one-heartbeat-that-crossed-results-does-not-make-a-worker-look-busy
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1)))
    (say worker pb:heartbeat-running 1)
    (ask (add-client cluster))
    (is (tasks worker))))

(test only-ready-workers-get-tasks
  (dolist (state (list pb:+starting+ pb:+draining+ pb:+worker-state-unspecified+ 77 -1))
    (let* ((cluster (new-cluster))
           (other (add-worker cluster :id "other" :state state))
           (ready (add-worker cluster :id "ready"))
           (client (add-client cluster)))
      (asks client 4)
      (is (equal '(4 0) (list (length (tasks ready)) (length (tasks other)))))
      (is (= 2 (length (pb:cluster-status-workers (status client))))))))

(test a-task-waits-for-a-worker-that-starts-with-its-model
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :state pb:+starting+ :models (list (cons "m" pb:+loading+))))
         (client (add-client cluster)))
    (ask client)
    (pass-time cluster 30)
    (is (null (task-errors client)))
    (say worker pb:heartbeat-state pb:+ready+)
    (is (task worker))))

(test a-pinned-task-goes-where-it-says
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "best" :rate 100d0)
    (let ((named (add-worker cluster :id "named" :models (list (cons "m" pb:+available+)))))
      (ask (add-client cluster) :worker-id "named")
      (is (task named)))))

(test a-load-task-goes-to-the-best-candidate
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "cannot" :models '())
    (let ((can (add-worker cluster :id "can" :models (list (cons "m" pb:+available+)))))
      (ask (add-client cluster) :load (pb:make-load-task))
      (is (eq :load (pb:task-work (task can)))))))

(test tasks-follow-the-first-to-where-their-model-is-being-loaded
  (let* ((cluster (new-cluster))
         (workers (loop for id in '("a" "b")
                        collect (add-worker cluster :id id :models (list (cons "m" pb:+available+))))))
    (asks (add-client cluster) 3)
    (is (equal '(0 3) (sort (loop for worker in workers collect (length (tasks worker))) #'<)))))

(test tasks-follow-the-first-to-where-their-model-is-being-downloaded
  (let* ((cluster (new-cluster))
         (workers (loop for id in '("a" "b")
                        collect (add-worker cluster :id id :models '() :can-download t))))
    (asks (add-client cluster) 3 :model "o/m")
    (is (equal '(0 3) (sort (loop for worker in workers collect (length (tasks worker))) #'<)))))

(test a-second-worker-loads-a-model-only-after-tasks-have-waited-for-the-first
  (let* ((cluster (new-cluster))
         (first (add-worker cluster :id "first" :slots 1))
         (second (add-worker cluster :id "second" :models (list (cons "m" pb:+available+)))))
    (asks (add-client cluster) 2)
    (pass-time cluster 1.5d0)
    (is (equal '(1 0) (list (length (tasks first)) (length (tasks second)))))
    (pass-time cluster 1)
    (is (task second))))

(test a-model-is-not-downloaded-because-those-who-have-it-are-busy
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "has" :models '("o/m") :slots 1)
    (let ((could (add-worker cluster :id "could" :models '() :can-download t)))
      (asks (add-client cluster) 2 :model "o/m")
      (pass-time cluster 60)
      (is (null (tasks could))))))

(test only-hugging-face-ids-are-for-download
  (dolist (model (list "tiny-llama" "a/b/c" "owner/" "/name" "o/m.safetensors" "o/m.gguf"
                       (format nil "o/~A" (make-string 300 :initial-element #\m))))
    (let* ((cluster (new-cluster))
           (client (add-client cluster)))
      (add-worker cluster :can-download t)
      (ask client :model model)
      (is (= pb:+model-not-found+ (pb:error-code (task-error client)))))))
