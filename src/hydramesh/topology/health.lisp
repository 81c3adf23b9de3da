(defpackage #:hydramesh/topology/health
  (:use #:cl)
  (:export #:+healthy+ #:+degraded+ #:+unreachable+ #:+window+ #:health)
  (:documentation "How well a peer answers, by the rules of DCF's mesh.

Health is a number, as in a REPORT: the larger, the worse."))
(in-package #:hydramesh/topology/health)

(defconstant +healthy+ 0)
(defconstant +degraded+ 1)
(defconstant +unreachable+ 2)

(defconstant +window+ 5 "The latest probes of which the health of a peer is made.")
(defconstant +fail+ 3 "Probes in a row without an answer that make a peer unreachable.")
(defconstant +ok+ 2 "Answers in a row that make it healthy again.")

(defun health (answers &key (fail +fail+) (ok +ok+))
  "Return the health of a peer of whose probes ANSWERS tells, a list of booleans, the oldest first.
FAIL probes in a row without an answer make it unreachable, until OK in a row are answered."
  (let ((health +healthy+) (failed 0) (answered 0))
    (dolist (answer answers health)
      (if answer
          (setf failed 0
                answered (1+ answered))
          (setf failed (1+ failed)
                answered 0))
      (setf health (cond ((>= failed fail) +unreachable+)
                         ((and (= health +unreachable+) (< answered ok)) +unreachable+)
                         ((plusp failed) +degraded+)
                         (t +healthy+))))))
