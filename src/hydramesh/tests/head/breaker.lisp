(defpackage #:hydramesh/tests/head/breaker
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/head/breaker
                #:make-breaker-rules #:make-breaker #:breaker-state #:breaker-wait #:breaker-reason
                #:breaker-denies-p #:breaker-failed #:breaker-lost-race #:breaker-succeeded
                #:breaker-began #:breaker-ended)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-jobs #:dispatcher-workers)
  (:import-from #:hydramesh/head/verdicts #:explain-choice #:verdict-worker #:verdict-reason)
  (:import-from #:hydramesh/head/worker #:worker-id)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:answer #:ask #:beat #:cluster-core #:cluster-now #:die #:fail-task
                #:member-inbox #:new-cluster #:pass-time #:restart-worker #:say #:status
                #:task #:tasks #:task-errors #:worker-alive-p #:worker-heartbeat)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "A worker that fails again and again is set aside, and tried with one task after a while."))
(in-package #:hydramesh/tests/head/breaker)

(fiveam:def-suite breaker :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite breaker)

;;; The state machine

(defun rules ()
  (make-breaker-rules :failures 3 :pause 10 :longest 35))

(defun failed (breaker at)
  "Let an attempt fail at that time, which began just then."
  (breaker-failed breaker (rules) :failed at at))

(defun opened (&optional (at 100))
  (let ((breaker (make-breaker)))
    (is (equal '(nil nil 10) (loop repeat 3 collect (failed breaker at))))
    breaker))

(test it-opens-after-failures-in-a-row-and-not-before
  (let ((breaker (make-breaker)))
    (failed breaker 1)
    (failed breaker 2)
    (is (breaker-succeeded breaker 3))
    (failed breaker 4)
    (failed breaker 5)
    (is (eq :closed (breaker-state breaker 5)))
    (is (not (breaker-denies-p breaker 5)))
    (is (eql 10 (failed breaker 6)))
    (is (eq :open (breaker-state breaker 6)))
    (is (breaker-denies-p breaker 15))
    (is (= 1 (breaker-wait breaker 15)))
    (is (string= "failed 3 times in a row" (breaker-reason breaker)))))

(test it-never-opens-if-no-number-of-failures-is-enough
  (let ((breaker (make-breaker)) (rules (make-breaker-rules :failures 0)))
    (is (null (loop for at below 100 thereis (breaker-failed breaker rules :failed at at))))))

(test one-attempt-is-let-through-after-the-pause-until-it-is-known-what-became-of-it
  (let ((breaker (opened)))
    (is (not (breaker-denies-p breaker 110)))
    (breaker-began breaker 7 110)
    (is (breaker-denies-p breaker 110))
    (breaker-ended breaker 7)           ; its client has cancelled it
    (is (not (breaker-denies-p breaker 110)))
    (breaker-began breaker 8 110)
    (is (breaker-succeeded breaker 110))
    (is (eq :closed (breaker-state breaker 111)))
    (is (not (breaker-denies-p breaker 111)))))

(test pauses-double-up-to-a-bound-and-begin-anew-after-a-success
  (let ((breaker (opened)))
    (is (equal '(20 35 35) (loop for at in '(110 130 165) collect (failed breaker at))))
    (is (eq :half-open (breaker-state breaker 200)))
    (breaker-succeeded breaker 200)
    (loop repeat 2 do (failed breaker 201))
    (is (eql 10 (failed breaker 201)))))

(test what-ran-when-an-attempt-failed-tells-nothing-new
  (let ((breaker (make-breaker)))
    (loop for at from 10 to 20 do (is (null (breaker-failed breaker (rules) :failed 5 at))))
    (is (eq :closed (breaker-state breaker 20)))
    (is (not (breaker-succeeded breaker 5)))
    (failed breaker 20)
    (is (failed breaker 20))))

(test failures-while-it-is-open-make-no-pause-longer
  (let ((breaker (opened)))             ; it may get tasks that nobody else can run
    (loop for at from 101 below 110 do (is (null (failed breaker at))))
    (is (= 5 (breaker-wait breaker 105)))))

(test only-many-lost-races-in-a-row-count-as-failures
  (let ((breaker (make-breaker)))
    (flet ((lose (times)
             (loop repeat times thereis (breaker-lost-race breaker (rules) 1 1))))
      (is (null (lose 8)))
      (breaker-succeeded breaker 1)
      (is (null (lose 8)))
      (is (eql 10 (lose 1)))
      (is (search "others were faster" (breaker-reason breaker))))))

;;; In a head

(defun set-aside (client id)
  "Return what the status that CLIENT asks for says of the worker with ID."
  (let ((found (find id (pb:cluster-status-workers (status client))
                     :key (lambda (worker) (pb:heartbeat-worker-id (pb:worker-status-heartbeat worker)))
                     :test #'string=)))
    (and found (pb:worker-status-set-aside found))))

(defun have-fail (client worker times &optional (code pb:+internal+))
  "Let WORKER fail with that many tasks, one after the other."
  (loop repeat times
        do (ask client :worker-id (pb:heartbeat-worker-id (worker-heartbeat worker)))
           (fail-task worker (task worker) code)))

(defun two-workers ()
  "Return a client, a worker that gets every task while all is well, and another one."
  (let ((cluster (new-cluster)))
    (values (add-client cluster)
            (add-worker cluster :id "fast" :rate 1000d0)
            (add-worker cluster :id "slow" :rate 1d0)
            cluster)))

(test a-worker-that-fails-again-and-again-gets-no-tasks-for-a-while-and-then-one
  (multiple-value-bind (client fast slow cluster) (two-workers)
    (have-fail client fast 3)
    (let ((told (set-aside client "fast")))
      (is (= 3 (pb:set-aside-failures told)))
      (is (<= 1 (pb:set-aside-retry-ms told) 5000))
      (is (string= "failed 3 times in a row" (pb:set-aside-reason told))))
    (is (null (set-aside client "slow")))
    (loop repeat 3 do (ask client))
    (is (null (tasks fast)))
    (is (= 3 (length (tasks slow))))
    (pass-time cluster 5.1d0)
    (is (zerop (pb:set-aside-retry-ms (set-aside client "fast"))))
    (ask client)
    (ask client)
    (is (= 1 (length (tasks slow))) "only one tries it")
    (answer fast (task fast))
    (is (null (set-aside client "fast")))
    (ask client)
    (is (task fast))))

(test a-trial-that-fails-sets-the-worker-aside-for-longer
  (multiple-value-bind (client fast slow cluster) (two-workers)
    (have-fail client fast 3)
    (pass-time cluster 5.1d0)
    (ask client)
    (fail-task fast (task fast) pb:+internal+)
    (answer slow (task slow))
    (is (< 9000 (pb:set-aside-retry-ms (set-aside client "fast")) 10001))))

(test what-is-the-fault-of-a-task-or-of-its-size-sets-nobody-aside
  (dolist (code (list pb:+bad-request+ pb:+unsupported+ pb:+out-of-memory+ pb:+model-gated+))
    (multiple-value-bind (client fast) (two-workers)
      (have-fail client fast 5 code)
      (is (null (set-aside client "fast"))))))

(test a-worker-that-is-being-stopped-in-order-has-not-failed
  (multiple-value-bind (client fast slow) (two-workers)
    (loop repeat 4
          do (ask client)
             (fail-task fast (task fast) pb:+shutting-down+)
             (answer slow (task slow))
             (beat fast))
    (is (null (set-aside client "fast")))))

(test a-task-that-fails-everywhere-counts-against-one-worker-at-most
  (let* ((cluster (new-cluster))
         (workers (loop for id in '("1" "2" "3") collect (add-worker cluster :id id)))
         (client (add-client cluster)))
    (loop repeat 4
          do (ask client)
             (loop for working = (find-if #'member-inbox workers)
                   while working
                   do (fail-task working (task working) pb:+internal+)))
    (is (<= (count-if (lambda (id) (set-aside client id)) '("1" "2" "3")) 1))))

(test a-task-that-only-those-could-run-who-are-set-aside-goes-to-one-of-them
  (multiple-value-bind (client fast slow cluster) (two-workers)
    (have-fail client fast 3)
    (have-fail client slow 3)
    (ask client)
    (is (task fast))
    (ask client :worker-id "slow")
    (is (task slow))
    (pass-time cluster 0.2d0)
    (is (= 6 (length (task-errors client))) "only those that were asked to fail")))

(test a-busy-worker-is-waited-for-rather-than-one-that-is-set-aside-asked
  (multiple-value-bind (client fast slow cluster) (two-workers)
    (have-fail client fast 3)
    (say slow pb:heartbeat-slots 1)
    (ask client)
    (ask client)
    (let ((first (task slow)))
      (pass-time cluster 3)
      (is (null (tasks fast)))
      (answer slow first)
      (is (task slow)))))

(defun lose-for-a-while (cluster worker)
  (die worker)
  (pass-time cluster 10.1d0)
  (setf (worker-alive-p worker) t)
  (beat worker))

(test a-process-that-was-lost-and-is-back-is-known-and-a-new-one-starts-fresh
  (multiple-value-bind (client fast slow cluster) (two-workers)
    (declare (ignore slow))
    (have-fail client fast 3)
    (lose-for-a-while cluster fast)
    (is (set-aside client "fast"))
    (restart-worker fast)
    (is (null (set-aside client "fast")))))

(test losing-a-worker-with-many-tasks-is-one-failure
  (multiple-value-bind (client fast slow cluster) (two-workers)
    (declare (ignore slow))
    (flet ((lose ()
             (loop repeat 4 do (ask client :worker-id "fast"))
             (lose-for-a-while cluster fast)))
      (lose)
      (lose)
      (is (null (set-aside client "fast")))
      (lose)
      (is (search "was lost" (pb:set-aside-reason (set-aside client "fast")))))))

(test it-is-said-why-a-worker-that-is-set-aside-gets-no-task
  (multiple-value-bind (client fast slow cluster) (two-workers)
    (declare (ignore slow))
    (have-fail client fast 3)
    (ask client)
    (let* ((dispatcher (core-dispatcher (cluster-core cluster)))
           (job (loop for job being the hash-values of (dispatcher-jobs dispatcher) return job))
           (verdicts (explain-choice (dispatcher-workers dispatcher) job (cluster-now cluster))))
      (is (eq :set-aside (verdict-reason (find "fast" verdicts
                                               :key (lambda (verdict) (worker-id (verdict-worker verdict)))
                                               :test #'string=)))))))
