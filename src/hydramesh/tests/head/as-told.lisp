(defpackage #:hydramesh/tests/head/as-told
  (:use #:cl)
  (:import-from #:fiveam #:is #:signals #:test)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/as-told #:registry-as-told #:unusable-status)
  (:import-from #:hydramesh/head/breaker #:breaker-reason #:breaker-wait)
  (:import-from #:hydramesh/head/limits #:make-head-limits)
  (:import-from #:hydramesh/head/proximity #:proximity-group #:proximity-health)
  (:import-from #:hydramesh/head/registry #:registry-get)
  (:import-from #:hydramesh/head/worker
                #:worker-breaker #:worker-load #:worker-proximity #:worker-rtt #:worker-set-aside-p)
  (:import-from #:hydramesh/policy/local-time #:local-time-in)
  (:import-from #:hydramesh/policy/views #:situation-at #:situation-clock #:situation-weekday)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:ask #:fail-task #:new-cluster #:pass-time #:status #:task)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What a head tells in a status is enough to have its workers again."))
(in-package #:hydramesh/tests/head/as-told)

(fiveam:def-suite as-told :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite as-told)

(defparameter +now+ (seconds 50))

(defun again (status)
  (registry-as-told status (make-head-limits) (seconds 0.05d0) +now+))

(test workers-are-as-near-and-as-busy-as-their-head-told
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :id "near" :rtt 1000 :running 1)
    (add-worker cluster :id "far" :rtt 180000 :models '("n"))
    (pass-time cluster 3)
    (ask client)
    (ask client)
    (let* ((status (status client))
           (registry (again status)))
      (dolist (told (pb:cluster-status-workers status))
        (let ((worker (registry-get registry (pb:heartbeat-worker-id (pb:worker-status-heartbeat told)))))
          (is (= (pb:worker-status-group told) (proximity-group (worker-proximity worker))))
          (is (= (pb:worker-status-rtt-ms told) (/ (worker-rtt worker) 1000)))
          (is (= (1- (pb:worker-status-health told)) (proximity-health (worker-proximity worker))))))
      (is (plusp (proximity-group (worker-proximity (registry-get registry "far")))))
      (is (= 2 (worker-load (registry-get registry "near"))))
      (is (zerop (worker-load (registry-get registry "far")))))))

(test who-is-set-aside-stays-so-for-as-long-and-for-the-same-reason
  (let* ((cluster (new-cluster :max-attempts 1))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (dotimes (count 3)
      (ask client)
      (pass-time cluster 1)
      (fail-task worker (task worker) pb:+internal+))
    (let* ((status (status client))
           (aside (pb:worker-status-set-aside (first (pb:cluster-status-workers status))))
           (again (registry-get (again status) "w")))
      (is (not (null aside)))
      (is (worker-set-aside-p again +now+))
      (is (string= (pb:set-aside-reason aside) (breaker-reason (worker-breaker again))))
      (is (= (* 1000 (pb:set-aside-retry-ms aside)) (breaker-wait (worker-breaker again) +now+))))))

(test a-head-that-tells-of-the-way-alone-has-its-workers-in-groups-too
  (let ((registry (again (pb:make-cluster-status
                          :workers (list (pb:make-worker-status
                                          :heartbeat (pb:make-heartbeat :worker-id "w" :incarnation 1)
                                          :rtt-ms 120d0))))))
    (is (= 2 (proximity-group (worker-proximity (registry-get registry "w")))))))

(test workers-that-no-head-could-have-are-refused
  (flet ((worker (&rest fields)
           (apply #'pb:make-worker-status :heartbeat (pb:make-heartbeat :worker-id "w") fields)))
    (dolist (workers (list (list (pb:make-worker-status))
                           (list (worker) (worker))
                           (list (worker :address "elsewhere"))
                           (list (worker :rtt-ms -1d0))))
      (signals unusable-status
        (again (pb:make-cluster-status :workers workers))))))

(test a-local-time-is-that-of-this-machine
  (let ((situation (situation-at (local-time-in "2026-11-30T18:30"))))
    (is (= (+ (* 18 60) 30) (situation-clock situation)))
    (is (eq :monday (situation-weekday situation))))
  (dolist (text '("" "2026-11-30" "2026-11-31T10:00" "2026-11-30T24:00" "2026-13-01T00:00" "1969-01-01T00:00"
                  "2026-11-30T18:3x" "2026-11-30T18:30Z"))
    (is (null (local-time-in text)))))
