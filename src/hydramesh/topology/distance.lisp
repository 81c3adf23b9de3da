(defpackage #:hydramesh/topology/distance
  (:use #:cl)
  (:import-from #:hydramesh/topology/health #:+unreachable+)
  (:export #:+isolated+ #:rtt-group #:smoothed)
  (:documentation "How far away a peer is, by the rules of DCF's mesh: in whole numbers, of any one unit."))
(in-package #:hydramesh/topology/distance)

(defconstant +isolated+ -1 "The group of a peer that cannot be reached.")

(defun rtt-group (rtt threshold health)
  "Return the group of a peer of that HEALTH: how many times THRESHOLD fits into its RTT."
  (if (= health +unreachable+) +isolated+ (values (floor rtt threshold))))

(defun smoothed (before rtt)
  "Return the round-trip time after one of RTT was measured: an eighth of the way there from BEFORE.
BEFORE is NIL for the first one. This is RFC 6298's SRTT, rounded down."
  (if before
      (values (floor (+ (* 7 before) rtt) 8))
      rtt))
