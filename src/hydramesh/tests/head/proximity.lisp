(defpackage #:hydramesh/tests/head/proximity
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-policy #:policy-group-threshold)
  (:import-from #:hydramesh/head/metrics #:metrics-text)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:pass-time #:add-worker #:add-client #:worker-rtt #:move-to
                #:beat #:ask #:tasks #:answer #:status)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What a head knows of the way to its workers, and which tasks it spares that way."))
(in-package #:hydramesh/tests/head/proximity)

(fiveam:def-suite proximity :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite proximity)

(defun milliseconds (number)
  (* 1000 number))

(defun worker-of (cluster id)
  (find id (pb:cluster-status-workers (status (add-client cluster)))
        :key (lambda (worker) (pb:heartbeat-worker-id (pb:worker-status-heartbeat worker)))
        :test #'string=))

(defun stands (cluster id)
  "Return the group and the health of the worker with that id."
  (let ((worker (worker-of cluster id)))
    (list (pb:worker-status-group worker) (pb:enum-name 'pb:health (pb:worker-status-health worker)))))

(defun far-and-near (&rest fields)
  "Return a cluster with a worker 80 ms away, which came first, and one at hand; and both."
  (let* ((cluster (new-cluster))
         (far (apply #'add-worker cluster :id "far" :rtt (milliseconds 80) fields))
         (near (apply #'add-worker cluster :id "near" fields)))
    (pass-time cluster 3)
    (values cluster far near)))

(test workers-are-in-groups-by-their-distance
  (let ((cluster (far-and-near)))
    (is (equal '(0 "HEALTHY") (stands cluster "near")))
    (is (equal '(1 "HEALTHY") (stands cluster "far")))
    (is (= 80 (pb:worker-status-rtt-ms (worker-of cluster "far"))))
    (setf (policy-group-threshold (dispatcher-policy (core-dispatcher (cluster-core cluster))))
          (milliseconds 20))
    (pass-time cluster 2)
    (is (equal '(4 "HEALTHY") (stands cluster "far")))))

(test a-worker-that-was-not-measured-is-in-no-group
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "x" :rtt nil)
    (is (equal '(nil "HEALTHY") (stands cluster "x")))))

(test a-worker-with-another-address-is-measured-anew
  (multiple-value-bind (cluster far) (far-and-near)
    (move-to far 7)
    (setf (worker-rtt far) nil)
    (beat far)
    (is (equal '(nil "HEALTHY") (stands cluster "far")))))

(test a-worker-that-stops-answering-is-degraded-then-unreachable-until-it-answers-twice
  (multiple-value-bind (cluster far near) (far-and-near)
    (declare (ignore near))
    (setf (worker-rtt far) nil)
    (let ((seen (loop repeat 60
                      do (pass-time cluster 0.1)
                      collect (stands cluster "far") into stands
                      finally (return (remove-duplicates stands :test #'equal)))))
      (is (equal '((1 "HEALTHY") (1 "DEGRADED") (-1 "UNREACHABLE")) seen)))
    (setf (worker-rtt far) (milliseconds 80))
    (let ((seen (loop repeat 40
                      do (pass-time cluster 0.1)
                      collect (stands cluster "far") into stands
                      finally (return (remove-duplicates stands :test #'equal)))))
      (is (equal '((-1 "UNREACHABLE") (1 "HEALTHY")) seen)))))

(test one-answer-that-is-missing-does-not-take-a-worker-from-its-group
  (multiple-value-bind (cluster far near) (far-and-near)
    (declare (ignore far))
    (setf (worker-rtt near) nil)
    (loop until (equal '(0 "DEGRADED") (stands cluster "near"))
          do (pass-time cluster 0.1))
    (setf (worker-rtt near) 1000)
    (pass-time cluster 3)
    (is (equal '(0 "HEALTHY") (stands cluster "near")))))

;;; Placement

(defun chat (&optional (tokens 0))
  (pb:make-text-task :messages (list (pb:make-chat-message :role "user" :content "Hello"))
                     :max-tokens tokens))

(defun served (cluster client workers count text &optional stream)
  "Ask COUNT times for TEXT, one after the other; return how often each of WORKERS was asked."
  (let ((counts (make-list (length workers) :initial-element 0)))
    (loop repeat count
          do (ask client :text text :stream stream)
             (loop for worker in workers
                   for place from 0
                   do (dolist (task (tasks worker))
                        (incf (nth place counts))
                        (answer worker task)))
             (pass-time cluster 0.1))
    counts))

(test short-tasks-and-conversations-go-to-the-near-worker-and-long-ones-to-all
  (multiple-value-bind (cluster far near) (far-and-near :models '("m") :rate 50d0)
    (let ((client (add-client cluster)))
      (flet ((served (text stream) (served cluster client (list far near) 10 text stream)))
        (is (equal '(0 10) (served (pb:make-text-task :prompt "a" :max-tokens 50) nil)))
        (is (equal '(0 10) (served (chat 1000) t)))
        (is (equal '(5 5) (served (chat 1000) nil)))
        (is (equal '(5 5) (served (chat 4000) t)))
        (is (equal '(5 5) (served (pb:make-text-task :prompt "a" :max-tokens 1000) t)))))))

(test a-short-task-goes-far-when-the-wait-for-the-near-worker-is-longer-than-the-way
  (multiple-value-bind (cluster far near) (far-and-near :models '("m") :rate 50d0 :slots 4)
    (let ((client (add-client cluster)))
      ;; Alone it takes 0.2 s; beside another one 0.05 s more, which is the distance of the far group.
      (loop repeat 3 do (ask client :text (pb:make-text-task :prompt "a" :max-tokens 10)))
      (is (equal '(1 2) (list (length (tasks far)) (length (tasks near))))))))

(test a-worker-that-cannot-be-reached-gets-tasks-of-no-length-while-another-can
  (multiple-value-bind (cluster far near) (far-and-near :models '("m") :rate 50d0)
    (setf (worker-rtt near) nil)
    (pass-time cluster 6)
    (is (equal '(-1 "UNREACHABLE") (stands cluster "near")))
    (let ((client (add-client cluster)))
      (is (equal '(10 0) (served cluster client (list far near) 10 (chat 50))))
      (is (equal '(4 0) (served cluster client (list far near) 4
                                (pb:make-text-task :prompt "a" :max-tokens 2000)))))))

;;; Explanations

(defun reason-of (cluster text id)
  "Ask for TEXT; return what is said of the worker with that ID for that task."
  (let ((client (add-client cluster)))
    (ask client :text text)
    (let* ((task (first (last (pb:cluster-status-tasks (status client :tasks t)))))
           (explained (pb:cluster-status-explanation
                       (status client :explain (pb:task-status-number task)))))
      (pb:verdict-reason (find id (pb:explanation-verdicts explained)
                               :key #'pb:verdict-worker-id :test #'string=)))))

(test an-explanation-tells-what-is-lost-by-the-way
  (multiple-value-bind (cluster far) (far-and-near :models '("m") :rate 50d0)
    (is (search "0.05 s of which as it is in group 1" (reason-of cluster (chat 50) "far")))
    (is (not (search "of which" (reason-of cluster (chat 4000) "far"))))
    (setf (worker-rtt far) nil)
    (pass-time cluster 6)
    (is (search "8.00 s of which as it answers no PINGs" (reason-of cluster (chat 4000) "far")))))

;;; Roles

(defun linked-to (&rest ids)
  (pb:make-shard-offer :links (loop for id in ids
                                    collect (pb:make-shard-link :worker-id id :rtt-ms 0.2d0
                                                                :bytes-per-second 1d9))))

(test a-worker-that-reaches-another-is-a-relay
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "a" :shard (linked-to "b" "nobody"))
    (add-worker cluster :id "b")
    (add-worker cluster :id "c")
    (pass-time cluster 2)
    (is (equal '("RELAY" "RELAY" "LEAF")
               (loop for id in '("a" "b" "c")
                     collect (pb:enum-name 'pb:role (pb:worker-status-role (worker-of cluster id))))))))

(test metrics-tell-how-workers-are-reached
  (let ((text (metrics-text (cluster-core (far-and-near)) '())))
    (is (search "daiic_head_reached_workers{group=\"0\",health=\"healthy\"} 1" text))
    (is (search "daiic_head_reached_workers{group=\"1\",health=\"healthy\"} 1" text))))
