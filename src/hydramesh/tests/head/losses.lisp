(defpackage #:hydramesh/tests/head/losses
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:answer #:ask #:beat #:cancelled #:code-name #:die
                #:fail-task #:member-inbox #:move-to #:new-cluster #:pass-time #:restart-worker
                #:result #:results #:say #:status #:task #:task-error #:task-errors #:unreachable)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What happens to tasks when workers fail, go silent, restart, move or leave."))
(in-package #:hydramesh/tests/head/losses)

(fiveam:def-suite losses :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite losses)

(defun part (worker task index &rest fields)
  (apply #'answer worker task
         :index index
         :text (format nil "~d " index)
         :tokens (make-array 1 :element-type '(unsigned-byte 32) :initial-element index)
         fields))

(defun begin-stream (client worker)
  "Let CLIENT have three parts of a text; return the worker's task."
  (ask client :stream t)
  (let ((task (task worker)))
    (dotimes (index 3 task)
      (part worker task index :final nil))))

(defun end-stream (worker)
  "Go on with the text from where it broke off; return the task."
  (let ((task (task worker)))
    (part worker task (pb:resume-index (pb:task-resume task)))
    task))

(defun text-of (results)
  (format nil "~{~a~}" (mapcar #'pb:result-text results)))

(test a-stream-goes-on-elsewhere-without-break-or-repetition
  (dolist (how (list (lambda (cluster worker) (die worker) (pass-time cluster 10.1d0))
                     (lambda (cluster worker) (declare (ignore cluster)) (unreachable worker))
                     (lambda (cluster worker) (declare (ignore cluster)) (restart-worker worker))
                     (lambda (cluster worker)
                       (declare (ignore cluster))
                       (say worker pb:heartbeat-state pb:+stopped+))))
    (let* ((cluster (new-cluster))
           (lost (add-worker cluster :id "lost" :rate 9d0))
           (client (add-client cluster)))
      (begin-stream client lost)
      (let ((other (add-worker cluster :id "other" :rate 1d0)))
        (funcall how cluster lost)
        (let ((resume (pb:task-resume (end-stream (if (member-inbox other) other lost)))))
          (is (equalp #(0 1 2) (pb:resume-tokens resume)))
          (is (string= "0 1 2 " (pb:resume-text resume)))))
      (let ((results (results client)))
        (is (string= "0 1 2 3 " (text-of results)))
        (is (equal '(0 1 2 3) (mapcar #'pb:result-index results))))
      (is (= 1 (pb:cluster-status-tasks-moved (status client)))))))

(test a-task-that-failed-on-one-worker-is-tried-on-another
  (dolist (code (list pb:+internal+ pb:+out-of-memory+ pb:+shutting-down+ pb:+worker-lost+))
    (let* ((cluster (new-cluster))
           (first (add-worker cluster :id "first"))
           (client (add-client cluster))
           (task (begin-stream client first))
           (second (add-worker cluster :id "second")))
      (fail-task first task code)
      (answer first task :index 3 :text "again " :final nil) ; too late
      (end-stream second)
      (is (string= "0 1 2 3 " (text-of (results client)))))))

(test a-task-is-not-tried-without-end
  (let* ((cluster (new-cluster :max-attempts 2))
         (workers (loop for id in '("1" "2" "3") collect (add-worker cluster :id id)))
         (client (add-client cluster)))
    (ask client)
    (is (= 2 (loop for working = (find-if #'member-inbox workers)
                   while working
                   do (fail-task working (task working) pb:+internal+ "fault")
                   count t)))
    (is (string= "fault" (pb:error-message (task-error client))))))

(test a-task-that-fails-on-the-only-worker-fails-with-what-that-says
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (ask client)
    (fail-task worker (task worker) pb:+out-of-memory+ "a bigger graphics card is needed")
    (is (string= "a bigger graphics card is needed" (pb:error-message (task-error client))))))

(test a-task-of-the-only-worker-waits-for-its-restart-but-not-for-ever
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (begin-stream client worker)
    (die worker)
    (pass-time cluster 15)
    (is (null (task-errors client)))
    (restart-worker worker)
    (end-stream worker)
    (is (string= "0 1 2 3 " (text-of (results client))))
    (ask client)
    (pass-time cluster 21)
    (is (string= "WORKER_LOST" (code-name (task-error client))))))

(test polite-refusals-do-not-count-as-attempts
  (let* ((cluster (new-cluster :max-attempts 1))
         (leaving (add-worker cluster :id "leaving" :rate 9d0))
         (staying (add-worker cluster :id "staying" :rate 1d0))
         (client (add-client cluster)))
    (ask client)
    (fail-task leaving (task leaving) pb:+shutting-down+)
    (answer staying (task staying) :text "here")
    (is (string= "here" (pb:result-text (result client))))
    (ask client)
    (is (task staying) "The worker that said it shuts down gets nothing more.")))

(test a-worker-with-a-new-address-keeps-its-tasks
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (ask client)
    (let ((task (task worker)))
      (move-to worker 2)
      (beat worker)
      (answer worker task :text "hi")
      (is (string= "hi" (pb:result-text (result client)))))))

(test an-answer-goes-on-when-its-worker-moves-in-the-middle
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (ask client :stream t)
    (let ((task (task worker)))
      (part worker task 0 :final nil)
      (move-to worker 77)
      (part worker task 1 :final nil)   ; lost: nobody knows that address
      (beat worker)
      (is (equal (list (pb:task-id task)) (cancelled worker))))
    (let ((again (task worker)))
      (is (= 1 (pb:resume-index (pb:task-resume again))))
      (part worker again 1))
    (is (string= "0 1 " (text-of (results client))))))
