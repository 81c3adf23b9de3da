(defpackage #:hydramesh/tests/head/registry
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/events #:+heartbeat+)
  (:import-from #:hydramesh/head/core #:core-statistics)
  (:import-from #:hydramesh/head/heartbeats #:read-heartbeat)
  (:import-from #:hydramesh/head/limits #:+limits+ #:make-head-limits)
  (:import-from #:hydramesh/head/statistics #:statistics-malformed #:statistics-refused-heartbeats)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:pass-time #:add-worker #:add-client #:say #:beat
                #:restart-worker #:die #:send #:ask #:status #:task #:answer #:result
                #:task-error)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Which workers a head knows, and what it keeps of what they say."))
(in-package #:hydramesh/tests/head/registry)

(fiveam:def-suite registry :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite registry)

(defun workers-of (cluster)
  (pb:cluster-status-workers (status (add-client cluster))))

(defun ids (cluster)
  (sort (loop for worker in (workers-of cluster)
              collect (pb:heartbeat-worker-id (pb:worker-status-heartbeat worker)))
        #'string<))

(defun counted (cluster reader)
  (funcall reader (core-statistics (cluster-core cluster))))

(test a-worker-is-what-its-last-heartbeat-says
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1)))
    (say worker pb:heartbeat-name "other" pb:heartbeat-slots 7)
    (let ((said (pb:worker-status-heartbeat (first (workers-of cluster)))))
      (is (equal '("other" 7) (list (pb:heartbeat-name said) (pb:heartbeat-slots said)))))))

(test workers-are-listed-by-name
  (let ((cluster (new-cluster)))
    (dolist (id '("b" "c" "a"))
      (add-worker cluster :id id))
    (is (equal '("a" "b" "c")
               (loop for worker in (workers-of cluster)
                     collect (pb:heartbeat-name (pb:worker-status-heartbeat worker)))))))

(test a-model-that-a-worker-no-longer-names-is-not-looked-for-there
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :models '("m" "n")))
         (client (add-client cluster)))
    (say worker pb:heartbeat-models (list (pb:make-model-status :name "n" :state pb:+loaded+)))
    (ask client)
    (is (= pb:+model-not-found+ (pb:error-code (task-error client))))
    (ask client :model "n")
    (is (task worker))))

(test a-silent-worker-is-lost-and-comes-back-with-its-next-heartbeat
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster)))
    (die worker)
    (pass-time cluster 9)
    (is (equal '("w") (ids cluster)))
    (pass-time cluster 2)
    (is (null (ids cluster)))
    (beat worker)
    (is (equal '("w") (ids cluster)))
    (ask (add-client cluster))
    (is (task worker))))

(test a-worker-that-stopped-is-gone-whatever-of-it-arrives-later
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster)))
    (say worker pb:heartbeat-state pb:+stopped+)
    (is (null (ids cluster)))
    (say worker pb:heartbeat-state pb:+ready+)
    (is (null (ids cluster)))
    (restart-worker worker)
    (is (equal '("w") (ids cluster)))))

(test a-new-process-takes-the-place-of-the-old-one-which-is-not-heard-any-more
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (ask client)
    (is (task worker))
    (restart-worker worker)
    (let ((task (task worker)))
      (say worker pb:heartbeat-incarnation 1 pb:heartbeat-name "late")
      (answer worker task :text "done")
      (is (string= "done" (pb:result-text (result client)))))
    (is (equal '("w") (loop for status in (workers-of cluster)
                            collect (pb:heartbeat-name (pb:worker-status-heartbeat status)))))))

(test a-worker-at-the-address-of-another-takes-its-place
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :id "before"))
         (client (add-client cluster)))
    (ask client)
    (task worker)
    (say worker pb:heartbeat-worker-id "after" pb:heartbeat-incarnation 9)
    (answer worker (task worker) :text "done")
    (is (string= "done" (pb:result-text (result client))))
    (is (equal '("after") (ids cluster)))))

(test workers-beyond-the-bound-are-not-taken-in-and-the-others-stay
  (dolist (limits (list (make-head-limits :workers 5) (make-head-limits :heartbeats-memory 100)))
    (let* ((cluster (new-cluster :limits limits))
           (workers (loop for number below 20
                          collect (add-worker cluster :id (format nil "~D" number))))
           (kept (length (ids cluster))))
      (is (<= 1 kept 5))
      (is (= (- 20 kept) (counted cluster #'statistics-refused-heartbeats)))
      (say (first workers) pb:heartbeat-state pb:+stopped+)
      (beat (first (last workers)))
      (let ((ids (ids cluster)))
        (is (member "19" ids :test #'string=))
        (is (not (member "0" ids :test #'string=)))
        (is (= kept (length ids)))))))

;;; Heartbeats

(test a-heartbeat-that-cannot-be-read-is-counted
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (dolist (said (list (coerce #(255 255) '(simple-array (unsigned-byte 8) (*)))
                        (pb:make-heartbeat :name "no id" :state pb:+ready+)
                        (pb:make-heartbeat :worker-id (make-string 257 :initial-element #\i))
                        (pb:make-heartbeat :worker-id "large"
                                           :device (make-string 70000 :initial-element #\d))))
      (send client +heartbeat+ said))
    (is (= 4 (counted cluster #'statistics-malformed)))
    (is (null (ids cluster)))))

(test what-is-not-known-of-a-heartbeat-is-not-kept
  (let* ((said (pb:make-heartbeat
                :worker-id "w"
                :ram (pb:make-memory :total 1)
                :models (list (pb:make-model-status
                               :name "m" :identity (pb:make-model-identity :weights "w")))))
         (known (pb:encode said))
         ;; Field 1500, of 4 bytes, behind the whole.
         (more (concatenate '(simple-array (unsigned-byte 8) (*)) known #(#xe2 #x5d 4 1 2 3 4))))
    (is (equalp known (pb:encode (read-heartbeat more +limits+))))))

(defvar *no-rates*
  (list sb-ext:double-float-positive-infinity sb-ext:double-float-negative-infinity
        (sb-kernel:make-double-float #x7ff80000 0) -1d0)
  "Not a constant of the test: a compiler that knows them compares them, and stops at what is no number.")

(test rates-that-are-no-numbers-count-as-not-measured
  (dolist (rate *no-rates*)
    (let* ((said (pb:make-heartbeat
                  :worker-id "w"
                  :models (list (pb:make-model-status :name "m" :rate rate))))
           (read (read-heartbeat (pb:encode said) +limits+)))
      (is (zerop (pb:model-status-rate (first (pb:heartbeat-models read))))))))

(test names-and-numbers-of-a-heartbeat-are-cut
  (let* ((long (make-string 600 :initial-element #\x))
         (limits (make-head-limits :models 2 :heads 3 :slots 4))
         (said (pb:make-heartbeat
                :worker-id "w" :name long :version long :device long :slots 100
                :heads (make-list 5 :initial-element "h")
                :models (list (pb:make-model-status :name long)
                              (pb:make-model-status :name "m" :detail long :placement long
                                                    :quantization long :engine long :choice long
                                                    :identity (pb:make-model-identity
                                                               :precision long))
                              (pb:make-model-status :name "n"))))
         (read (read-heartbeat (pb:encode said) limits))
         (model (first (pb:heartbeat-models read))))
    (is (equal '(256 256 256 4 3 1)
               (list (length (pb:heartbeat-name read)) (length (pb:heartbeat-version read))
                     (length (pb:heartbeat-device read)) (pb:heartbeat-slots read)
                     (length (pb:heartbeat-heads read)) (length (pb:heartbeat-models read)))))
    (is (equal '("m" 256 512 256 256 256 512)
               (list (pb:model-status-name model)
                     (length (pb:model-identity-precision (pb:model-status-identity model)))                      (length (pb:model-status-detail model))
                     (length (pb:model-status-placement model))
                     (length (pb:model-status-quantization model))
                     (length (pb:model-status-engine model))
                     (length (pb:model-status-choice model)))))))
