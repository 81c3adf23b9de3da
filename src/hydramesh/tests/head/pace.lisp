(defpackage #:hydramesh/tests/head/pace
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/head/pace
                #:make-pace #:pace-add #:pace-add-unfinished #:pace-class #:pace-quantile)
  (:import-from #:hydramesh/tests/suite)
  (:export #:pace-of)
  (:documentation "How long a worker usually takes for a kind of tasks."))
(in-package #:hydramesh/tests/head/pace)

(fiveam:def-suite pace :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite pace)

(defun pace-of (times)
  "Return the pace of a worker whose tasks took TIMES, in microseconds."
  (let ((pace (make-pace)))
    (dolist (time times pace)
      (pace-add pace time))))

(test a-quantile-is-at-most-a-quarter-above-what-it-is
  (let ((state (sb-ext:seed-random-state 1)))
    (dolist (longest '(5000 1000000 500000000))
      (let* ((times (loop repeat 200 collect (+ 2000 (random longest state))))
             (pace (pace-of times))
             (sorted (sort (copy-list times) #'<)))
        (dolist (quantile '(1/2 0.9d0 0.95d0 0.99d0 1))
          (let ((real (nth (1- (ceiling (* quantile 200))) sorted)))
            (is (< real (pace-quantile pace quantile) (1+ (* 5/4 real))))))))))

(test too-few-times-tell-nothing-and-any-time-can-be-told
  (is (null (pace-quantile (pace-of (loop repeat 19 collect 1000)) 1/2)))
  (is (pace-quantile (pace-of (loop repeat 20 collect 0)) 1/2))
  (is (pace-quantile (pace-of (loop repeat 20 collect (1- (ash 1 62)))) 1)))

(test what-is-old-is-forgotten
  (let ((pace (pace-of (loop repeat 250 collect 1000000))))
    (loop repeat 600 do (pace-add pace 2000))
    (is (< (pace-quantile pace 0.8d0) 3000))))

(test those-that-were-given-up-late-keep-the-quantile-where-it-is
  (flet ((after (note)
           (let ((pace (pace-of (loop repeat 19 append '(10000) finally (return (list 100000))))))
             (loop repeat 19 do (pace-add pace 10000))
             (loop repeat 30
                   do (loop repeat 18 do (pace-add pace 10000))
                      (loop repeat 2 do (funcall note pace)))
             (pace-quantile pace 0.95d0))))
    (is (< (after (constantly nil)) 20000))
    (is (>= (after (lambda (pace) (pace-add-unfinished pace 20001 0.95d0))) 20000)))
  (let ((pace (pace-of (loop repeat 100 collect 100000))))
    (loop repeat 100 do (pace-add-unfinished pace 1 0.95d0))
    (is (> (pace-quantile pace 1/10) 100000) "what was given up early tells nothing")))

(test tasks-are-alike-within-a-factor-of-two
  (is (= (pace-class 4d0 t) (pace-class 7d0 t)))
  (is (/= (pace-class 4d0 t) (pace-class 8d0 t)))
  (is (/= (pace-class 4d0 t) (pace-class 4d0 nil)))
  (is (< (pace-class 1d30 nil) 32)))
