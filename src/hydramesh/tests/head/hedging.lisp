(defpackage #:hydramesh/tests/head/hedging
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-in-flight)
  (:import-from #:hydramesh/head/hedging #:budget-earn #:budget-spend #:lateness #:make-budget #:make-hedging)
  (:import-from #:hydramesh/head/pace #:make-pace)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:ask #:cancelled #:cluster-core #:new-cluster #:pass-time
                #:results #:say #:status #:task #:tasks)
  (:import-from #:hydramesh/tests/head/late-task #:have-measured #:late-task #:model #:part #:text-of)
  (:import-from #:hydramesh/tests/head/pace #:pace-of)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "A task that is late is raced on a second worker; its client sees one answer."))
(in-package #:hydramesh/tests/head/hedging)

(fiveam:def-suite hedging :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite hedging)

(test a-task-is-late-when-most-would-have-begun
  (let ((pace (pace-of (loop for ms from 1 to 100 collect (* ms 10000))))
        (rules (make-hedging :share 0.1d0)))
    (is (<= 950000 (lateness rules nil pace) 1200000))
    (is (<= 1000000 (lateness rules 2d0 pace) 1300000) "twice what is usual")
    (is (= 5 (lateness rules 5 pace)))
    (is (null (lateness rules :never pace)))
    (is (null (lateness rules nil (make-pace))))
    (is (null (lateness (make-hedging :share 0.1d0 :longest (seconds 0.9d0)) nil pace)))
    (is (null (lateness (make-hedging) nil pace)))
    (is (null (lateness (make-hedging) 5 pace)) "nothing is hedged when it is off")))

(test no-more-is-spent-than-was-earned
  (let ((budget (make-budget)))
    (is (not (budget-spend budget)))
    (is (= 50 (loop repeat 1000
                    do (budget-earn budget 0.05d0)
                    count (budget-spend budget))))
    (loop repeat 100000 do (budget-earn budget 0.05d0))
    (is (= 5 (loop while (budget-spend budget) count t)) "a hundred tasks are remembered")))

(test the-second-worker-gets-a-late-task-with-the-same-seed-and-the-first-part-wins
  (multiple-value-bind (client first task second cluster) (late-task)
    (pass-time cluster 0.05d0)
    (is (null (tasks second)) "it is not late yet")
    (pass-time cluster 0.3d0)
    (let ((copy (task second)))
      (is (= (pb:text-task-seed (pb:task-text task)) (pb:text-task-seed (pb:task-text copy))))
      (is (/= (pb:task-id task) (pb:task-id copy)))
      (is (= 1 (dispatcher-in-flight (core-dispatcher (cluster-core cluster)))))
      (part second copy 0 :final nil)
      (is (equal (list (pb:task-id task)) (cancelled first)))
      (part first task 0)               ; too late
      (part second copy 1))
    (is (string= "0 1 " (text-of (results client))))
    (is (null (cancelled second)))
    (let ((told (status client)))
      (is (= 1 (pb:cluster-status-tasks-hedged told)))
      (is (= 0 (pb:cluster-status-tasks-moved told)))
      (is (= 0 (pb:cluster-status-in-flight told)))
      (is (= 41 (pb:cluster-status-tasks-done told)))
      (is (every (lambda (worker) (zerop (pb:worker-status-in-flight worker)))
                 (pb:cluster-status-workers told))))))

(test the-first-worker-wins-if-its-part-comes-first
  (multiple-value-bind (client first task second cluster) (late-task)
    (pass-time cluster 0.3d0)
    (let ((copy (task second)))
      (part first task 0 :final nil)
      (is (equal (list (pb:task-id copy)) (cancelled second)))
      (part second copy 0)              ; too late
      (part first task 1))
    (is (string= "0 1 " (text-of (results client))))
    (is (null (cancelled first)))))

(test tasks-are-not-hedged-unless-that-was-set
  (multiple-value-bind (client first task second cluster) (late-task :share 0d0)
    (declare (ignore client first task))
    (pass-time cluster 5)
    (is (null (tasks second)))))

(test a-task-is-not-hedged-where-the-answer-could-be-another
  (dolist (weights '("other" ""))
    (multiple-value-bind (client first task second cluster) (late-task :second weights)
      (declare (ignore client first task))
      (pass-time cluster 5)
      (is (null (tasks second))))))

(test large-tasks-and-those-for-one-worker-are-not-hedged
  (dolist (arguments (list (list :text (pb:make-text-task :prompt (make-string 300000 :initial-element #\a)))
                           (list :worker-id "first")))
    (multiple-value-bind (client first task second cluster) (apply #'late-task arguments)
      (declare (ignore client first task))
      (pass-time cluster 5)
      (is (null (tasks second))))))

(test no-more-tasks-are-hedged-than-the-share
  (let* ((cluster (new-cluster :hedging (make-hedging :share 0.1d0)))
         (client (add-client cluster))
         (first (add-worker cluster :id "first" :models (list (model)) :slots 100)))
    (have-measured cluster client first)
    (let ((second (add-worker cluster :id "second" :models (list (model)) :slots 100)))
      (say second pb:heartbeat-state pb:+starting+)
      (loop repeat 30 do (ask client :stream t))
      (say second pb:heartbeat-state pb:+ready+)
      (pass-time cluster 3)
      (is (= 7 (length (tasks second))) "a tenth of seventy"))))

(test a-hedge-waits-for-a-free-worker
  (multiple-value-bind (client first task second cluster) (late-task)
    (declare (ignore first task))
    (say second pb:heartbeat-state pb:+starting+)
    (pass-time cluster 1)
    (is (null (tasks second)))
    (say second pb:heartbeat-state pb:+ready+)
    (pass-time cluster 0.3d0)
    (part second (task second) 0)
    (is (string= "0 " (text-of (results client))))))
