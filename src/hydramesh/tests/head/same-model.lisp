(defpackage #:hydramesh/tests/head/same-model
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/model-identity #:same-model-p)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:pass-time #:add-worker #:add-client #:unreachable
                #:ask #:task #:tasks #:answer #:results)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "An answer goes on where the same model is, or starts over."))
(in-package #:hydramesh/tests/head/same-model)

(fiveam:def-suite same-model :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite same-model)

(defun identity-of (weights)
  (pb:make-model-identity :weights weights :tokenizer "t" :quantization "4bit"))

(defun loaded (identity &optional (rate 0d0))
  (list (pb:make-model-status :name "m" :state pb:+loaded+ :kind pb:+text+ :identity identity :rate rate)))

(defun add-with (cluster id weights &rest fields &key (rate 0d0) &allow-other-keys)
  "Add a worker whose model is known by WEIGHTS, NIL if it tells nothing."
  (remf fields :rate)
  (apply #'add-worker cluster :id id :models (loaded (and weights (identity-of weights)) rate) fields))

(defun tokens (&rest tokens)
  (make-array (length tokens) :element-type '(unsigned-byte 32) :initial-contents tokens))

(defun part (worker task index &rest fields)
  (apply #'answer worker task :index index :final nil :text (format nil "~D " index)
                              :tokens (tokens index) fields))

(defun begin (client worker)
  "Let CLIENT have two tokens of a text that the model of the weights \"one\" makes; return the task."
  (ask client :stream t)
  (let ((task (task worker)))
    (part worker task 0 :model (identity-of "one"))
    (part worker task 1)
    task))

(defun made-by (task)
  (pb:model-identity-weights (pb:resume-model (pb:task-resume task))))

(test what-either-does-not-tell-is-equal
  (let ((full (identity-of "one"))
        (part (pb:make-model-identity :tokenizer "t"))
        (other (pb:make-model-identity :weights "other" :quantization "8bit")))
    (is (not (same-model-p full other)))
    (is (not (same-model-p (pb:make-model-identity :weights "one" :precision "float32")
                           (pb:make-model-identity :weights "one" :precision "bfloat16"))))
    (is (same-model-p (pb:make-model-identity :weights "one" :precision "float32") full))
    (is (same-model-p full part))
    (is (same-model-p part other))
    (is (same-model-p nil full))
    (is (same-model-p full nil))))

(test the-head-tells-the-next-worker-which-model-made-the-tokens
  (let* ((cluster (new-cluster))
         (first (add-with cluster "first" "one")))
    (begin (add-client cluster) first)
    (let ((second (add-with cluster "second" "one")))
      (unreachable first)
      (let* ((task (task second))
             (resume (pb:task-resume task)))
        (is (equalp (tokens 0 1) (pb:resume-tokens resume)))
        (is (equal '("0 1 " 2) (list (pb:resume-text resume) (pb:resume-index resume))))
        (is (string= "one" (made-by task)))))))

(test a-worker-with-an-equal-model-is-preferred-to-a-faster-one-with-another
  (dolist (equal '("one" nil))
    (let* ((cluster (new-cluster))
           (first (add-with cluster "first" "one")))
      (begin (add-client cluster) first)
      (let ((unequal (add-with cluster "unequal" "other" :rate 1000d0))
            (same (add-with cluster "same" equal)))
        (unreachable first)
        (is (tasks same))
        (is (null (tasks unequal)))))))

(test an-answer-waits-for-the-worker-with-an-equal-model
  (let* ((cluster (new-cluster))
         (first (add-with cluster "first" "one"))
         (client (add-client cluster)))
    (begin client first)
    (let ((same (add-with cluster "same" "one" :slots 1)))
      (ask client :worker-id "same")
      (let ((busy-with (task same))
            (unequal (add-with cluster "unequal" "other")))
        (unreachable first)
        (pass-time cluster 5)
        (is (null (tasks unequal)))
        (answer same busy-with)
        (is (= 2 (pb:resume-index (pb:task-resume (task same)))))))))

(test another-model-takes-over-when-no-equal-one-is-there
  (let* ((cluster (new-cluster))
         (first (add-with cluster "first" "one")))
    (begin (add-client cluster) first)
    (let ((unequal (add-with cluster "unequal" "other")))
      (unreachable first)
      (is (string= "one" (made-by (task unequal)))))))

(test an-answer-without-tokens-goes-wherever-it-is-done-first
  (let* ((cluster (new-cluster))
         (first (add-with cluster "first" "one")))
    (ask (add-client cluster) :stream t)
    (answer first (task first) :index 0 :final nil :model (identity-of "one")
                               :progress (pb:make-progress :phase "load" :done 1))
    (let ((faster (add-with cluster "faster" "other" :rate 1000d0)))
      (add-with cluster "slower" "one" :rate 1d0)
      (unreachable first)
      (is (tasks faster)))))

(test a-part-that-starts-over-is-passed-on-and-voids-what-came-before
  (let* ((cluster (new-cluster))
         (first (add-with cluster "first" "one"))
         (client (add-client cluster)))
    (begin client first)
    (let ((second (add-with cluster "second" "other")))
      (unreachable first)
      (answer second (task second) :index 2 :text "a " :tokens (tokens 7) :started-over t :final nil
                                   :model (identity-of "other"))
      (let ((third (add-with cluster "third" "other")))
        (unreachable second)
        (let* ((task (task third))
               (resume (pb:task-resume task)))
          (is (equal '("a " 3) (list (pb:resume-text resume) (pb:resume-index resume))))
          (is (string= "other" (made-by task)))
          (answer third task :index 3 :text "b")
          (let ((parts (results client)))
            (is (equal '(0 1 2 3) (mapcar #'pb:result-index parts)))
            (is (equal '(nil nil t nil) (mapcar #'pb:result-started-over parts)))))))))

(test a-client-that-comes-from-another-head-is-sent-to-the-same-model
  (let ((cluster (new-cluster)))
    (add-with cluster "unequal" "other" :rate 1000d0)
    (let ((same (add-with cluster "same" "one")))
      (ask (add-client cluster)
           :resume (pb:make-resume :tokens (tokens 1 2) :text "ab" :index 2 :model (identity-of "one")))
      (is (string= "one" (made-by (task same)))))))

(test a-waiting-answer-of-one-model-holds-up-no-other-task
  (let* ((cluster (new-cluster))
         (same (add-with cluster "same" "one" :slots 1))
         (client (add-client cluster)))
    (ask client :worker-id "same")
    (let ((unequal (add-with cluster "unequal" "other" :slots 2)))
      (ask client :resume (pb:make-resume :tokens (tokens 1) :text "a" :index 1 :model (identity-of "one")))
      (ask client)
      (is (= 1 (length (tasks same))))
      (is (equal '(nil) (mapcar #'pb:task-resume (tasks unequal)))))))
