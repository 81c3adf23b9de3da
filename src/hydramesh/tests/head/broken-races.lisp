(defpackage #:hydramesh/tests/head/broken-races
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-in-flight #:dispatcher-jobs)
  (:import-from #:hydramesh/head/job #:job-attempts)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-worker #:answer #:cancel #:cancelled #:cluster-core #:fail-task #:move-to #:pass-time
                #:results #:say #:status #:task #:task-error #:task-errors #:tasks #:unreachable)
  (:import-from #:hydramesh/tests/head/late-task #:late-task #:model #:part #:text-of)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What ends a race before one of two workers has won: errors, losses, its client, time."))
(in-package #:hydramesh/tests/head/broken-races)

(fiveam:def-suite broken-races :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite broken-races)

(defun the-job (cluster)
  "Return the only job in the head of CLUSTER."
  (loop for job being the hash-values of (dispatcher-jobs (core-dispatcher (cluster-core cluster)))
        return job))

(test the-client-cancels-both
  (multiple-value-bind (client first task second cluster id) (late-task)
    (pass-time cluster 0.3d0)
    (let ((copy (task second)))
      (cancel client id)
      (is (equal (list (pb:task-id task)) (cancelled first)))
      (is (equal (list (pb:task-id copy)) (cancelled second))))
    (is (null (results client)))))

(test a-deadline-ends-both
  (multiple-value-bind (client first task second cluster) (late-task :deadline-ms 2000)
    (pass-time cluster 0.3d0)
    (let ((copy (task second)))
      (pass-time cluster 2)
      (is (= pb:+deadline-exceeded+ (pb:error-code (task-error client))))
      (is (equal (list (pb:task-id task)) (cancelled first)))
      (is (equal (list (pb:task-id copy)) (cancelled second))))))

(test the-loss-of-either-worker-is-not-noticed
  (dolist (lost '(:first :second))
    (dolist (how (list #'unreachable
                       (lambda (worker) (say worker pb:heartbeat-state pb:+stopped+))
                       (lambda (worker) (say worker pb:heartbeat-incarnation 77))))
      (multiple-value-bind (client first task second cluster) (late-task)
        (pass-time cluster 0.3d0)
        (let ((copy (task second)))
          (funcall how (if (eq lost :first) first second))
          (is (= 1 (dispatcher-in-flight (core-dispatcher (cluster-core cluster)))))
          (if (eq lost :first)
              (part second copy 0)
              (part first task 0))
          (is (string= "0 " (text-of (results client))))
          (is (= 0 (pb:cluster-status-tasks-moved (status client)))))))))

(test an-error-of-either-worker-leaves-it-to-the-other-and-uses-up-no-attempt
  (dolist (failing '(:first :second))
    (multiple-value-bind (client first task second cluster) (late-task)
      (pass-time cluster 0.3d0)
      (let ((copy (task second)))
        (if (eq failing :first)
            (fail-task first task pb:+internal+)
            (fail-task second copy pb:+internal+))
        (is (null (task-errors client)))
        (is (= 1 (job-attempts (the-job cluster))))
        (pass-time cluster 3)
        (is (null (append (tasks first) (tasks second))) "no worker that has failed gets it again")
        (if (eq failing :first)
            (part second copy 0)
            (part first task 0))
        (is (string= "0 " (text-of (results client))))))))

(test an-error-that-no-other-worker-would-avoid-ends-both
  (multiple-value-bind (client first task second cluster) (late-task)
    (pass-time cluster 0.3d0)
    (let ((copy (task second)))
      (fail-task first task pb:+bad-request+)
      (is (= pb:+bad-request+ (pb:error-code (task-error client))))
      (is (equal (list (pb:task-id copy)) (cancelled second))))))

(test both-workers-may-fail-and-the-task-goes-to-a-third
  (multiple-value-bind (client first task second cluster) (late-task)
    (pass-time cluster 0.3d0)
    (let ((copy (task second))
          (third (add-worker cluster :id "third" :models (list (model)))))
      (fail-task first task pb:+internal+)
      (fail-task second copy pb:+internal+)
      (part third (task third) 0))
    (is (string= "0 " (text-of (results client))))))

(test a-second-worker-that-has-to-load-the-model-first-is-called-off
  (multiple-value-bind (client first task second cluster) (late-task)
    (pass-time cluster 0.3d0)
    (let ((copy (task second)))
      (answer second copy :index 0 :final nil :progress (pb:make-progress :phase "load"))
      (is (equal (list (pb:task-id copy)) (cancelled second)))
      (part first task 0))
    (is (string= "0 " (text-of (results client))))))

(test a-part-from-elsewhere-than-the-second-worker-calls-it-off
  (multiple-value-bind (client first task second cluster) (late-task)
    (pass-time cluster 0.3d0)
    (let ((copy (task second)))
      (move-to second 9)
      (part second copy 0)
      (is (null (results client)))
      (part first task 0))
    (is (string= "0 " (text-of (results client))))))
