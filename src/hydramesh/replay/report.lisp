(defpackage #:hydramesh/replay/report
  (:use #:cl)
  (:import-from #:hydramesh/replay/outcome
                #:outcome-cancelled #:outcome-done #:outcome-failed #:outcome-first #:outcome-hedged
                #:outcome-loads
                #:outcome-moved
                #:outcome-queued #:outcome-tasks #:outcome-total #:quantile #:relative-error
                #:workload-busy #:workload-tasks #:workload-worker)
  (:import-from #:hydramesh/shown #:counted #:shown)
  (:import-from #:hydramesh/storage/json #:json-number #:json-text)
  (:export #:print-report #:print-json)
  (:documentation "What a replay has found, beside what really happened: at a terminal, and as JSON."))
(in-package #:hydramesh/replay/report)

(defparameter +shares+ '(("p50" . 1/2) ("p90" . 9/10) ("p99" . 99/100)))

(defun seconds-text (microseconds)
  (if microseconds (format nil "~,3F s" (/ microseconds 1d6)) "-"))

(defun part-text (part)
  (if part (format nil "~,1F %" (* 100d0 part)) "-"))

(defun difference-text (part)
  (if part
      (let ((percent (/ (round (* 1000 part)) 10)))
        (format nil "~:[~;+~]~,1F %" (plusp percent) percent))
      "-"))

(defun row (stream name &rest columns)
  (format stream "~24A~{~14@A~}~%" name columns))

(defun load-of (outcome worker reader)
  (let ((found (find worker (outcome-loads outcome) :key #'workload-worker :test #'string=)))
    (if found (funcall reader found) 0)))

(defun workers-in (outcomes)
  (sort (remove-duplicates (loop for outcome in outcomes
                                 append (mapcar #'workload-worker (outcome-loads outcome)))
                           :test #'string=)
        #'string<))

(defun print-rows (stream outcomes)
  "Print what is known of OUTCOMES, a column for each."
  (flet ((each (name function)
           (apply #'row stream name (mapcar function outcomes))))
    (loop for (name . reader) in `(("total" . ,#'outcome-total) ("first" . ,#'outcome-first)
                                   ("queued" . ,#'outcome-queued))
          do (loop for (label . share) in +shares+
                   do (each (format nil "~A ~A" name label)
                            (lambda (outcome) (seconds-text (quantile (funcall reader outcome) share))))))
    (each "answered" #'outcome-done)
    (each "failed" #'outcome-failed)
    (each "cancelled" #'outcome-cancelled)
    (each "moved" #'outcome-moved)
    (each "on two workers" #'outcome-hedged)
    (dolist (worker (workers-in outcomes))
      (each (let ((name (shown worker))) (subseq name 0 (min 23 (length name))))
            (lambda (outcome)
              (format nil "~D / ~,1F s" (load-of outcome worker #'workload-tasks)
                      (/ (load-of outcome worker #'workload-busy) 1d6)))))))

(defun error-at (share outcome recorded)
  "Return how far off OUTCOME is from what was RECORDED, for the time that SHARE of the tasks do not exceed."
  (relative-error (quantile (outcome-total outcome) share) (quantile (outcome-total recorded) share)))

(defun print-report (stream &key recorded validation usual candidate same left-out remarks name in-force)
  "Print three outcomes: what was RECORDED, what the simulation makes of the policy IN-FORCE then, its
VALIDATION, and of the one called NAME. USUAL is what it makes of the former if it does not know how long
each task took. SAME is which part of the tasks the first simulation had on the same worker; LEFT-OUT is
how many are not replayed, and REMARKS are sentences about what is not known."
  (format stream "~A replayed~@[, ~A left out~]~2%" (counted (outcome-tasks recorded) "task")
          (and (plusp left-out) left-out))
  (format stream "error of the simulation, with ~:[no policy~;~:*the policy ~S~] in force:~%" in-force)
  (row stream "" "own times" "usual times")
  (loop for (label . share) in +shares+
        do (row stream (format nil "  total ~A" label)
                (difference-text (error-at share validation recorded))
                (difference-text (error-at share usual recorded))))
  (row stream "  on the same worker" (part-text same))
  (terpri stream)
  (row stream "" "recorded" "simulated" "candidate")
  (print-rows stream (list recorded validation candidate))
  (format stream "~%The candidate is the policy ~S. A worker's row has its tasks, and how long all of them ~
                  ran.~%~{~A~%~}"
          name remarks))

;;; JSON

(defun json-seconds (microseconds)
  (json-number (and microseconds (/ microseconds 1d6))))

(defun json-outcome (outcome)
  (flet ((quantiles (sorted)
           (format nil "{~{\"~A\": ~A~^, ~}}"
                   (loop for (label . share) in +shares+
                         collect label collect (json-seconds (quantile sorted share))))))
    (format nil "{\"tasks\": ~D, \"answered\": ~D, \"failed\": ~D, \"cancelled\": ~D, \"moved\": ~D, ~
                 \"hedged\": ~D, \"total\": ~A, \"first\": ~A, \"queued\": ~A, ~
                 \"workers\": {~{~A: {\"tasks\": ~D, \"busy\": ~A}~^, ~}}}"
            (outcome-tasks outcome) (outcome-done outcome) (outcome-failed outcome)
            (outcome-cancelled outcome) (outcome-moved outcome) (outcome-hedged outcome)
            (quantiles (outcome-total outcome)) (quantiles (outcome-first outcome))
            (quantiles (outcome-queued outcome))
            (loop for load in (outcome-loads outcome)
                  collect (json-text (workload-worker load))
                  collect (workload-tasks load)
                  collect (json-seconds (workload-busy load))))))

(defun json-errors (outcome recorded)
  (loop for (label . share) in +shares+
        collect label
        collect (json-number (let ((part (error-at share outcome recorded)))
                               (and part (float part 1d0))))))

(defun print-json (stream &key recorded validation usual candidate same left-out remarks name in-force)
  "Print what PRINT-REPORT does, as JSON; times are in seconds."
  (format stream "{\"policy\": ~A, \"in_force\": ~A, \"left_out\": ~D, \"remarks\": [~{~A~^, ~}], ~
                  \"error\": {~{\"~A\": ~A, ~}\"same_worker\": ~A}, ~
                  \"usual_error\": {~{\"~A\": ~A~^, ~}}, ~
                  \"recorded\": ~A, \"simulated\": ~A, \"candidate\": ~A}~%"
          (json-text name) (if in-force (json-text in-force) "null") left-out
          (mapcar #'json-text remarks)
          (json-errors validation recorded)
          (json-number (and same (float same 1d0)))
          (json-errors usual recorded)
          (json-outcome recorded) (json-outcome validation) (json-outcome candidate)))
