(defpackage #:hydramesh/head/races
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/answer-order
                #:answer-order-delivered-bytes #:answer-order-made-by #:answer-order-next-index)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/assignments
                #:assignments #:assignments-call-off #:assignments-hedge #:assignments-promote)
  (:import-from #:hydramesh/head/deadlines
                #:deadlines #:make-deadlines #:deadlines-add #:deadlines-missed #:deadlines-next)
  (:import-from #:hydramesh/head/hedging
                #:budget #:make-budget #:budget-earn #:budget-spend #:hedging-quantile #:hedging-share #:lateness
                #:silence)
  (:import-from #:hydramesh/head/in-force #:allowance)
  (:import-from #:hydramesh/head/job
                #:job-answer #:job-bytes #:job-group #:job-heard-at #:job-hedge #:job-kind
                #:job-late-at #:job-number #:job-numbers #:job-pace #:job-pinned #:job-worker
                #:numbers-began-at)
  (:import-from #:hydramesh/head/limits #:head-limits #:head-limits-hedged)
  (:import-from #:hydramesh/head/link #:message-too-large)
  (:import-from #:hydramesh/head/pace #:pace-add #:pace-add-unfinished)
  (:import-from #:hydramesh/head/registry #:registry)
  (:import-from #:hydramesh/head/rulings #:decided)
  (:import-from #:hydramesh/head/scheduling #:choose-second)
  (:import-from #:hydramesh/head/statistics
                #:statistics #:statistics-hedged #:statistics-hedges-won)
  (:import-from #:hydramesh/head/worker #:worker-id)
  (:import-from #:hydramesh/service/logs #:log-debug)
  (:import-from #:hydramesh/work #:getting-ready-p #:work-kind-raced)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:races #:make-races #:races-begin #:races-reconsider #:races-next #:races-run #:races-heard
           #:races-won)
  (:documentation "Hedging: a task that is late on its worker is run on a second one too.

Both attempts are of one job: the first part of either decides which goes on, and the other is cancelled. Two
workers with the same model give the same answer, as the job has a seed; so the second goes on where the first
broke off, if that has begun."))
(in-package #:hydramesh/head/races)

(defstruct (races (:constructor %make-races) (:copier nil))
  "The jobs that may be hedged, and when each has to be looked at next, in DUE."
  (assignments nil :type assignments :read-only t)
  (workers nil :type registry :read-only t)
  (statistics nil :type statistics :read-only t)
  (limits nil :type head-limits :read-only t)
  (due nil :type deadlines :read-only t)
  (budget (make-budget) :type budget :read-only t))

(defun make-races (assignments workers statistics limits jobs)
  "Return no races; JOBS are all that are not over, by their numbers."
  (%make-races :assignments assignments
               :workers workers
               :statistics statistics
               :limits limits
               ;; The clock stands still while this process does, and nobody is late for that.
               :due (make-deadlines (constantly 0) jobs)))

(defun hedgeable-p (races job)
  "Return whether JOB may run on two workers: large ones, those for one worker and those for groups do not."
  (and (job-pace job)
       (null (job-group job))
       (string= (job-pinned job) "")
       (work-kind-raced (job-kind job))
       (<= (+ (job-bytes job) (answer-order-delivered-bytes (job-answer job)))
           (head-limits-hedged (races-limits races)))))

(defun races-begin (races job hedging now)
  "JOB has just been assigned; look at it when it is late. HEDGING are the rules in force."
  (setf (job-late-at job) nil)
  (unless (zerop (hedging-share hedging))
    (budget-earn (races-budget races) (hedging-share hedging))
    (let ((late (and (hedgeable-p races job)
                     (lateness hedging (allowance job) (job-pace job)))))
      (when late
        (look-at races job (+ now late))))))

(defun look-at (races job time)
  (setf (job-late-at job) time)
  (deadlines-add (races-due races) time (job-number job)))

(defun races-reconsider (races jobs hedging now)
  "Look at JOBS, which run, when they are late by the policy that is in force from NOW on."
  (dolist (job jobs)
    (setf (job-late-at job) nil)
    (look races job hedging now)))

(defun races-next (races)
  "Return when RACES-RUN has something to do, NIL if never."
  (deadlines-next (races-due races)))

(defun races-run (races hedging now)
  "Run jobs that are late by NOW on a second worker too, as far as HEDGING allows."
  (loop for job = (deadlines-missed (races-due races) now)
        while job
        do (let ((late-at (job-late-at job)))
             ;; It may have been assigned anew, and be looked at later.
             (when (and late-at (<= late-at now) (job-worker job))
               (setf (job-late-at job) nil)
               (look races job hedging now)))))

(defparameter +again+ (seconds 0.05d0)
  "Until a late job is looked at again, at the least: a policy may say that one is late at once.")

(defun look (races job hedging now)
  "Hedge JOB, which was to be looked at NOW, if it is late; and say when to look again."
  (let ((late (and (hedgeable-p races job)
                   (lateness hedging (allowance job) (job-pace job)))))
    (when late
      (let* ((heard-at (job-heard-at job))
             (wait (if heard-at (silence late) late))
             (late-at (+ wait (or heard-at (numbers-began-at (job-numbers job))))))
        (cond ((< now late-at)
               (look-at races job late-at))
              (t
               (unless (or (job-hedge job) (and heard-at (not (resumable-p job))))
                 (hedge races job now))
               (look-at races job (+ now (max wait +again+)))))))))

(defun resumable-p (job)
  "Return whether the answer to JOB, of which parts came, can be gone on with rather than made again."
  (answer-order-made-by (job-answer job)))

(defun hedge (races job now)
  "Run JOB on a second worker too, if there is one and enough was saved for it."
  (let ((workers (races-workers races))
        (statistics (races-statistics races)))
    (let ((second (choose-second workers job now)))
      (when (and second
                 (budget-spend (races-budget races))
                 (handler-case
                     (assignments-hedge (races-assignments races) job second
                                        (decided workers job second) now)
                   (message-too-large () nil)))
        (incf (statistics-hedged statistics))
        (log-debug "task hedged" :job (job-number job)
                                 :worker (worker-id (job-worker job))
                                 :second (worker-id second))))))

;;; The end of a race

(defun races-heard (races job now)
  "A part of the answer to JOB has come from its first worker, which has so won if there is a race."
  (unless (job-heard-at job)
    (when (job-pace job)
      (pace-add (job-pace job) (- now (numbers-began-at (job-numbers job))))))
  (setf (job-heard-at job) now)
  (when (job-hedge job)
    (assignments-call-off (races-assignments races) job now)))

(defun races-won (races job part hedging now)
  "PART of the answer to JOB has come from its second worker. If that has so won, it becomes the first; return
the worker that has lost then, and when its attempt had begun. If it cannot go on, it is called off: return
NIL."
  (let ((assignments (races-assignments races)))
    (cond ((useless-p part job)
           (assignments-call-off assignments job now)
           nil)
          (t
           (unless (job-heard-at job)
             (pace-add-unfinished (job-pace job)
                                  (- now (numbers-began-at (job-numbers job)))
                                  (hedging-quantile hedging)))
           (let ((began-at (numbers-began-at (job-numbers job))))
             (incf (statistics-hedges-won (races-statistics races)))
             (values (assignments-promote assignments job now :tell t) began-at))))))

(defun useless-p (part job)
  "Return whether PART says that its worker loads the model first, or begins the answer again."
  (or (getting-ready-p part)
      (and (pb:result-started-over part)
           (plusp (answer-order-next-index (job-answer job))))))
