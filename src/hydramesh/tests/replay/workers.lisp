(defpackage #:hydramesh/tests/replay/workers
  (:use #:cl #:hydramesh/tests/replay/simulation)
  (:import-from #:fiveam #:test #:is #:is-true)
  (:import-from #:hydramesh/head/observer
                #:finished-task-outcome #:finished-task-queued #:finished-task-running #:finished-task-total
                #:finished-task-worker)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/replay/measuring #:measure-services)
  (:import-from #:hydramesh/replay/record #:record-of)
  (:import-from #:hydramesh/replay/simulation #:simulate)
  (:import-from #:hydramesh/replay/outcome
                #:outcome-done #:outcome-hedged #:outcome-total #:quantile #:simulated-outcome)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/pseudonym #:make-salt #:pseudonym)
  (:import-from #:hydramesh/storage/roster #:make-change #:make-terms)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "That a replay knows what workers do beside the tasks of its record: load models, run
what came before, and race."))
(in-package #:hydramesh/tests/replay/workers)

(fiveam:def-suite replayed-workers :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite replayed-workers)

(defparameter +first-to-b+
  "(policy \"p\" (rule \"r\" (when (= task.client \"ann\")) (require (= worker.name \"b\")))
               (rule \"s\" (when (not (= task.client \"ann\"))) (require (= worker.name \"a\"))))")

(defun loading-record (salt)
  "Return the passages of 30 tasks of 1 s on the worker a, and the changes of workers: for the first task,
of the client ann, a loaded the model, which took 4 s. The worker b has it on its disk."
  (values (cons (passage 0 5000000 :cold-p t :client (pseudonym "ann" salt))
                (loop for index from 1 below 30
                      collect (passage (* index 10000000) 1000000)))
          (list (is-there "a" :state pb:+available+ :rate 10d0)
                (is-there "b" :state pb:+available+ :rate 10d0)
                (is-there "a" :state pb:+loading+ :rate 10d0 :at (+ +start+ 100000))
                (is-there "a" :state pb:+loaded+ :rate 10d0 :at (+ +start+ 4000000)))))

(defun seconds-run (task)
  (/ (round (finished-task-running task) 100000) 10))

(test a-model-takes-as-long-to-load-as-it-did
  (let ((salt (make-salt 1 2)))
    (multiple-value-bind (passages changes) (loading-record salt)
      (let ((tasks (replayed passages changes)))
        (is (equal '(5 1 1) (map 'list #'seconds-run (subseq tasks 0 3)))))
      (let ((tasks (replayed passages changes :policy (read-policy +first-to-b+ "p") :salt salt)))
        (is (equal '("b" "a" "a") (map 'list #'finished-task-worker (subseq tasks 0 3))))
        ;; The worker a has not loaded it for the first, so it has to for the second.
        (is (equal '(5 5 1) (map 'list #'seconds-run (subseq tasks 0 3))))
        (is (= 30 (outcome-done (simulated-outcome tasks))))))))

(test a-model-that-nobody-was-seen-to-load-takes-no-time-and-that-is-told
  (multiple-value-bind (tasks unknown)
      (let ((record (record-of (list (passage 0 1000000))
                               (list (is-there "b" :state pb:+available+ :rate 10d0))
                               :since +start+)))
        (simulate record (measure-services record 0) (make-hash-table) nil))
    (is (= 1 (length tasks) unknown))
    (is (string= "DONE" (finished-task-outcome (aref tasks 0))))))

(test tasks-that-ran-when-the-record-began-hold-their-workers
  (let* ((since (+ +start+ 10000000))
         (tasks (replayed (list (passage 8000000 5000000) ; runs until 3 s
                                (passage 9000000 2000000 :queued 4000000) ; waits until then, and takes 2 s
                                (passage 12000000 1000000 :queued 3000000))
                          (list (is-there "a")) :since since)))
    ;; Only the last one is counted.
    (is (= 1 (length tasks)))
    (is (< 2900000 (finished-task-queued (aref tasks 0)) 3100000))))

(defparameter +hedge-never+ "(policy \"p\" (rule \"r\" (hedge never)))")

(defun raced-record ()
  "Return 200 tasks that begin to answer after 0.1 s and take 0.2 s, by turns on the workers a and b; but
one in 20 took 5 s longer on a at least, and was raced on b after 0.5 s."
  (loop for index below 200
        for at = (* index 2000000)
        collect (if (= 5 (mod index 20))
                    (passage at 200000 :worker "b" :running 700000 :streamed-p t :first 600000 :beside "a"
                                       :beside-ran 5000000)
                    (passage at 200000 :worker (if (evenp index) "a" "b") :streamed-p t :first 100000))))

(defun racing (share)
  (make-change :at +start+ :kind :terms
               :terms (make-terms :worker-timeout 10000000 :queue-size 100 :task-deadline 600000000
                                  :max-attempts 3 :hedge-share share :hedge-quantile 900000
                                  :hedge-longest 10000000)))

(defun races (share policy)
  (simulated-outcome (replayed (raced-record)
                               (list (racing share) (is-there "a" :slots 4 :rate 60d0)
                                     (is-there "b" :slots 4 :rate 50d0))
                               :policy policy)))

(test tasks-that-are-late-are-raced-as-the-head-does-it
  (let ((raced (races 300000 nil))
        (alone (races 0 nil))
        (forbidden (races 300000 (read-policy +hedge-never+ "p"))))
    (is (< 5 (outcome-hedged raced)))
    (is (= 0 (outcome-hedged alone) (outcome-hedged forbidden)))
    (is (= 200 (outcome-done raced) (outcome-done alone)))
    (is (< (quantile (outcome-total raced) 99/100) 2000000))
    (is (> (quantile (outcome-total alone) 99/100) 5000000))))
