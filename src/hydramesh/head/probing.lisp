(defpackage #:hydramesh/head/probing
  (:use #:cl)
  (:import-from #:hydramesh/head/link #:link-ping)
  (:import-from #:hydramesh/head/proximity #:proximity-due-p #:proximity-probe)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/head/worker #:worker-address #:worker-proximity)
  (:export #:probe #:probe-all)
  (:documentation "PINGs to workers, one a second each, by which the head knows how far away they are.

A heartbeat sets off the next one, so that those of many workers do not all go at once."))
(in-package #:hydramesh/head/probing)

(defun probe (worker link threshold now)
  "Ping WORKER if it is time for that. THRESHOLD divides groups, in microseconds."
  (let ((proximity (worker-proximity worker)))
    (when (proximity-due-p proximity now)
      (proximity-probe proximity threshold now)
      (link-ping link (worker-address worker)))))

(defun probe-all (workers link threshold now)
  "Do that for all WORKERS, a registry."
  (dolist (worker (registry-workers workers))
    (probe worker link threshold now)))
