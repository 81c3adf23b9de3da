(defpackage #:hydramesh/tests/head/metrics
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/head/core #:core-statistics)
  (:import-from #:hydramesh/head/metrics #:metrics-text)
  (:import-from #:hydramesh/head/statistics #:statistics-total #:durations-add)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:add-worker #:add-client #:ask #:task #:answer #:fail-task)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What Prometheus reads."))
(in-package #:hydramesh/tests/head/metrics)

(fiveam:def-suite metrics :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite metrics)

(defun text-of (cluster)
  (metrics-text (cluster-core cluster) '(("datagrams_sent" "Datagrams sent." 7))))

(defun line-p (line text)
  "Return whether LINE is one of TEXT."
  (with-input-from-string (in text)
    (loop for read = (read-line in nil)
          while read
            thereis (string= line read))))

(test tasks-are-counted-by-kind-and-outcome
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (ask client)
    (answer worker (task worker))
    (ask client)
    (fail-task worker (task worker) pb:+bad-request+)
    (ask client :embed (pb:make-embed-task :inputs '("a")))
    (answer worker (task worker))
    (let ((text (text-of cluster)))
      (dolist (line '("# TYPE daiic_head_tasks counter"
                      "daiic_head_tasks_total{kind=\"embed\",outcome=\"DONE\"} 1"
                      "daiic_head_tasks_total{kind=\"text\",outcome=\"DONE\"} 1"
                      "daiic_head_tasks_total{kind=\"text\",outcome=\"BAD_REQUEST\"} 1"
                      "daiic_head_moved_total 0"
                      "daiic_head_queue_size 100"
                      "daiic_head_task_seconds_count 3"))
        (is (line-p line text))))))

(test workers-are-counted-by-state-and-backend-and-by-what-they-can-do
  (let ((cluster (new-cluster))
        (model (pb:make-model-status :name "m" :kind pb:+embedding+ :state pb:+loaded+)))
    (add-worker cluster :id "a" :backend pb:+cuda+ :models (list model))
    (add-worker cluster :id "b" :backend pb:+cuda+ :models (list model))
    (add-worker cluster :id "c" :backend 99 :state pb:+starting+ :models (list model))
    (let ((text (text-of cluster)))
      (is (line-p "daiic_head_workers{backend=\"cuda\",state=\"ready\"} 2" text))
      (is (line-p "daiic_head_workers{backend=\"unknown\",state=\"starting\"} 1" text))
      (is (line-p "daiic_head_capable_workers{capability=\"embed\"} 2" text)))))

(test times-are-in-buckets-of-seconds
  (let* ((cluster (new-cluster))
         (durations (statistics-total (core-statistics (cluster-core cluster)))))
    (dolist (time '(1000 200000 1234567250000))
      (durations-add durations time))
    (let ((text (text-of cluster)))
      (dolist (line '("daiic_head_task_seconds_bucket{le=\"0.001\"} 1"
                      "daiic_head_task_seconds_bucket{le=\"0.5\"} 2"
                      "daiic_head_task_seconds_bucket{le=\"300.0\"} 2"
                      "daiic_head_task_seconds_bucket{le=\"+Inf\"} 3"
                      "daiic_head_task_seconds_sum 1234567.451"
                      "daiic_head_queue_seconds_sum 0.0"))
        (is (line-p line text))))))

(test the-networks-counters-are-there-and-the-text-ends
  (let ((text (text-of (new-cluster))))
    (is (line-p "# HELP daiic_wire_datagrams_sent Datagrams sent" text))
    (is (line-p "daiic_wire_datagrams_sent_total 7" text))
    (is (string= (format nil "# EOF~%") (subseq text (- (length text) 6))))))
