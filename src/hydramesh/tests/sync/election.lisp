(defpackage #:hydramesh/tests/sync/election
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/sync/election #:degree #:elect #:make-node)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "Which of several heads is the master."))
(in-package #:hydramesh/tests/sync/election)

(fiveam:def-suite election :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite election)

(defun node (id &rest links)
  (make-node id t (loop for (other rtt) on links by #'cddr collect (cons other rtt))))

(test the-one-with-most-ways-is-the-master
  (is (equal "c" (elect (list (node "a" "c" 9) (node "b" "c" 9) (node "c"))))))

(test of-these-the-nearest
  (is (equal "b" (elect (list (node "a" "b" 10 "c" 30) (node "b" "c" 10) (node "c"))))))

(test of-two-that-are-as-near-the-least
  (is (equal "a" (elect (list (node "b" "a" 10) (node "a" "b" 10))))))

(test a-mean-is-rounded-down
  (is (equal "a" (elect (list (node "a" "b" 1 "c" 2) (node "b" "c" 1) (node "c"))))))

(test of-a-way-told-twice-the-shorter-counts
  (is (equal "a" (elect (list (node "a" "b" 10 "c" 10) (node "b" "a" 5 "c" 10) (node "c" "a" 10 "b" 9))))))

(test whoever-is-not-healthy-is-not-elected
  (is (equal "b" (elect (list (make-node "a" nil '(("b" . 1) ("c" . 1))) (node "b") (node "c")))))
  (is (null (elect (list (make-node "a" nil '()))))))

(test one-alone-is-the-master
  (is (equal "a" (elect (list (node "a"))))))

(test ways-count-once-and-to-others-only
  (is (= 1 (degree "a" (list (node "a" "a" 1 "b" 2) (node "b" "a" 2))))))
