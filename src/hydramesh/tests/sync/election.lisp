(defpackage #:hydramesh/tests/sync/election
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/sync/election #:make-member #:role-of)
  (:import-from #:hydramesh/topology/election #:+leaf+ #:+master+ #:+relay+)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "Which of several heads is the master."))
(in-package #:hydramesh/tests/sync/election)

(fiveam:def-suite election :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite election)

(defun head (id &rest links)
  (make-member id t (loop for (other rtt) on links by #'cddr collect (cons other rtt))))

(defun roles (&rest heads)
  "Return the roles of a, b and c among HEADS."
  (loop for id in '("a" "b" "c") collect (role-of id heads)))

(test the-one-that-hears-most-is-the-master
  (is (equal (list +leaf+ +leaf+ +master+) (roles (head "a" "c" 9) (head "b" "c" 9) (head "c")))))

(test of-these-the-nearest
  (is (equal (list +relay+ +master+ +relay+)
             (roles (head "a" "b" 10 "c" 30) (head "b" "c" 10) (head "c")))))

(test of-two-that-are-as-near-the-least
  (is (= +master+ (role-of "a" (list (head "b" "a" 10) (head "a" "b" 10))))))

(test whoever-takes-no-tasks-is-not-the-master
  (is (equal (list +leaf+ +master+ +leaf+)
             (roles (make-member "a" nil '(("b" . 1) ("c" . 1))) (head "b") (head "c")))))

(test if-nobody-takes-tasks-there-is-a-master-nevertheless
  (is (= +master+ (role-of "a" (list (make-member "b" nil '(("a" . 1))) (make-member "a" nil '()))))))

(test one-alone-is-the-master
  (is (= +master+ (role-of "a" (list (head "a"))))))

(test whoever-is-only-told-of-counts-as-heard-and-is-not-elected
  (is (= +master+ (role-of "b" (list (head "b" "c" 1 "a" 1) (head "c" "b" 1))))))
