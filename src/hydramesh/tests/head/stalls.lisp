(defpackage #:hydramesh/tests/head/stalls
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/hedging #:silence #:stall)
  (:import-from #:hydramesh/head/pace #:make-pace)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:ask #:cancelled #:pass-time #:results #:say #:status #:task #:tasks)
  (:import-from #:hydramesh/tests/head/late-task #:late-task #:part #:text-of)
  (:import-from #:hydramesh/tests/head/pace #:pace-of)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Workers that stop in the middle of answers: another goes on, and they are set aside."))
(in-package #:hydramesh/tests/head/stalls)

(fiveam:def-suite stalls :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite stalls)

(test an-answer-that-stalls-in-the-middle-goes-on-where-it-broke-off
  (multiple-value-bind (client first task second cluster) (late-task)
    (dotimes (index 3)
      (part first task index :final nil))
    (part first task 5 :final nil)      ; too early: 3 and 4 are missing
    (pass-time cluster 0.5d0)
    (is (null (tasks second)) "pauses of a second are usual")
    (pass-time cluster 2)
    (let* ((copy (task second))
           (resume (pb:task-resume copy)))
      (is (= 3 (pb:resume-index resume)))
      (is (equalp #(0 1 2) (pb:resume-tokens resume)))
      (part second copy 3 :final nil)
      (is (equal (list (pb:task-id task)) (cancelled first)))
      (part second copy 4))
    (is (string= "0 1 2 3 4 " (text-of (results client))))))

(test a-first-worker-that-goes-on-after-a-pause-loses-nothing-that-came-early
  (multiple-value-bind (client first task second cluster) (late-task)
    (part first task 0 :final nil)
    (part first task 2 :final nil)
    (pass-time cluster 3)
    (let ((copy (task second)))
      (part first task 1 :final nil)
      (is (equal (list (pb:task-id copy)) (cancelled second)))
      (part first task 3))
    (is (string= "0 1 2 3 " (text-of (results client))))))

(test a-worker-that-loses-race-after-race-is-set-aside
  (multiple-value-bind (client first task second cluster) (late-task :times 250)
    (declare (ignore first task))
    (flet ((aside-p ()
             (some #'pb:worker-status-set-aside (pb:cluster-status-workers (status client)))))
      (loop repeat 8
            do (pass-time cluster 1)
               (part second (task second) 0)
               (ask client :stream t))
      (is (not (aside-p)))
      (pass-time cluster 1)
      (part second (task second) 0)
      (is (aside-p))
      (ask client :stream t)
      (is (task second)))))

(test a-worker-of-which-nothing-comes-for-far-longer-than-usual-has-stalled
  (multiple-value-bind (client first task second cluster) (late-task :share 0d0)
    (declare (ignore task second))
    (say first pb:heartbeat-slots 10)
    (loop repeat 2 do (ask client :stream t :worker-id "first") (pass-time cluster 0.1d0))
    (pass-time cluster 5)
    (is (null (pb:worker-status-set-aside (first (pb:cluster-status-workers (status client))))))
    (pass-time cluster 8)
    ;; Those that ran already when the first one was found to stall count with it.
    (loop repeat 2
          do (ask client :stream t :worker-id "first")
             (pass-time cluster 12))
    (is (search "stalled" (pb:set-aside-reason
                           (pb:worker-status-set-aside
                            (first (pb:cluster-status-workers (status client)))))))
    (is (= 4 (length (tasks first))))))

(test pauses-are-bounded-below
  (is (= (seconds 1) (silence 10)))
  (is (= (seconds 4) (silence (seconds 2))))
  (is (null (stall (make-pace))))
  (is (= (seconds 10) (stall (pace-of (loop repeat 30 collect 1000))))))
