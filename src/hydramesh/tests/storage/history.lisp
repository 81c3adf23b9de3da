(defpackage #:hydramesh/tests/storage/history
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/tests/storage/archive #:make-fake #:passage)
  (:import-from #:hydramesh/storage/archive
                #:open-archive #:archive-add-task #:archive-add-sample #:archive-write)
  (:import-from #:hydramesh/storage/plot #:sparkline #:plot-lines #:short-number)
  (:import-from #:hydramesh/storage/series
                #:+shown+ #:shown-metric #:read-series #:series-start #:series-step #:series-values
                #:series-summary)
  (:documentation "What is shown of the past."))
(in-package #:hydramesh/tests/storage/history)

(fiveam:def-suite history :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite history)

(defparameter +midnight+ (* 19000 86400))

(defun store-with-tasks (times)
  (let* ((store (make-fake)) (archive (open-archive store)))
    (dolist (seconds times)
      (let ((now (* 1000000 (+ +midnight+ seconds))))
        (archive-add-task archive (passage now) now)
        (archive-add-sample archive seconds 0 0 now)))
    (archive-write archive (* 1000000 +midnight+))
    store))

(defun values-of (series name)
  (coerce (series-values series (shown-metric name)) 'list))

(test minutes-become-steps
  (let* ((store (store-with-tasks '(0 10 70 600)))
         (series (read-series store +midnight+ (+ +midnight+ 660) 6)))
    (is (= +midnight+ (series-start series)))
    (is (= 120 (series-step series)))
    (is (equal '(3 nil nil nil nil 1) (values-of series "tasks")))
    (is (equal '(70 nil nil nil nil 600) (values-of series "queued")))
    (is (= 4 (series-summary series (shown-metric "tasks"))))
    (is (= 600 (series-summary series (shown-metric "queued"))))
    (is (= 1/1000 (series-summary series (shown-metric "queue"))))))

(test a-long-time-is-told-by-hours
  (let* ((store (store-with-tasks '(0 3600 3700)))
         (series (read-series store (- +midnight+ (* 40 86400)) (+ +midnight+ 7200) 2000)))
    (is (= 3600 (series-step series)))
    (is (equal '(1 2) (last (values-of series "tasks") 2)))))

(test nothing-is-nothing
  (let ((series (read-series (make-fake) 1000000 1003600 60)))
    (dolist (metric +shown+)
      (is (null (series-summary series metric))))))

(test numbers-are-short
  (loop for (number text) in '((0 "0") (7 "7") (999 "999") (1000 "1.0k") (1234567 "1.2M") (9990 "10k")
                               (2/1000 "0.002") (5/2 "2.5") (123456 "123k"))
        do (is (string= text (short-number number)))))

(test plots-show-the-highest-and-what-is-not-known
  (is (string= " ▁▄█" (sparkline (vector nil 0 4 8) t)))
  (is (string= " _=@" (sparkline (vector nil 0 4 8) nil)))
  (is (string= "▁▁" (sparkline (vector 0 0) t)))
  (is (equal '("    8 │   █" "      │  ██") (plot-lines (vector nil 0 4 8) 2 t)))
  (is (equal '("    8 |   #" "      |..##") (plot-lines (vector 1 1 4 8) 2 nil))))
