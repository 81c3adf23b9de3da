(defpackage #:hydramesh/tests/head/hedging
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-jobs #:dispatcher-in-flight)
  (:import-from #:hydramesh/head/enforcing #:enforce)
  (:import-from #:hydramesh/head/hedging
                #:make-hedging #:lateness #:silence #:stall #:make-budget #:budget-earn #:budget-spend)
  (:import-from #:hydramesh/head/job #:job-attempts)
  (:import-from #:hydramesh/head/pace
                #:make-pace #:pace-add #:pace-add-unfinished #:pace-quantile #:pace-class)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:answer #:ask #:cancel #:cancelled #:cluster-core #:cluster-now
                #:fail-task #:move-to #:new-cluster #:pass-time #:results #:say
                #:status #:task #:tasks #:task-error #:task-errors #:unreachable)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "A task that is late is raced on a second worker; its client sees one answer."))
(in-package #:hydramesh/tests/head/hedging)

(fiveam:def-suite hedging :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite hedging)

;;; What is usual

(defun pace-of (times)
  (let ((pace (make-pace)))
    (dolist (time times pace)
      (pace-add pace time))))

(test a-quantile-is-at-most-a-quarter-above-what-it-is
  (let ((state (sb-ext:seed-random-state 1)))
    (dolist (longest '(5000 1000000 500000000))
      (let* ((times (loop repeat 200 collect (+ 2000 (random longest state))))
             (pace (pace-of times))
             (sorted (sort (copy-list times) #'<)))
        (dolist (quantile '(1/2 0.9d0 0.95d0 0.99d0 1))
          (let ((real (nth (1- (ceiling (* quantile 200))) sorted)))
            (is (< real (pace-quantile pace quantile) (1+ (* 5/4 real))))))))))

(test too-few-times-tell-nothing-and-any-time-can-be-told
  (is (null (pace-quantile (pace-of (loop repeat 19 collect 1000)) 1/2)))
  (is (pace-quantile (pace-of (loop repeat 20 collect 0)) 1/2))
  (is (pace-quantile (pace-of (loop repeat 20 collect (1- (ash 1 62)))) 1)))

(test what-is-old-is-forgotten
  (let ((pace (pace-of (loop repeat 250 collect 1000000))))
    (loop repeat 600 do (pace-add pace 2000))
    (is (< (pace-quantile pace 0.8d0) 3000))))

(test those-that-were-given-up-late-keep-the-quantile-where-it-is
  (flet ((after (note)
           (let ((pace (pace-of (loop repeat 19 append '(10000) finally (return (list 100000))))))
             (loop repeat 19 do (pace-add pace 10000))
             (loop repeat 30
                   do (loop repeat 18 do (pace-add pace 10000))
                      (loop repeat 2 do (funcall note pace)))
             (pace-quantile pace 0.95d0))))
    (is (< (after (constantly nil)) 20000))
    (is (>= (after (lambda (pace) (pace-add-unfinished pace 20001 0.95d0))) 20000)))
  (let ((pace (pace-of (loop repeat 100 collect 100000))))
    (loop repeat 100 do (pace-add-unfinished pace 1 0.95d0))
    (is (> (pace-quantile pace 1/10) 100000) "what was given up early tells nothing")))

(test tasks-are-alike-within-a-factor-of-two
  (is (= (pace-class 4d0 t) (pace-class 7d0 t)))
  (is (/= (pace-class 4d0 t) (pace-class 8d0 t)))
  (is (/= (pace-class 4d0 t) (pace-class 4d0 nil)))
  (is (< (pace-class 1d30 nil) 32)))

;;; The rules

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

;;; In a head

(defun model (&optional (weights "same") (rate 100d0))
  (pb:make-model-status :name "m" :state pb:+loaded+ :rate rate
                        :identity (pb:make-model-identity :weights weights)))

(defun have-measured (cluster client worker &key (times 40))
  "Let WORKER, the only one, answer that many tasks in a tenth of a second each."
  (loop repeat times
        do (ask client :stream t)
           (let ((task (task worker)))
             (pass-time cluster 0.1d0)
             (answer worker task))
           (results client)))

(defun late-task (&rest arguments &key (share 1d0) (second "same") (times 40) &allow-other-keys)
  "Return a head's client with a task that is late on the first of two workers, and these workers: the client,
the first worker, its task, the second worker, the cluster. ARGUMENTS are of the task."
  (dolist (key '(:share :second :times))
    (remf arguments key))
  (let* ((cluster (new-cluster :hedging (make-hedging :share share)))
         (client (add-client cluster))
         (first (add-worker cluster :id "first" :models (list (model)))))
    (have-measured cluster client first :times times)
    (let ((id (apply #'ask client :stream t arguments))
          (second (add-worker cluster :id "second" :models (list (model second 1d0)))))
      (values client first (task first) second cluster id))))

(defun the-job (cluster)
  (loop for job being the hash-values of (dispatcher-jobs (core-dispatcher (cluster-core cluster)))
        return job))

(defun text-of (results)
  (format nil "~{~a~}" (mapcar #'pb:result-text results)))

(defun part (worker task index &rest fields)
  (apply #'answer worker task
         :index index
         :text (format nil "~d " index)
         :tokens (make-array 1 :element-type '(unsigned-byte 32) :initial-element index)
         (if (zerop index)
             (list* :model (pb:make-model-identity :weights "same") fields)
             fields)))

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

(defun late-under (text &key (pass 5))
  "Return how many tasks the second worker has got, that many seconds after one came which is late on the first,
while a policy with TEXT was in force."
  (let* ((cluster (new-cluster :hedging (make-hedging :share 1d0)))
         (client (add-client cluster))
         (first (add-worker cluster :id "first" :models (list (model)))))
    (have-measured cluster client first)
    (enforce (core-dispatcher (cluster-core cluster))
             (read-policy (format nil "(policy \"a test\" (rule \"late\" ~A))" text) "test")
             (cluster-now cluster))
    (ask client :stream t)
    (let ((second (add-worker cluster :id "second" :models (list (model "same" 1d0)))))
      (pass-time cluster pass)
      (length (tasks second)))))

(test the-policy-in-force-says-whether-a-task-is-hedged-and-how-late
  (is (= 1 (late-under "(hedge)")) "as the settings say")
  (is (= 0 (late-under "(hedge never)")))
  (is (= 0 (late-under "(hedge (after 3 s))" :pass 2.5d0)))
  (is (= 1 (late-under "(hedge (after 3 s))" :pass 3.5d0)))
  (is (= 0 (late-under "(hedge (after 2000 %))" :pass 1.5d0)) "a tenth of a second is usual")
  (is (= 1 (late-under "(hedge (after 2000 %))" :pass 3.5d0)))
  (is (= 1 (late-under "(when (= task.kind :image)) (hedge never)")) "of other tasks the settings say it")
  (is (= 0 (late-under "(exclude (= worker.id \"second\"))")) "it is kept from whom the policy excludes"))

(test a-policy-that-comes-later-says-so-of-tasks-that-run-already
  (dolist (before '("(hedge never)" "(hedge (after 1 h))"))
    (let* ((cluster (new-cluster :hedging (make-hedging :share 1d0)))
           (client (add-client cluster))
           (first (add-worker cluster :id "first" :models (list (model)))))
      (flet ((enforce (text)
               (enforce (core-dispatcher (cluster-core cluster))
                        (read-policy (format nil "(policy \"a test\" (rule \"late\" ~A))" text) "test")
                        (cluster-now cluster))))
        (have-measured cluster client first)
        (enforce before)
        (ask client :stream t)
        (let ((second (add-worker cluster :id "second" :models (list (model "same" 1d0)))))
          (pass-time cluster 3)
          (is (null (tasks second)))
          (enforce "(hedge (after 4 s))")
          (is (null (tasks second)))
          (pass-time cluster 0.5d0)
          (is (null (tasks second)))
          (pass-time cluster 1)
          (is (= 1 (length (tasks second)))))))))

(test a-task-may-be-late-at-once
  (let* ((cluster (new-cluster :hedging (make-hedging :share 1d0)))
         (client (add-client cluster))
         (first (add-worker cluster :id "first" :models (list (model)))))
    (have-measured cluster client first)
    (enforce (core-dispatcher (cluster-core cluster))
             (read-policy "(policy \"a test\" (rule \"late\" (hedge (after 0 s))))" "test")
             (cluster-now cluster))
    (ask client :stream t)
    (handler-case (sb-ext:with-timeout 60 (pass-time cluster 1))
      (sb-ext:timeout () (fiveam:fail "It is looked at again and again, and nothing else is done.")))
    (let ((second (add-worker cluster :id "second" :models (list (model "same" 1d0)))))
      (pass-time cluster 0.2d0)
      (is (= 1 (length (tasks second)))))))

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
