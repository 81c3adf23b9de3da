(defpackage #:hydramesh/tests/suite
  (:use #:cl)
  (:import-from #:fiveam)
  (:export #:hydramesh)
  (:documentation "The suite that all others are in."))
(in-package #:hydramesh/tests/suite)

(fiveam:def-suite hydramesh)
