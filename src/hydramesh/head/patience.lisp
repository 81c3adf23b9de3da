(defpackage #:hydramesh/head/patience
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/job
                #:job-attempts #:job-awaits #:job-deadline #:job-kind #:job-model #:job-patient-until
                #:job-plan #:job-prefix #:job-reading)
  (:import-from #:hydramesh/head/model-index #:do-holders #:worker-model-worker)
  (:import-from #:hydramesh/head/read-prompts #:reading-pace)
  (:import-from #:hydramesh/head/reading #:saved)
  (:import-from #:hydramesh/head/registry #:registry-index)
  (:import-from #:hydramesh/head/scheduling #:could-run-p)
  (:import-from #:hydramesh/head/scoring #:seconds-on #:stretch)
  (:import-from #:hydramesh/head/turnaround #:turnaround-next-end)
  (:import-from #:hydramesh/head/worker
                #:worker #:worker-awaited #:worker-free-p #:worker-load #:worker-models #:worker-read
                #:worker-turnaround #:worker-weight)
  (:import-from #:hydramesh/head/worker-models #:worker-rate)
  (:import-from #:hydramesh/prompt-blocks #:hashes)
  (:import-from #:hydramesh/work #:work-kind-usual-rate)
  (:export #:wait #:wait-worker #:wait-expected #:wait-saving #:worth-waiting)
  (:documentation "Whether a task waits for a busy worker that has read its prompt, though another one is free.

It does if that should have room before the wait has cost what the free one would spend on reading the prompt
again. What the wait may cost in the end is bounded by the same: after as long as the reading would take, and
+MOST-PATIENCE+ at most, the task takes whoever is free. So at worst it waits as long as it would have read (as
in the ski rental problem: who buys when the rent has reached the price never pays more than twice what was
needed).

A task waits so once, and not if it has been on a worker before."))
(in-package #:hydramesh/head/patience)

(defconstant +most-patience+ 10d0 "Seconds for which a task waits at most.")

(defconstant +least-saving+ 0.1d0 "Seconds; for less than that no task waits.")

(defstruct (wait (:copier nil))
  "A WORKER that should have room after EXPECTED seconds, and is worth SAVING of them."
  (worker nil :type worker :read-only t)
  (expected 0d0 :type double-float :read-only t)
  (saving 0d0 :type double-float :read-only t))

(defun worth-waiting (registry chosen job now)
  "Return the WAIT of JOB for whom it should wait rather than go to CHOSEN, which is free and which the policy in
force has just weighed; NIL if for nobody."
  (declare (type microseconds now))
  (when (and (plusp (length (the hashes (job-prefix job))))
             (may-wait-p job now))
    (let* ((usual (usual-rate chosen job))
           (here (saved chosen job)))
      (when (>= (seconds-to-read chosen job (- (job-reading job) here) usual) +least-saving+)
        (best-wait registry chosen job here usual now)))))

(defun may-wait-p (job now)
  (and (zerop (job-attempts job))
       (or (null (job-patient-until job)) (< now (job-patient-until job)))))

(defun best-wait (registry chosen job here usual now)
  "Return what WORTH-WAITING does. CHOSEN need not read HERE of JOB; USUAL is the rate of a worker that was not
measured."
  (let* ((at-once (seconds-on chosen (gethash (job-model job) (worker-models chosen)) job usual))
         (most (min +most-patience+ (- (/ (- (job-deadline job) now) 1d6) at-once)))
         (weight (weight-of chosen job))
         (best nil))
    (do-holders (model (registry-index registry) (job-model job))
      (let* ((worker (worker-model-worker model))
             (spared (if (worker-free-p worker) 0d0 (- (saved worker job) here))))
        (when (and (plusp spared) (could-run-p registry worker model job now))
          (let* ((sooner (- (* at-once (/ (weight-of worker job) weight))
                            (seconds-on worker model job usual (1- (worker-load worker)))))
                 (saving (min most sooner (seconds-to-read chosen job spared usual)))
                 (expected (expected-wait worker job now)))
            (when (and expected
                       (>= saving +least-saving+)
                       (< expected saving)
                       (or (null best)
                           (> (- saving expected) (- (wait-saving best) (wait-expected best)))))
              (setf best (make-wait :worker worker :expected expected :saving saving)))))))
    best))

(defun expected-wait (worker job now)
  "Return in how many seconds WORKER should have room for JOB, behind those that wait for it already; NIL if that
is not known."
  (let ((next (turnaround-next-end (worker-turnaround worker) (worker-load worker) now)))
    (and next
         (* next (1+ (if (eq worker (job-awaits job)) 0 (worker-awaited worker)))))))

(defun weight-of (worker job)
  "Return what WORKER has by the policy in force, of which a weight of 2 counts as twice as fast."
  (if (job-plan job) (worker-weight worker) 1d0))

(defun usual-rate (worker job)
  (let ((rate (worker-rate worker (job-model job))))
    (if (plusp rate) rate (work-kind-usual-rate (job-kind job)))))

(defun seconds-to-read (worker job units usual)
  "Return how long WORKER reads so many UNITS of what JOB has, as fast as it did of late.
If that was not measured, it is reckoned by what the worker makes, or by the rate USUAL."
  (let ((measured (if (worker-read worker) (reading-pace (worker-read worker) (job-model job)) 0d0)))
    (if (plusp measured)
        (* units measured)
        (let ((rate (worker-rate worker (job-model job))))
          (* (/ units (if (plusp rate) rate usual))
             (stretch worker job))))))
