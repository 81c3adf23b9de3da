(defpackage #:hydramesh/tests/head/heads
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/events #:+sync+)
  (:import-from #:hydramesh/head/core #:core-heads)
  (:import-from #:hydramesh/head/heads #:heads-peers)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:pass-time #:add-worker #:add-client #:answer #:ask
                #:member-address #:received
                #:result #:say #:send #:status #:task #:tasks)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What a head makes of what others tell it."))
(in-package #:hydramesh/tests/head/heads)

(fiveam:def-suite heads :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite heads)

(defun add-head (cluster &rest options)
  "Return another head, a mere member of CLUSTER, that the settings name, and a worker with OPTIONS."
  (let ((head (add-client cluster)))
    (setf (heads-peers (core-heads (cluster-core cluster))) (list (member-address head)))
    (values head (apply #'add-worker cluster options))))

(defun heard (head)
  (loop for payload in (received head +sync+) collect (pb:decode 'pb:sync payload)))

(defvar *waiting* 0 "How many tasks wait at other heads.")

(defun tell (head version &rest workers)
  "Let HEAD tell how many tasks it has on WORKERS, ids and numbers, in another state than before."
  (send head +sync+
        (pb:make-sync :head-id "other" :incarnation 9 :base (1- version) :version version :sent-us version
                      :head (pb:make-head-state :state pb:+ready+ :in-flight (floor (length workers) 2)
                                                :queued *waiting*)
                      :workers (loop for (id number) on workers by #'cddr
                                     collect (pb:make-head-worker :worker-id id :assigned number)))))

(test a-peer-is-greeted-and-told-of-this-head
  (let* ((cluster (new-cluster)) (head (add-head cluster)))
    (pass-time cluster 1)
    (let ((greeting (first (heard head))))
      (is (= 0 (pb:sync-version greeting)))
      (is (null (pb:sync-head greeting))))
    (tell head 1)
    (pass-time cluster 1)
    (let ((said (first (heard head))))
      (is (equal (list 9 1) (list (pb:sync-known-incarnation said) (pb:sync-known-version said))))
      (is (= 1 (pb:head-state-workers (pb:sync-head said)))))))

(test the-status-tells-of-the-heads-that-are-heard
  (let* ((cluster (new-cluster)) (head (add-head cluster)) (client (add-client cluster)))
    (pass-time cluster 1)
    (is (= 1 (length (pb:cluster-status-heads (status client)))))
    (tell head 1 "w" 2)
    (let ((heads (pb:cluster-status-heads (status client))))
      (is (= 2 (length heads)))
      (is (equal (list "other" 1 pb:+ready+)
                 (list (pb:head-status-id (second heads))
                       (pb:head-status-in-flight (second heads))
                       (pb:head-status-state (second heads)))))
      (is (string= (format-address (member-address head)) (pb:head-status-address (second heads)))))))

(test a-worker-that-another-head-has-filled-gets-nothing
  (let ((cluster (new-cluster)))
    (multiple-value-bind (head worker) (add-head cluster :slots 1)
      (let ((client (add-client cluster)))
        (pass-time cluster 1)
        (tell head 1 "w" 1)
        (ask client)
        (is (null (tasks worker)))
        (tell head 2 "w" 0)
        (pass-time cluster 0.5d0)
        (answer worker (task worker))
        (is (pb:result-final (result client)))))))

(test of-a-worker-that-another-head-would-fill-for-ever-each-gets-something
  (let ((cluster (new-cluster)))
    (multiple-value-bind (head worker) (add-head cluster :slots 2)
      (let ((client (add-client cluster)) (*waiting* 5))
        (pass-time cluster 1)
        (tell head 1 "w" 2)
        (dotimes (number 3)
          (ask client))
        (let ((first (task worker)))
          (pass-time cluster 1)
          (is (null (tasks worker)) "It gets one that it has no slot for yet, and no more.")
          (answer worker first))
        (is (= 1 (length (tasks worker))))
        (tell head 2 "w" 1)
        (pass-time cluster 0.5d0)
        (is (null (tasks worker)) "Each head has one of the two slots.")))))

(test when-nothing-of-the-other-head-waits-any-more-its-tasks-are-waited-for
  (let ((cluster (new-cluster)))
    (multiple-value-bind (head worker) (add-head cluster :slots 1)
      (pass-time cluster 1)
      (let ((*waiting* 5))
        (tell head 1 "w" 1))
      (tell head 2)
      (ask (add-client cluster))
      (is (null (tasks worker))))))

(test a-worker-that-comes-later-is-filled-too
  (let* ((cluster (new-cluster)) (head (add-head cluster :models '())) (client (add-client cluster)))
    (pass-time cluster 1)
    (tell head 1 "late" 1)
    (let ((late (add-worker cluster :id "late" :slots 1)))
      (ask client)
      (is (null (tasks late))))))

(test a-task-that-both-the-other-head-and-the-worker-tell-of-counts-once
  (let ((cluster (new-cluster)))
    (multiple-value-bind (head worker) (add-head cluster :slots 2)
      (pass-time cluster 1)
      (tell head 1 "w" 1)
      (dotimes (beat 3)
        (say worker pb:heartbeat-running 1))
      (ask (add-client cluster))
      (is (= 1 (length (tasks worker)))))))

(test tasks-of-heads-that-tell-nothing-count-as-heartbeats-tell
  (let ((cluster (new-cluster)))
    (multiple-value-bind (head worker) (add-head cluster :slots 2)
      (pass-time cluster 1)
      (tell head 1 "w" 1)
      (dotimes (beat 3)
        (say worker pb:heartbeat-running 2))
      (ask (add-client cluster))
      (is (null (tasks worker))))))

(test tasks-of-a-head-that-is-lost-count-no-more
  (let ((cluster (new-cluster)))
    (multiple-value-bind (head worker) (add-head cluster :slots 1)
      (pass-time cluster 1)
      (tell head 1 "w" 1)
      (ask (add-client cluster))
      (pass-time cluster 5)
      (is (null (tasks worker)))
      (pass-time cluster 6)
      (is (= 1 (length (tasks worker)))))))

(test without-a-key-workers-have-nobody-on-another-machine-written-to
  (let* ((cluster (new-cluster)) (victim (add-client cluster)))
    (add-worker cluster :heads (list (format-address (member-address victim))))
    (pass-time cluster 10)
    (is (null (received victim +sync+)))))

(test what-comes-from-where-no-head-is-looked-for-is-left-out
  (let* ((cluster (new-cluster)) (client (add-client cluster)))
    (add-worker cluster)
    (pass-time cluster 1)
    (tell client 1 "w" 4)
    (is (= 1 (length (pb:cluster-status-heads (status client)))))))
