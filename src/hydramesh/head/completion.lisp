(defpackage #:hydramesh/head/completion
  (:use #:cl)
  (:import-from #:hydramesh/head/assignments #:assignments-release)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-assignments)
  (:import-from #:hydramesh/head/endings #:dispatcher-end #:dispatcher-withdraw)
  (:import-from #:hydramesh/head/health #:worker-succeeded)
  (:import-from #:hydramesh/head/job #:job-numbers #:numbers-began-at #:numbers-ran)
  (:import-from #:hydramesh/head/statistics #:+cancelled+ #:+done+)
  (:import-from #:hydramesh/head/turnaround #:turnaround-ended)
  (:import-from #:hydramesh/head/waiting #:dispatcher-assign-waiting)
  (:import-from #:hydramesh/head/worker #:worker-turnaround)
  (:export #:dispatcher-cancel #:dispatcher-complete)
  (:documentation "Jobs that are answered or cancelled, and leave what they had to those that wait."))
(in-package #:hydramesh/head/completion)

(defun dispatcher-complete (dispatcher job now)
  "End JOB, whose answer has been relayed."
  (let ((worker (assignments-release (dispatcher-assignments dispatcher) job now)))
    (worker-succeeded worker (numbers-began-at (job-numbers job)))
    (turnaround-ended (worker-turnaround worker) (numbers-ran (job-numbers job)) now)
    (dispatcher-end dispatcher job +done+ now)
    (dispatcher-assign-waiting dispatcher now worker)))

(defun dispatcher-cancel (dispatcher jobs now)
  "End JOBS, a list, without telling their client."
  (dolist (job jobs)
    (dispatcher-withdraw dispatcher job now)
    (dispatcher-end dispatcher job +cancelled+ now))
  (dispatcher-assign-waiting dispatcher now))
