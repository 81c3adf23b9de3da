(defpackage #:hydramesh/tests/replay/simulation
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/replay/outcome
                #:outcome-cancelled #:outcome-done #:outcome-loads #:outcome-moved #:outcome-queued #:quantile
                #:simulated-outcome #:workload-busy #:workload-tasks #:workload-worker)
  (:import-from #:hydramesh/replay/measuring #:measure-services)
  (:import-from #:hydramesh/replay/record #:record-of)
  (:import-from #:hydramesh/replay/service #:stretch)
  (:import-from #:hydramesh/replay/simulation #:simulate)
  (:import-from #:hydramesh/replay/tasks #:names-in)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/pseudonym #:make-salt #:pseudonym)
  (:import-from #:hydramesh/storage/roster #:make-change)
  (:import-from #:hydramesh/storage/traffic #:make-passage)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/work #:capability-set)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:+start+ #:is-there #:passage #:replayed #:worker-loads)
  (:documentation "That a replay is like what it replays, and the same each time."))
(in-package #:hydramesh/tests/replay/simulation)

(fiveam:def-suite replay :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite replay)

(defconstant +start+ (* 19000 24 3600 1000000))

(defun is-there (id &key (slots 1) (at +start+) (rate 0d0) (state pb:+loaded+))
  (let ((model (pb:make-model-status :name "m" :kind pb:+text+ :state state :rate rate
                                     :identity (pb:make-model-identity :weights "w"))))
    (make-change :at at :kind :is :worker id :rtt 500
                 :heartbeat (pb:make-heartbeat :worker-id id :name id :incarnation 1 :state pb:+ready+
                                               :slots slots :models (list model)))))

(defun passage (at ran &rest fields)
  "Return a passage that came so many microseconds after the start, and was run for RAN on the worker a."
  (apply #'make-passage
         (append fields
                 (list :arrival (+ +start+ at) :kind "text" :model "m" :worker "a" :outcome "DONE"
                       :needs (capability-set pb:+complete+) :bytes-in 100 :wanted 10 :made 10 :weight 100
                       :running ran :ran ran :deadline (seconds 6000)))))

(defun replayed (passages changes &key policy (seed 0) salt (since +start+))
  (let ((record (record-of passages changes :since since)))
    (values (simulate record (measure-services record seed) (names-in (list policy) salt) policy))))

(defun worker-loads (outcome)
  (loop for load in (outcome-loads outcome)
        collect (cons (workload-worker load) (workload-tasks load))))

(defun exponential (mean state)
  (max 1 (round (* mean (- (log (- 1d0 (random 1d0 state))))))))

(test a-queue-of-one-server-waits-as-long-as-theory-says
  ;; M/D/1 at a load of 0.6: the mean wait is 0.6 / (2 (1 - 0.6)) of the service (Pollaczek, Khinchin).
  (let* ((state (sb-ext:seed-random-state 7)) (service 100000) (at 0) (busy-until 0) (exact 0)
         (passages (loop repeat 4000
                         do (incf at (exponential (/ service 0.6d0) state))
                            (incf exact (max 0 (- busy-until at)))
                            (setf busy-until (+ service (max at busy-until)))
                         collect (passage at service)))
         (queued (outcome-queued (simulated-outcome (replayed passages (list (is-there "a"))))))
         (mean (/ (reduce #'+ queued) (length queued))))
    (is (= 4000 (length queued)))
    ;; Of the very same arrivals it is known to the microsecond; each time is rounded up to one.
    (is (< (abs (- mean (/ exact 4000))) 2000))
    ;; The mean of that many varies by some percent.
    (is (< 0.65 (/ mean service) 0.85))))

(defun mixed-passages ()
  (let ((state (sb-ext:seed-random-state 3)) (at 0))
    (loop for index below 300
          do (incf at (exponential 60000 state))
          collect (passage at (exponential 100000 state) :worker (if (evenp index) "a" "b")))))

(defparameter +only-b+ "(policy \"p\" (rule \"r\" (require (= worker.name \"b\"))))")

(defparameter +ann-on-b+
  "(policy \"p\" (rule \"r\" (when (= task.client \"ann\")) (require (= worker.name \"b\"))))")

(test a-replay-is-the-same-each-time-and-another-seed-draws-others
  (flet ((outcome (seed)
           (simulated-outcome (replayed (mixed-passages) (list (is-there "a") (is-there "b"))
                                        :policy (read-policy +only-b+ "p")
                                        :seed seed))))
    (let ((one (outcome 1)) (again (outcome 1)) (other (outcome 2)))
      (is (equal (worker-loads one) '(("b" . 300))))
      (is (equalp (outcome-queued one) (outcome-queued again)))
      (is (not (equalp (outcome-queued one) (outcome-queued other)))))))

(test a-worker-that-leaves-has-its-tasks-moved-and-gets-no-more
  (let ((outcome (simulated-outcome
                  (replayed (loop for index below 20 collect (passage (* index 500000) 2000000))
                            (list (is-there "a" :slots 4) (is-there "b" :slots 4)
                                  (make-change :at (+ +start+ 5250000) :kind :gone :worker "a"))))))
    (is (= 20 (outcome-done outcome)))
    (is (plusp (outcome-moved outcome)))
    (is (< 10 (cdr (assoc "b" (worker-loads outcome) :test #'string=))))))

(test workers-that-are-there-after-a-start-of-the-head-have-kept-their-tasks
  (let ((outcome (simulated-outcome
                  (replayed (loop for index below 20 collect (passage (* index 500000) 400000))
                            (list (is-there "a" :slots 4)
                                  (make-change :at (+ +start+ 3250000) :kind :started)
                                  (is-there "a" :slots 4 :at (+ +start+ 5250000)))))))
    (is (= 20 (outcome-done outcome)))
    (is (zerop (outcome-moved outcome)))
    (is (<= (quantile (outcome-queued outcome) 1) 1000))))

(test tasks-that-were-cancelled-are-cancelled-when-they-were
  (let ((outcome (simulated-outcome
                  (replayed (list (passage 0 3000000 :outcome "CANCELLED") (passage 100000 1000000))
                            (list (is-there "a"))))))
    (is (= 1 (outcome-cancelled outcome) (outcome-done outcome)))
    (is (<= 2900000 (quantile (outcome-queued outcome) 1) 2901000))))

(test a-policy-knows-clients-by-their-pseudonyms
  (let* ((salt (make-salt 1 2))
         (policy (read-policy +ann-on-b+ "p"))
         (outcome (simulated-outcome
                   (replayed (loop for index below 10
                                   collect (passage (* index 2000000) 1000
                                                    :client (pseudonym (if (< index 4) "ann" "bob") salt)))
                             (list (is-there "a") (is-there "b" :rate 1d0))
                             :policy policy :salt salt))))
    (is (equal (worker-loads outcome) '(("a" . 6) ("b" . 4))))))

(test tasks-that-slowed-each-other-down-do-so-again
  ;; Alone they took 0.1 s, four at once 0.25 s: each other one adds half.
  (let ((passages (append (loop for index below 40 collect (passage (* index 1000000) 100000))
                          (loop for index below 40
                                append (loop for nth below 4
                                             collect (passage (+ 50000000 nth (* index 1000000)) 250000))))))
    (is (< 1.45 (stretch (measure-services (record-of passages '() :since +start+) 0)
                         "a" 2)
           1.55))
    (let ((outcome (simulated-outcome (replayed passages (list (is-there "a" :slots 4))))))
      (is (< (abs (- (workload-busy (first (outcome-loads outcome)))
                     (+ (* 40 100000) (* 160 250000))))
             1000000)))))
