(defpackage #:hydramesh/main
  (:use #:cl)
  (:import-from #:hydramesh/events)
  (:import-from #:hydramesh/address)
  (:import-from #:hydramesh/head/link)
  (:import-from #:hydramesh/settings)
  (:import-from #:hydramesh/service/event-loop)
  (:import-from #:hydramesh/service/logs)
  (:export #:main)
  (:documentation "The program `hydramesh`."))
(in-package #:hydramesh/main)

(defun main ()
  "Run the command that the arguments name.")
