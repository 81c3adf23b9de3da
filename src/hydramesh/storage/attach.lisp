(defpackage #:hydramesh/storage/attach
  (:use #:cl)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/breaker
                #:breaker-rules-failures #:breaker-rules-longest #:breaker-rules-pause)
  (:import-from #:hydramesh/head/core #:core-dispatcher #:core-observer #:core-statistics)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-in-flight #:dispatcher-policy #:dispatcher-queue #:dispatcher-workers
                #:policy-breaker #:policy-group-threshold #:policy-hedging #:policy-max-attempts
                #:policy-queue-size #:policy-task-deadline #:policy-worker-timeout)
  (:import-from #:hydramesh/head/hedging #:hedging-longest #:hedging-quantile #:hedging-share)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length)
  (:import-from #:hydramesh/head/registry #:registry-count #:registry-remembered-rate #:registry-workers)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:import-from #:hydramesh/storage/counters #:counters-of #:restore-counters)
  (:import-from #:hydramesh/storage/recorder
                #:start-recorder #:stop-recorder #:recorder-counters #:recorder-look #:recorder-rate
                #:recorder-sample #:recorder-settle #:recorder-figures)
  (:import-from #:hydramesh/storage/roster #:make-terms)
  (:export #:attachment #:attach-recorder #:detach-recorder #:attachment-tick #:attachment-sample
           #:attachment-settle #:attachment-figures)
  (:documentation "A head that is recorded: what it knows of the past, and what it tells of the present.

Every function takes NIL for a head that is not, and then does nothing."))
(in-package #:hydramesh/storage/attach)

(defparameter +interval+ (seconds 1) "Between two samples of what the head holds and has counted.")

(defstruct (attachment (:constructor make-attachment (core recorder)))
  "The RECORDER of CORE, which is told the next sample at NEXT, a time of the head's clock."
  core
  recorder
  (next 0 :type (unsigned-byte 62)))

(defun attach-recorder (core state-dir storage)
  "Record what CORE does in the folder STATE-DIR, in STORAGE: \"sqlite\", \"streamdb\", or \"none\" for not.
CORE goes on counting where the last one there stopped, and knows the rates that were measured. Return what
the other functions take, or NIL."
  (cond ((string= storage "none") nil)
        ((string= state-dir "")
         (log-warning "no figures are recorded: there is no folder for them; set state_dir, or storage = \"none\"")
         nil)
        (t
         (let ((recorder (start-recorder state-dir storage)))
           (restore-counters (recorder-counters recorder) (core-statistics core))
           (setf (core-observer core) recorder
                 (registry-remembered-rate (dispatcher-workers (core-dispatcher core)))
                 (lambda (worker model) (recorder-rate recorder worker model)))
           (make-attachment core recorder)))))

(defun terms-of (policy)
  (make-terms :worker-timeout (policy-worker-timeout policy)
              :queue-size (policy-queue-size policy)
              :task-deadline (policy-task-deadline policy)
              :max-attempts (policy-max-attempts policy)
              :group-threshold (policy-group-threshold policy)
              :failures (breaker-rules-failures (policy-breaker policy))
              :pause (breaker-rules-pause (policy-breaker policy))
              :longest-pause (breaker-rules-longest (policy-breaker policy))
              :hedge-share (round (* 1000000 (hedging-share (policy-hedging policy))))
              :hedge-quantile (round (* 1000000 (hedging-quantile (policy-hedging policy))))
              :hedge-longest (hedging-longest (policy-hedging policy))))

(defun attachment-sample (attachment)
  "Hand over what the head holds and has counted. To be called by the head's thread."
  (when attachment
    (let* ((core (attachment-core attachment)) (dispatcher (core-dispatcher core)))
      (recorder-sample (attachment-recorder attachment)
                       (counters-of (core-statistics core))
                       (job-queue-length (dispatcher-queue dispatcher))
                       (dispatcher-in-flight dispatcher)
                       (registry-count (dispatcher-workers dispatcher))))))

(defun look (attachment now)
  (let ((dispatcher (core-dispatcher (attachment-core attachment))))
    (recorder-look (attachment-recorder attachment)
                   (registry-workers (dispatcher-workers dispatcher))
                   (terms-of (dispatcher-policy dispatcher))
                   now)))

(defun attachment-tick (attachment now)
  "Take a sample if it is time, and let the recorder look at the workers. To be called by the head's thread."
  (when (and attachment (>= now (attachment-next attachment)))
    (setf (attachment-next attachment) (+ now +interval+))
    (attachment-sample attachment)
    (look attachment now)))

(defun attachment-settle (attachment)
  "Wait until what was sampled before is written, half a second at most. To be called by another thread.
Whoever was shown counters after this is never shown lower ones, even if the head is killed."
  (when attachment
    (recorder-settle (attachment-recorder attachment) 1/2)))

(defun attachment-figures (attachment)
  "Return a list of (name kind help number) about the recording, where KIND is :counter or :gauge."
  (and attachment (recorder-figures (attachment-recorder attachment))))

(defun detach-recorder (attachment timeout)
  "Write everything down, within TIMEOUT seconds. To be called by the head's thread, when all tasks ended."
  (when attachment
    (attachment-sample attachment)
    (setf (core-observer (attachment-core attachment)) nil)
    (stop-recorder (attachment-recorder attachment) timeout)))
