(defpackage #:hydramesh/head/enforcing
  (:use #:cl)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-jobs #:dispatcher-policy #:dispatcher-queue #:dispatcher-races
                #:dispatcher-workers #:policy-hedging)
  (:import-from #:hydramesh/head/in-force #:in-force-refused #:in-force-replace)
  (:import-from #:hydramesh/head/job #:job-forget-group-key #:job-queued-at #:job-worker)
  (:import-from #:hydramesh/head/job-queue #:group-jobs #:job-queue-groups #:job-queue-remove)
  (:import-from #:hydramesh/head/races #:races-reconsider)
  (:import-from #:hydramesh/head/registry #:registry-in-force #:registry-workers)
  (:import-from #:hydramesh/head/reservations #:recount)
  (:import-from #:hydramesh/head/rulings #:considering)
  (:import-from #:hydramesh/head/waiting #:dispatcher-assign-waiting #:dispatcher-wait)
  (:export #:enforce #:refuse)
  (:documentation "Another policy comes into force, or none, while tasks wait and run."))
(in-package #:hydramesh/head/enforcing)

(defun enforce (dispatcher policy now)
  "Let POLICY decide from now on where jobs go, or none if it is NIL. What runs stays where it is."
  (let ((workers (dispatcher-workers dispatcher))
        (queue (dispatcher-queue dispatcher))
        (running (loop for job being the hash-values of (dispatcher-jobs dispatcher)
                       when (job-worker job)
                         collect job)))
    (in-force-replace (registry-in-force workers) policy)
    (mapc (considering workers queue now) running)
    (recount (registry-workers workers) running)
    (races-reconsider (dispatcher-races dispatcher) running
                      (policy-hedging (dispatcher-policy dispatcher)) now)
    ;; Those that could wait together may no longer.
    (dolist (job (loop for group in (job-queue-groups queue) append (group-jobs group)))
      (let ((since (job-queued-at job)))
        (job-queue-remove queue job)
        (job-forget-group-key job)
        (dispatcher-wait dispatcher job since)))
    (dispatcher-assign-waiting dispatcher now)))

(defun refuse (dispatcher reason)
  "Note that the policy in force stays, as REASON, a text, is wrong with the one that should have replaced it."
  (setf (in-force-refused (registry-in-force (dispatcher-workers dispatcher))) reason))
