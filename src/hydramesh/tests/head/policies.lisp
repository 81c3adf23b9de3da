(defpackage #:hydramesh/tests/head/policies
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/enforcing #:enforce)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:cluster-now #:pass-time #:add-worker #:add-client #:ask #:tasks
                #:task #:answer #:result #:results #:task-error #:unreachable)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Tasks go where the policy in force lets them."))
(in-package #:hydramesh/tests/head/policies)

(fiveam:def-suite head-policies :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite head-policies)

(defun put (cluster text)
  "Have the policy that has what TEXT says decide in CLUSTER."
  (enforce (core-dispatcher (cluster-core cluster))
           (read-policy (format nil "(policy \"a test\" ~A)" text) "test")
           (cluster-now cluster)))

(test a-worker-that-is-excluded-gets-nothing-and-one-that-is-preferred-the-most
  (let* ((cluster (new-cluster))
         (spot (add-worker cluster :id "a" :tags '("spot")))
         (other (add-worker cluster :id "b"))
         (client (add-client cluster)))
    (put cluster "(rule \"no spot\" (exclude (has worker.tags :spot)))")
    (dotimes (count 3)
      (ask client))
    (is (= 3 (length (tasks other))))
    (is (null (tasks spot)))
    (put cluster "(rule \"spot\" (prefer (has worker.tags :spot) 1000))")
    (ask client)
    (is (= 1 (length (tasks spot))))))

(test a-task-that-a-lasting-rule-keeps-from-all-workers-fails-with-its-name
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster)
    (put cluster "(rule \"not here\" (exclude))")
    (ask client)
    (pass-time cluster 15)
    (is (search "not here" (pb:error-message (task-error client))))))

(test a-task-gets-a-fallback-if-nobody-has-its-model
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :models '("small")))
         (client (add-client cluster)))
    (put cluster "(rule \"big\" (when (= task.model \"big\")) (fallback \"small\" (after 5 s)))")
    (ask client :model "big")
    (pass-time cluster 1)
    (is (string= "small" (pb:task-model (task worker))))))

(test no-task-is-lost-when-another-policy-comes
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1))
         (client (add-client cluster)))
    (ask client)
    (ask client)
    (let ((first (task worker)))
      (put cluster "(rule \"any\" (weight 2))")
      (put cluster "(rule \"none at all now\" (when (> head.waiting 100)) (exclude))")
      (answer worker first))
    (pass-time cluster 1)
    (answer worker (task worker))
    (is (= 2 (length (results client))))))

(defun part (worker task index &rest fields)
  (apply #'answer worker task
         :index index
         :text (format nil "~d " index)
         :tokens (make-array 1 :element-type '(unsigned-byte 32) :initial-element index)
         fields))

(defun model (name)
  "Return a loaded model whose weights are known, by its name."
  (pb:make-model-status :name name :state pb:+loaded+ :identity (pb:make-model-identity :weights name)))

(defparameter +big+ "(rule \"big\" (when (= task.model \"big\")) (fallback \"small\" (after 5 s)))")

(test the-first-part-tells-which-model-answers-in-place-of-the-one-asked-for
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :models (list (model "small"))))
         (client (add-client cluster)))
    (put cluster +big+)
    (ask client :model "big" :stream t)
    (pass-time cluster 1)
    (let ((task (task worker)))
      (part worker task 0 :final nil)
      (part worker task 1 :final nil :started-over t)
      (part worker task 2))
    (is (equal '("small" "small" "") (mapcar #'pb:result-model-name (results client))))
    (ask client :model "small")
    (part worker (task worker) 0 :model-name "what a worker says")
    (is (string= "" (pb:result-model-name (result client))))))

(test an-answer-that-another-head-began-with-a-fallback-goes-on-with-it
  (let* ((cluster (new-cluster))
         (big (add-worker cluster :id "big" :models (list (model "big"))))
         (small (add-worker cluster :id "small" :models (list (model "small"))))
         (client (add-client cluster)))
    (flet ((resume (weights)
             (ask client :model "big" :stream t
                         :resume (pb:make-resume :text "0 " :index 1
                                                 :model (pb:make-model-identity :weights weights)))))
      (put cluster +big+)
      (resume "small")
      (is (null (tasks big)))
      (is (string= "small" (pb:task-model (task small))))
      (resume "gone everywhere")
      (is (string= "big" (pb:task-model (task big)))))))

(test a-task-of-which-only-progress-was-told-may-get-a-fallback-and-that-is-told
  (let* ((cluster (new-cluster))
         (big (add-worker cluster :id "big" :models (list (model "big"))))
         (client (add-client cluster)))
    (put cluster +big+)
    (ask client :model "big" :stream t)
    (answer big (task big) :index 0 :final nil :progress (pb:make-progress :phase "load" :done 1 :total 2))
    (let ((small (add-worker cluster :id "small" :models (list (model "small")))))
      (unreachable big)
      (pass-time cluster 1)
      (let ((task (task small)))
        (is (= 1 (pb:resume-index (pb:task-resume task))))
        (part small task 1 :final nil)
        (part small task 2)))
    (is (equal '("" "small" "") (mapcar #'pb:result-model-name (results client))))))
