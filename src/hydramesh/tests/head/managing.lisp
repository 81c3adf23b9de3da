(defpackage #:hydramesh/tests/head/managing
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:add-worker #:add-client #:ask #:task #:tasks #:task-error #:task-errors)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "A task that manages a model goes to the worker that it names, and to no other."))
(in-package #:hydramesh/tests/head/managing)

(fiveam:def-suite managing :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite managing)

(defconstant +gib+ (ash 1 30))

(defun model (&key (needs 0))
  (pb:make-model-status :name "m" :kind pb:+text+ :state pb:+available+ :needs needs))

(defun deletion ()
  (pb:make-manage-task :action pb:+manage-task-delete+))

(test it-goes-to-the-worker-that-it-names-though-that-cannot-hold-the-model
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "a" :models (list (model)))
    (let ((small (add-worker cluster :id "b"
                                     :models (list (model :needs (* 10 +gib+)))
                                     :ram (pb:make-memory :total +gib+ :free +gib+)))
          (client (add-client cluster)))
      (ask client :model "m" :worker-id "b" :manage (deletion))
      (is (= pb:+manage-task-delete+ (pb:manage-task-action (pb:task-manage (task small)))))
      (is (null (task-errors client))))))

(test without-a-worker-it-is-refused
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :id "a" :models (list (model))))
         (client (add-client cluster)))
    (ask client :model "m" :manage (deletion))
    (is (= pb:+bad-request+ (pb:error-code (task-error client))))
    (is (null (tasks worker)))))

(test nobody-downloads-a-model-for-it
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :id "a" :models '() :can-download t))
         (client (add-client cluster)))
    (ask client :model "owner/name" :worker-id "a" :manage (deletion))
    (is (= 1 (length (task-errors client))))
    (is (null (tasks worker)))))
