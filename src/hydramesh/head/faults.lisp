(defpackage #:hydramesh/head/faults
  (:use #:cl)
  (:import-from #:hydramesh/service/logs #:log-fault)
  (:export #:skipping-faults #:logging-faults #:skip-message)
  (:documentation "What becomes of a fault of ours: it is logged with the calls that led to it, and as little as
can be is skipped. So one bad message, or one bad job, ends nothing else.

The restart SKIP-MESSAGE does the skipping, also for who looks on in a debugger."))
(in-package #:hydramesh/head/faults)

(defmacro skipping-faults ((what) &body body)
  "Do BODY; offer the restart SKIP-MESSAGE, which does without the rest of it. WHAT is a string."
  `(with-simple-restart (skip-message "Do without ~a." ,what)
     ,@body))

(defmacro logging-faults ((what) &body body)
  "Do BODY. A fault in it is logged, and what the innermost restart SKIP-MESSAGE stands for is skipped."
  `(skipping-faults (,what)
     (handler-bind (((or error storage-condition) #'log-and-skip))
       ,@body)))

(defun log-and-skip (condition)
  (log-fault "a fault of ours; what was being done is skipped" condition)
  (invoke-restart 'skip-message))
