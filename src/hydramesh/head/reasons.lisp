(defpackage #:hydramesh/head/reasons
  (:use #:cl)
  (:import-from #:hydramesh/head/breaker #:breaker-reason)
  (:import-from #:hydramesh/head/job #:job-model #:job-near-p #:job-needs #:job-patient-until #:job-pinned #:job-queued-at
                #:job-tags)
  (:import-from #:hydramesh/head/patience #:wait-expected #:wait-saving #:wait-worker)
  (:import-from #:hydramesh/head/proximity #:proximity-delay #:proximity-group)
  (:import-from #:hydramesh/head/verdicts
                #:verdict #:verdict-worker #:verdict-rank #:verdict-wait #:verdict-reason #:verdict-readiness #:verdict-rules
                #:verdict-awaits #:verdict-seconds #:verdict-weight)
  (:import-from #:hydramesh/head/model-index #:worker-model-capabilities)
  (:import-from #:hydramesh/head/reading #:share-read)
  (:import-from #:hydramesh/head/worker
                #:worker-breaker #:worker-can-download #:worker-load #:worker-memory #:worker-models
                #:worker-offer #:worker-proximity #:worker-slots #:worker-state #:worker-tags
                #:worker-title)
  (:import-from #:hydramesh/head/worker-models #:worker-takes #:names-repository-p)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:counted #:shown #:word)
  (:import-from #:hydramesh/topology/distance #:+isolated+)
  (:import-from #:hydramesh/work #:ability #:capability-list)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:reason-text #:rank-text #:abilities-text #:aside-text)
  (:documentation "Why a worker does not get a task, in words."))
(in-package #:hydramesh/head/reasons)

(defun rank-text (verdict)
  "Return the place of the worker of VERDICT among those that might get the task: an arrow for the first."
  (let ((rank (verdict-rank verdict)))
    (cond ((null rank) "-")
          ((= rank 1) "->")
          (t (format nil "~D." rank)))))

(defun readiness-text (readiness)
  "Return how soon a worker could run a model, READINESS a keyword, in words."
  (ecase readiness
    (:loaded "model loaded")
    (:loading "model being loaded")
    (:on-disk "model on its disk")
    (:downloading "model being downloaded")
    (:downloadable "would have to download the model")
    (:failed "the model failed to load there")
    ((:never nil) "cannot get the model")))

(defun abilities-text (needs)
  "Return what a model needs to be capable of, NEEDS a set of capabilities, in words."
  (format nil "~{~A~^, ~}"
          (loop for capability in (capability-list needs)
                collect (or (ability capability) (format nil "capability ~D" capability)))))

(defun gib (bytes)
  (/ bytes (float (ash 1 30) 1d0)))

(defun lacking (worker job)
  "Return the set of what JOB needs and the model of WORKER cannot do."
  (let ((known (gethash (job-model job) (worker-models worker))))
    (logandc2 (job-needs job) (or (and known (worker-model-capabilities known)) 0))))

(defun aside-text (breaker wait)
  "Return for how long, WAIT in microseconds, a worker is set aside, and why."
  (format nil "is set aside ~:[for ~D s more~;until a task has tried it~*~]: ~A"
          (zerop wait) (ceiling wait 1000000) (breaker-reason breaker)))

(defun delay-text (worker job)
  "Return what JOB loses by the way to WORKER, NIL if nothing."
  (let* ((proximity (worker-proximity worker))
         (seconds (proximity-delay proximity (job-near-p job))))
    (cond ((zerop seconds) nil)
          ((= (proximity-group proximity) +isolated+)
           (format nil "~,2F s of which as it answers no PINGs" seconds))
          (t
           (format nil "~,2F s of which as it is in group ~D" seconds (proximity-group proximity))))))

(defun reading-text (worker job)
  "Return how much WORKER has read of the prompt of JOB before and should still have, in words."
  (let ((percent (round (* 100 (share-read worker job)))))
    (if (plusp percent) (format nil "; has read ~D % of the prompt before" percent) "")))

(defun busy-text (verdict job)
  (let ((worker (verdict-worker verdict)))
    (format nil "busy: ~A on ~A; ~A~A"
            (counted (worker-load worker) "task") (counted (worker-slots worker) "slot")
            (readiness-text (verdict-readiness verdict)) (reading-text worker job))))

(defun wait-text (wait job)
  "Return why JOB waits for the worker of WAIT though others are free, in words."
  (format nil "as it should have room in about ~,1F s and the free worker would be ~,1F s later; after ~,1F s in ~
               all the task goes to whoever is free"
          (wait-expected wait) (wait-saving wait)
          (/ (- (job-patient-until job) (job-queued-at job)) 1d6)))

(defun reason-text (verdict job)
  "Return why JOB is not given to the worker of VERDICT; how it would fare there if it might be."
  (let ((worker (verdict-worker verdict)))
    (ecase (verdict-reason verdict)
      ((nil) (format nil "~A, free~A; done in about ~,1F s~@[, which the policy counts as ~,1F s~]~@[, ~A~]"
                     (readiness-text (verdict-readiness verdict)) (reading-text worker job)
                     (verdict-seconds verdict)
                     (and (verdict-rules verdict)
                          (/ (verdict-seconds verdict) (verdict-weight verdict)))
                     (delay-text worker job)))
      (:pinned (format nil "the task asks for the worker ~A" (shown (job-pinned job))))
      (:failed "has failed with this task before")
      (:tags (format nil "lacks the tags ~{~A~^, ~}"
                     (mapcar #'shown
                             (set-difference (job-tags job) (worker-tags worker) :test #'string=))))
      (:starting "is starting, and takes no tasks yet")
      (:closed (format nil "takes no more tasks: ~A" (word 'pb:worker-state (worker-state worker))))
      (:no-model (cond ((not (names-repository-p (job-model job)))
                        "does not have the model, which is none that could be downloaded")
                       ((worker-can-download worker) "does not have the model")
                       (t "does not have the model, and may not download any")))
      (:too-large (format nil "cannot hold the model alone: it takes ~,1F GiB there, and there are ~,1F~@[; ~
                                for a group it lends ~,1F~]"
                          (gib (worker-takes worker (job-model job)))
                          (gib (or (worker-memory worker) 0))
                          (and (worker-offer worker)
                               (gib (pb:shard-offer-bytes (worker-offer worker))))))
      (:unable (format nil "its model cannot ~A" (abilities-text (lacking worker job))))
      (:policy (format nil "excluded by the policy~@[: ~{~A~^, ~}~]"
                       (loop for (name . factor) in (verdict-rules verdict)
                             unless factor
                               collect (shown name))))
      (:other "has another model of that name than the one that began the answer")
      (:set-aside (aside-text (worker-breaker worker) (verdict-wait verdict)))
      (:busy (busy-text verdict job))
      (:awaited (format nil "~A; waited for, ~A" (busy-text verdict job) (wait-text (verdict-awaits verdict) job)))
      (:patient (format nil "~A, free~A; done in about ~,1F s; but the task waits for ~A, which has read more of ~
                             the prompt"
                        (readiness-text (verdict-readiness verdict)) (reading-text worker job)
                        (verdict-seconds verdict)
                        (shown (worker-title (wait-worker (verdict-awaits verdict))))))
      (:further (format nil "~A; another free worker could run it sooner"
                        (readiness-text (verdict-readiness verdict))))
      (:waiting (format nil "free, ~A; but a busy worker could run it sooner, which is waited for"
                        (readiness-text (verdict-readiness verdict)))))))
