(defpackage #:hydramesh/head/health
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/breaker
                #:make-breaker #:breaker-failed #:breaker-lost-race #:breaker-reason #:breaker-retry-at
                #:breaker-succeeded)
  (:import-from #:hydramesh/head/statistics #:statistics-set-aside)
  (:import-from #:hydramesh/head/worker #:worker #:worker-breaker #:worker-id #:worker-title)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:export #:worker-failed #:worker-lost-race #:worker-succeeded)
  (:documentation "What becomes of attempts counts for and against their worker, see hydramesh/head/breaker."))
(in-package #:hydramesh/head/health)

(defun worker-failed (worker what began-at rules statistics now)
  "Count that WORKER has failed with an attempt; RULES and the others are as for BREAKER-FAILED."
  (note-opened worker (breaker-failed (breaker-of worker) rules what began-at now) statistics))

(defun worker-lost-race (worker began-at rules statistics now)
  "Count that another worker was faster than WORKER, which was late with an attempt."
  (note-opened worker (breaker-lost-race (breaker-of worker) rules began-at now) statistics))

(defun worker-succeeded (worker began-at)
  "Count that WORKER has ended an attempt well."
  (let ((breaker (worker-breaker worker)))
    (when breaker                       ; most have none, as they never failed
      (let ((aside (breaker-retry-at breaker)))
        (when (breaker-succeeded breaker began-at)
          (setf (worker-breaker worker) nil)
          (when aside
            (log-info "worker is well again" :worker (worker-id worker) :name (worker-title worker))))))))

(defun breaker-of (worker)
  (or (worker-breaker worker)
      (setf (worker-breaker worker) (make-breaker))))

(defun note-opened (worker pause statistics)
  (when pause
    (incf (statistics-set-aside statistics))
    (log-warning "worker set aside"
                 :worker (worker-id worker)
                 :name (worker-title worker)
                 :reason (breaker-reason (worker-breaker worker))
                 :seconds (/ pause 1d6))))
