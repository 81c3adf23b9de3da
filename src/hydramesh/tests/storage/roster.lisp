(defpackage #:hydramesh/tests/storage/roster
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-workers)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/archive #:open-archive #:archive-note-workers #:archive-write)
  (:import-from #:hydramesh/storage/limits #:+worker-chunks+)
  (:import-from #:hydramesh/storage/roster
                #:roster-changes #:change-at #:change-kind #:change-worker #:change-heartbeat #:change-rtt
                #:change-silent #:change-terms #:make-terms #:terms-hedge-share #:terms-queue-size)
  (:import-from #:hydramesh/storage/roster-chunks #:read-roster)
  (:import-from #:hydramesh/storage/store
                #:store-list #:store-read #:storage-damaged #:storage-failure #:storage-newer #:+workers+)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:cluster-now #:pass-time #:add-worker #:say #:beat
                #:worker-heartbeat #:restart-worker #:die)
  (:import-from #:hydramesh/tests/storage/archive #:make-fake)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "That it is kept what workers were, and when."))
(in-package #:hydramesh/tests/storage/roster)

(fiveam:def-suite roster :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite roster)

(defconstant +start+ (* 19000 24 3600 1000000))

(defun at (cluster)
  (+ +start+ (cluster-now cluster)))

(defun note (archive cluster &optional (queue-size 100))
  (archive-note-workers archive
                        (registry-workers (dispatcher-workers (core-dispatcher (cluster-core cluster))))
                        (make-terms :worker-timeout 10000000 :queue-size queue-size :task-deadline 600000000
                                    :max-attempts 3 :group-threshold 50000 :failures 3 :pause 5000000
                                    :longest-pause 300000000 :hedge-share 100000 :hedge-quantile 950000
                                    :hedge-longest 10000000)
                        (cluster-now cluster)
                        (at cluster)))

(defun recorded (archive store cluster &key (since 0))
  "Return (kind worker) of all changes since that time."
  (archive-write archive (at cluster) :all t)
  (loop for change in (read-roster store since)
        collect (list (change-kind change) (change-worker change))))

(defun model (name &key (state pb:+loaded+) (rate 50d0))
  (pb:make-model-status :name name :kind pb:+text+ :state state :rate rate :needs 1000))

(test who-comes-changes-and-leaves-is-kept
  (let* ((cluster (new-cluster)) (store (make-fake)) (archive (open-archive store))
         (worker (add-worker cluster :id "one" :models (list (model "m")))))
    (add-worker cluster :id "two")
    (note archive cluster)
    (pass-time cluster 2)
    (note archive cluster)
    (say worker pb:heartbeat-models (list (model "m") (model "n" :state pb:+loading+)))
    (note archive cluster)
    (restart-worker worker)
    (note archive cluster)
    (die worker)
    (pass-time cluster 12)
    (note archive cluster 7)
    (is (equal '((:started "") (:terms "") (:is "one") (:is "two") (:is "one") (:gone "one") (:is "one")
                 (:terms "") (:gone "one"))
               (recorded archive store cluster)))
    (let ((changes (read-roster store 0)))
      (is (apply #'<= (mapcar #'change-at changes)))
      (is (= 7 (terms-queue-size (change-terms (eighth changes)))))
      (is (= 100000 (terms-hedge-share (change-terms (eighth changes)))))
      (is (< (seconds 10) (change-silent (ninth changes)) (seconds 13)))
      (is (equal '("m" "n")
                 (mapcar #'pb:model-status-name (pb:heartbeat-models (change-heartbeat (fifth changes)))))))))

(test workers-heard-before-the-start-was-noted-come-after-it
  (let* ((cluster (new-cluster)) (store (make-fake)) (archive (open-archive store)))
    (add-worker cluster :id "one")
    (incf (cluster-now cluster) (seconds 1))
    (note archive cluster)
    (is (equal '((:started "") (:terms "") (:is "one")) (recorded archive store cluster)))))

(test what-hardly-changes-is-no-change
  (let* ((cluster (new-cluster)) (store (make-fake)) (archive (open-archive store))
         (worker (add-worker cluster :id "one" :models (list (model "m" :rate 50d0))
                                     :ram (pb:make-memory :total 1600 :free 800))))
    (flet ((say-and-note (rate free)
             (say worker
                  pb:heartbeat-models (list (model "m" :rate rate))
                  pb:heartbeat-ram (pb:make-memory :total 1600 :free free)
                  pb:heartbeat-running (random 5)
                  pb:heartbeat-tasks-done (random 1000))
             (note archive cluster)))
      (note archive cluster)
      (loop for rate from 46 to 54 do (say-and-note (float rate 1d0) (+ 850 rate -50)))
      (is (= 3 (length (recorded archive store cluster))))
      ;; A rate that drifts is noted once it is far from the one that was.
      (loop for rate from 54 to 60 do (say-and-note (float rate 1d0) 850))
      (is (= 4 (length (recorded archive store cluster))))
      (say-and-note 56d0 1200)
      (is (= 5 (length (recorded archive store cluster)))))))

(test distances-are-kept
  (let* ((cluster (new-cluster)) (store (make-fake)) (archive (open-archive store)))
    (add-worker cluster :id "far" :rtt 80000)
    (note archive cluster)
    (recorded archive store cluster)
    (is (= 80000 (change-rtt (third (read-roster store 0)))))))

(test every-chunk-says-what-was-so-when-it-began-and-few-are-kept
  (let* ((cluster (new-cluster)) (store (make-fake)) (archive (open-archive store))
         (name (make-string 200 :initial-element #\n))
         (worker (add-worker cluster :id "one")))
    (add-worker cluster :id "two")
    (loop for turn below 40000
          do (setf (pb:heartbeat-name (worker-heartbeat worker)) (format nil "~A ~D" name turn))
             (beat worker)
             (incf (cluster-now cluster) 1000)
             (note archive cluster)
             (when (zerop (mod turn 100))
               (archive-write archive (at cluster))))
    (archive-write archive (at cluster) :all t)
    (let ((chunks (store-list store +workers+)))
      (is (<= 10 (length chunks) (+ 2 +worker-chunks+)))
      (dolist (number (rest chunks))
        (is (equal '("" "one" "two")
                   (loop for change in (roster-changes (store-read store +workers+ number))
                         repeat 3 collect (change-worker change)))))
      ;; What was so before is in the chunk that was open then.
      (let ((changes (read-roster store (* 1000 (1+ (first (last chunks)))))))
        (is (<= (- (* 1000 (first (last chunks))) (seconds 1)) (change-at (first changes))))))))

(test damaged-changes-are-noticed
  (let* ((cluster (new-cluster)) (store (make-fake)) (archive (open-archive store))
         (state (sb-ext:seed-random-state 1)))
    (add-worker cluster :id "one" :models (list (model "m") (model "n")) :tags '("gpu"))
    (note archive cluster)
    (archive-write archive (at cluster))
    (let ((octets (store-read store +workers+ (first (store-list store +workers+)))))
      (signals storage-damaged (roster-changes (subseq octets 0 (1- (length octets)))))
      (loop repeat 2000
            do (let ((changed (copy-seq octets)))
                 (setf (aref changed (random (length changed) state)) (random 256 state))
                 (handler-case (roster-changes changed)
                   (storage-failure ()))))
      (setf (aref octets 0) 99)
      (signals storage-newer (roster-changes octets)))))
