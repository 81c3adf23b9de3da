(defpackage #:hydramesh/main
  (:use #:cl)
  (:import-from #:hydramesh/events)
  (:import-from #:hydramesh/address)
  (:import-from #:hydramesh/head/link)
  (:export #:main)
  (:documentation "The program `hydramesh`."))
(in-package #:hydramesh/main)

(defun main ()
  "Run the command that the arguments name.")
