(defpackage #:hydramesh/tests/head/explaining
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:answer #:ask #:new-cluster #:restart-head #:status #:task)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What a head tells of its tasks, and of why they are where they are."))
(in-package #:hydramesh/tests/head/explaining)

(fiveam:def-suite explaining :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite explaining)

(defun tasks (client)
  (pb:cluster-status-tasks (status client :tasks t)))

(defun explanation (client number)
  (pb:cluster-status-explanation (status client :explain number)))

(defun verdict-on (worker-id explanation)
  (find worker-id (pb:explanation-verdicts explanation) :key #'pb:verdict-worker-id :test #'string=))

(test a-status-tells-of-tasks-only-if-it-is-asked-to
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1))
         (client (add-client cluster)))
    (ask client)
    (ask client)
    (is (null (pb:cluster-status-tasks (status client))))
    (destructuring-bind (running waiting) (tasks client)
      (is (equal '("text" "m" "w" 1)
                 (list (pb:task-status-kind running) (pb:task-status-model running)
                       (pb:task-status-worker-id running) (pb:task-status-attempts running))))
      (is (equal '("" 0) (list (pb:task-status-worker-id waiting) (pb:task-status-attempts waiting))))
      (answer worker (task worker))
      (is (equal (list (pb:task-status-number waiting)) (mapcar #'pb:task-status-number (tasks client)))))))

(test the-explanation-of-a-running-task-tells-why-it-went-there-and-how-others-fare-now
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :id "fast" :rate 40d0)
    (add-worker cluster :id "slow" :rate 10d0)
    (add-worker cluster :id "other" :models '("n"))
    (ask client)
    (let* ((explanation (explanation client (pb:task-status-number (first (tasks client)))))
           (verdicts (pb:explanation-verdicts explanation)))
      (is (equal '("fast" "slow" "other") (mapcar #'pb:verdict-worker-id verdicts)))
      (is (equal '(t nil nil) (mapcar #'pb:verdict-chosen verdicts)))
      (is (search "the best of 2 free workers" (pb:verdict-reason (first verdicts))))
      (is (search "(next: slow, " (pb:verdict-reason (first verdicts))))
      (is (< 0 (pb:verdict-seconds (first verdicts)) (pb:verdict-seconds (second verdicts))))
      (is (search "does not have the model" (pb:verdict-reason (third verdicts))))
      (is (zerop (pb:verdict-seconds (third verdicts)))))))

(test an-explanation-tells-how-much-of-the-prompt-a-worker-has-read-before
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :id "reader" :slots 1))
         (client (add-client cluster))
         (prefix (make-array 32 :element-type '(unsigned-byte 8) :initial-element 7))
         (text (pb:make-text-task :prompt (make-string 2000 :initial-element #\x))))
    (add-worker cluster :id "other" :slots 1)
    (ask client :text text :prefix prefix)
    (answer worker (task worker) :usage (pb:make-usage :prompt-tokens 500))
    (ask client :text text :prefix prefix)
    (let ((explanation (explanation client (pb:task-status-number (first (tasks client))))))
      (is (pb:verdict-chosen (verdict-on "reader" explanation)))
      (is (search "has read 50 % of the prompt before"
                  (pb:verdict-reason (verdict-on "reader" explanation))))
      (is (not (search "has read" (pb:verdict-reason (verdict-on "other" explanation))))))))

(test nothing-is-explained-of-a-task-that-is-not-there
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster)
    (is (null (explanation client 77)))))

(test what-a-client-names-is-cut-in-explanations
  (let* ((cluster (new-cluster)) (client (add-client cluster)))
    (restart-head cluster)              ; workers may still come that could run anything
    (add-worker cluster)
    (let ((long (make-string 100000 :initial-element #\x)))
      (ask client :worker-id long)
      (ask client :tags (list long)))
    (dolist (task (tasks client))
      (is (> 400 (length (pb:verdict-reason (verdict-on "w" (explanation client
                                                                         (pb:task-status-number task))))))))))
