(defpackage #:hydramesh/tests/head/deadlines
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/head/deadlines
                #:make-deadlines #:deadlines-add #:deadlines-count #:deadlines-missed)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "Deadlines are missed in their order, and what is over is forgotten."))
(in-package #:hydramesh/tests/head/deadlines)

(fiveam:def-suite deadlines :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite deadlines)

(test deadlines-are-missed-in-their-order-by-those-that-are-not-over
  (let* ((jobs (make-hash-table))
         (paused 0)
         (deadlines (make-deadlines (lambda () paused) jobs))
         (state (sb-ext:seed-random-state 3)))
    (loop for number from 1 to 2000
          for time = (random 500 state)
          do (setf (gethash number jobs) (cons time number))
             (deadlines-add deadlines time number)
             (remhash (random (1+ number) state) jobs))
    (setf paused 100)
    (let ((expected (sort (loop for job being the hash-values of jobs
                                when (<= (car job) 350)
                                  collect job)
                          (lambda (one other)
                            (or (< (car one) (car other))
                                (and (= (car one) (car other)) (< (cdr one) (cdr other))))))))
      (is (equal expected
                 (loop for job = (deadlines-missed deadlines 250)
                       while job
                       collect job))))))

(test what-is-over-is-forgotten
  (let* ((jobs (make-hash-table))
         (deadlines (make-deadlines (constantly 0) jobs)))
    (loop for number from 1 to 100000
          do (setf (gethash number jobs) number)
             (deadlines-add deadlines number number)
             (remhash number jobs))
    (is (< (deadlines-count deadlines) 100))))
