(defpackage #:hydramesh/replay/changes
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events #:seconds #:+heartbeat+)
  (:import-from #:hydramesh/head/breaker #:make-breaker-rules)
  (:import-from #:hydramesh/head/dispatcher #:make-policy)
  (:import-from #:hydramesh/head/hedging #:make-hedging)
  (:import-from #:hydramesh/head/link #:link-ping)
  (:import-from #:hydramesh/replay/loading #:become #:caused-p #:shared-p)
  (:import-from #:hydramesh/replay/machine
                #:machine-address #:machine-alive-p #:machine-gone-p #:machine-heartbeat #:machine-id
                #:machine-rtt #:make-machine)
  (:import-from #:hydramesh/replay/record #:record-changes #:record-since)
  (:import-from #:hydramesh/replay/world
                #:beat #:lose #:tell #:world-by-address #:world-loads-seen #:world-machines #:world-now)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/roster
                #:change-at #:change-heartbeat #:change-kind #:change-rtt #:change-silent #:change-terms
                #:change-worker #:make-terms #:terms-failures #:terms-group-threshold #:terms-hedge-longest
                #:terms-hedge-quantile #:terms-hedge-share #:terms-longest-pause #:terms-max-attempts
                #:terms-pause #:terms-queue-size #:terms-task-deadline #:terms-worker-timeout)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:machine-named #:apply-change #:changes-in-order #:settings-of)
  (:documentation "How the workers of a simulation come, change and leave, and by which settings its head
goes: as was recorded."))
(in-package #:hydramesh/replay/changes)

(defconstant +stopped-at-once+ 5000000 "A worker that was silent for less has said that it stops.")

(defun machine-named (world id)
  "Return the machine with that ID, which is there from now on."
  (or (find id (world-machines world) :key #'machine-id :test #'string=)
      (let* ((number (1+ (length (world-machines world))))
             (machine (make-machine :id id :address (ipv4 (+ (ash 172 24) (ash 16 16) number) 7717)
                                    :updated-at (world-now world))))
        (setf (world-machines world) (append (world-machines world) (list machine))
              (gethash (machine-address machine) (world-by-address world)) machine)
        machine)))

(defun apply-change (world change)
  "Let CHANGE have happened now."
  (case (change-kind change)
    (:started
     ;; Those that are still there are named next.
     (dolist (machine (world-machines world))
       (setf (machine-alive-p machine) nil)))
    (:is
     (appear world (machine-named world (change-worker change)) change))
    (:gone
     (let ((machine (machine-named world (change-worker change))))
       (unless (machine-gone-p machine)
         (leave world machine (change-silent change)))))))

(defun appear (world machine change)
  (let ((heartbeat (change-heartbeat change)) (before (machine-heartbeat machine)))
    (when (and before (/= (pb:heartbeat-incarnation before) (pb:heartbeat-incarnation heartbeat)))
      (lose world machine)
      (setf (machine-heartbeat machine) nil))
    (become machine heartbeat
            (lambda (model)
              (caused-p (world-loads-seen world) (machine-id machine) model (change-at change))))
    (setf (machine-rtt machine) (change-rtt change)
          (machine-alive-p machine) t
          (machine-gone-p machine) nil)
    (beat world machine)
    (when (shared-p machine)
      (beat world machine)) ; a head believes only what two heartbeats say
    (link-ping world (machine-address machine))))

(defun leave (world machine silent)
  (lose world machine)
  (setf (machine-alive-p machine) nil
        (machine-gone-p machine) t)
  (when (and (machine-heartbeat machine) (< silent +stopped-at-once+))
    (let ((last (pb:copy-message (machine-heartbeat machine))))
      (setf (pb:heartbeat-state last) pb:+stopped+)
      (tell world (machine-address machine) +heartbeat+ (pb:encode last)))))

(defun changes-in-order (record)
  "Return conses of a time and a change, in order; a worker that fell silent was gone when it did."
  (let ((started 0))
    (stable-sort (loop for change in (record-changes record)
                       when (eq (change-kind change) :started)
                         do (setf started (change-at change))
                       unless (eq (change-kind change) :terms)
                         collect (cons (max started (- (change-at change) (change-silent change))) change))
                 #'< :key #'car)))

;;; Settings

(defun terms-of (record)
  "Return the terms by which the head of RECORD went first, NIL if they are not known."
  (loop with found = nil
        for change in (record-changes record)
        when (and (eq (change-kind change) :terms)
                  (or (null found) (<= (change-at change) (record-since record))))
          do (setf found (change-terms change))
        finally (return found)))

(defun settings-of (record)
  "Return the settings by which the head went first, for MAKE-CORE; the defaults where they are not known."
  (let ((terms (or (terms-of record)
                   (make-terms :worker-timeout (seconds 10) :queue-size 1000 :task-deadline (seconds 600)
                               :max-attempts 3))))
    (make-policy :worker-timeout (max 1 (terms-worker-timeout terms))
                 :queue-size (terms-queue-size terms)
                 :task-deadline (max 1 (terms-task-deadline terms))
                 :max-attempts (max 1 (terms-max-attempts terms))
                 :group-threshold (max 1 (or (terms-group-threshold terms) 50000))
                 :breaker (make-breaker-rules :failures (or (terms-failures terms) 3)
                                              :pause (or (terms-pause terms) (seconds 5))
                                              :longest (or (terms-longest-pause terms) (seconds 300)))
                 :hedging (make-hedging :share (/ (or (terms-hedge-share terms) 0) 1d6)
                                        :quantile (/ (or (terms-hedge-quantile terms) 950000) 1d6)
                                        :longest (or (terms-hedge-longest terms) (seconds 10))))))
