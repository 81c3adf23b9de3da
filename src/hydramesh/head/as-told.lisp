(defpackage #:hydramesh/head/as-told
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4 #:numeric)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/breaker #:breaker-as-told)
  (:import-from #:hydramesh/head/heartbeats #:read-heartbeat)
  (:import-from #:hydramesh/head/limits #:head-limits)
  (:import-from #:hydramesh/head/proximity #:proximity-as-told)
  (:import-from #:hydramesh/head/registry
                #:make-registry #:registry-at #:registry-get #:registry-heard #:registry-note-elsewhere)
  (:import-from #:hydramesh/head/worker #:worker-breaker #:worker-proximity)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:hydramesh/topology/health #:+healthy+ #:+unreachable+)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:registry-as-told #:unusable-status #:unusable-status-reason)
  (:documentation "The workers of a head as its status told of them, for who decides in its place.

What a status does not tell is as at a head that has just started: what workers have read, which of their
tasks are of a reservation, and which of several got one last."))
(in-package #:hydramesh/head/as-told)

(define-condition unusable-status (error)
  ((reason :initarg :reason :reader unusable-status-reason))
  (:report (lambda (condition stream)
             (write-string (unusable-status-reason condition) stream)))
  (:documentation "A status tells of a worker that cannot be."))

(defun unusable (control &rest arguments)
  (error 'unusable-status :reason (apply #'format nil control arguments)))

(defconstant +most-tasks+ 1000000 "On a worker.")

(defun registry-as-told (status limits threshold now)
  "Return the registry of the workers in STATUS, a PB:CLUSTER-STATUS, as if all were heard from at NOW.
THRESHOLD, in microseconds, divides groups. Signal UNUSABLE-STATUS if a head could not have them."
  (declare (type head-limits limits) (type microseconds threshold now))
  (let ((registry (make-registry limits)))
    (loop for told in (pb:cluster-status-workers status)
          for number from 1
          do (add registry told number limits threshold now))
    registry))

(defun add (registry told number limits threshold now)
  "Add the worker in TOLD, a PB:WORKER-STATUS, the one with that NUMBER, to REGISTRY."
  (let* ((said (pb:worker-status-heartbeat told))
         (beat (or (and said (read-heartbeat (pb:encode said) limits))
                   (unusable "worker ~D has no heartbeat with a worker_id, or one that is too large" number)))
         (id (pb:heartbeat-worker-id beat))
         (address (address-in told number)))
    (when (registry-get registry id)
      (unusable "two workers have the worker_id ~A" (printable id)))
    (when (registry-at registry address)
      (unusable "two workers have the address ~A" (printable (pb:worker-status-address told))))
    (registry-note-elsewhere registry id
                             (min +most-tasks+
                                  (max (pb:worker-status-in-flight told)
                                       (+ (pb:heartbeat-running beat) (pb:heartbeat-waiting beat))))
                             nil)
    (let ((worker (or (registry-heard registry beat address now)
                      (unusable "there are more workers than a head takes, at worker ~D" number))))
      (setf (worker-proximity worker) (proximity-in told threshold)
            (worker-breaker worker) (breaker-in told now)))))

(defun address-in (told number)
  "Return the address in TOLD; one that is nobody's if it has none."
  (let ((text (pb:worker-status-address told)))
    (if (string= text "")
        (ipv4 number 0)
        (or (numeric text)
            (unusable "~A is no address of a worker; write it as 192.0.2.1:7717" (printable text))))))

(defconstant +longest-rtt+ 3600000d0 "Milliseconds.")

(defun proximity-in (told threshold)
  (let ((rtt (pb:worker-status-rtt-ms told)))
    (unless (and (not (sb-ext:float-nan-p rtt)) (<= 0 rtt +longest-rtt+))
      (unusable "rtt_ms of a worker is a number from 0 to ~D" (round +longest-rtt+)))
    (proximity-as-told (and (plusp rtt) (round (* 1000 rtt)))
                       ;; The schema's numbers are one more than DCF's, as 0 says nothing there.
                       (min +unreachable+ (max +healthy+ (1- (pb:worker-status-health told))))
                       (pb:worker-status-group told)
                       threshold)))

(defun breaker-in (told now)
  "Return what speaks against the worker in TOLD, NIL if nothing does."
  (let ((aside (pb:worker-status-set-aside told)))
    (and aside
         (breaker-as-told (pb:set-aside-failures aside) (pb:set-aside-reason aside)
                          (+ now (* 1000 (pb:set-aside-retry-ms aside)))))))
