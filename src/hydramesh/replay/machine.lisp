(defpackage #:hydramesh/replay/machine
  (:use #:cl)
  (:import-from #:hydramesh/replay/prompts #:make-cache)
  (:import-from #:hydramesh/replay/service #:stretch)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:run #:make-run #:run-index #:run-attempt #:run-model #:run-part #:run-read #:run-make
           #:run-share #:run-left #:run-begun-p
           #:machine #:make-machine #:machine-id #:machine-address #:machine-heartbeat #:machine-octets
           #:machine-rtt #:machine-alive-p #:machine-gone-p #:machine-beat-at #:machine-runs #:machine-held
           #:machine-models #:machine-used #:machine-cache
           #:settle #:next-end #:begun #:ready #:drop-run #:drop-all #:status-in #:rate-of)
  (:documentation "A worker of a simulation, and how far it is with what it runs."))
(in-package #:hydramesh/replay/machine)

(defstruct (run (:copier nil))
  "The passage at INDEX, NIL if it is one that ran before the record, runs as ATTEMPT with MODEL. Alone it
would be READ in so many microseconds, and then answered in MAKE; the WHOLE answer takes that long. The
worker had SHARE of the prompt. The next part of the answer is PART; the first is sent when it is read,
unless it is BEGUN-P."
  (index nil :type (or null unsigned-byte))
  (attempt 0 :type (unsigned-byte 64))
  (model "" :type string)
  (part 0 :type unsigned-byte)
  (read 0d0 :type double-float)
  (make 0d0 :type double-float)
  (whole 0d0 :type double-float)
  (share 0 :type real)
  (begun-p nil))

(defun run-left (run)
  "Return which part of the answer of RUN is not made yet, from 0 to 1."
  (if (plusp (run-whole run)) (/ (run-make run) (run-whole run)) 0))

(defstruct (machine (:copier nil))
  "A worker: its ID and ADDRESS, the last HEARTBEAT of the record, and what it tells now as OCTETS, NIL if
that has changed. It sends heartbeats while it is ALIVE-P, and runs what it is given unless it is GONE-P.
RUNS are as of UPDATED-AT; HELD are runs that wait for their model. MODELS has in which way models are not
as in the record, see HYDRAMESH/REPLAY/LOADING, USED when they were needed last, and CACHE what was read of
prompts."
  (id "" :type string)
  (address 0)
  (heartbeat nil)
  (octets nil)
  (rtt nil)
  (alive-p nil)
  (gone-p nil)
  (beat-at 0)
  (runs '() :type list)
  (held '() :type list)
  (updated-at 0)
  (models (make-hash-table :test #'equal) :type hash-table)
  (used (make-hash-table :test #'equal) :type hash-table)
  (cache (make-cache)))

(defun pace (machine services)
  (/ 1d0 (stretch services (machine-id machine) (length (machine-runs machine)))))

(defun settle (machine services now)
  "Let what MACHINE runs be as far as it is NOW."
  (let ((passed (* (- now (machine-updated-at machine)) (pace machine services))))
    (dolist (run (machine-runs machine))
      (let ((reading (min passed (run-read run))))
        (decf (run-read run) reading)
        (setf (run-make run) (max 0d0 (- (run-make run) (- passed reading))))))
    (setf (machine-updated-at machine) now)))

(defun left (run)
  "Return how long RUN has until it tells something, alone."
  (if (run-begun-p run)
      (+ (run-read run) (run-make run))
      (run-read run)))

(defun next-end (machine services)
  "Return when MACHINE has something to tell of what it runs, NIL if it has nothing."
  (when (machine-runs machine)
    (+ (machine-updated-at machine)
       (ceiling (/ (reduce #'min (machine-runs machine) :key #'left) (pace machine services))))))

(defun begun (machine)
  "Return the runs of MACHINE, the first one first, that have been read and have told nothing yet."
  (loop for run in (reverse (machine-runs machine))
        when (and (not (run-begun-p run)) (< (run-read run) 1d0))
          collect run))

(defun ready (machine)
  "Return the runs that MACHINE is ready with, the first one first, which it has no more."
  (let ((ready (remove-if-not (lambda (run) (< (+ (run-read run) (run-make run)) 1d0))
                              (reverse (machine-runs machine)))))
    (when ready
      (setf (machine-runs machine) (set-difference (machine-runs machine) ready :test #'eq)))
    ready))

(defun drop-run (machine attempt)
  "Let MACHINE no longer run ATTEMPT; return that run, NIL if it had none."
  (let ((run (or (find attempt (machine-runs machine) :key #'run-attempt)
                 (find attempt (machine-held machine) :key #'run-attempt))))
    (when run
      (setf (machine-runs machine) (remove run (machine-runs machine) :test #'eq)
            (machine-held machine) (remove run (machine-held machine) :test #'eq)))
    run))

(defun drop-all (machine)
  "Let MACHINE be another process, that runs nothing and has read nothing."
  (setf (machine-runs machine) '()
        (machine-held machine) '()
        (machine-cache machine) (make-cache))
  (clrhash (machine-models machine)))

(defun status-in (heartbeat model)
  "Return the PB:MODEL-STATUS of MODEL in HEARTBEAT; NIL if it is not there, or HEARTBEAT is NIL."
  (and heartbeat
       (find model (pb:heartbeat-models heartbeat) :key #'pb:model-status-name :test #'string=)))

(defun rate-of (machine model)
  "Return what MACHINE tells that it makes a second with MODEL, 0 if it tells nothing."
  (let ((status (status-in (machine-heartbeat machine) model)))
    (if status (pb:model-status-rate status) 0)))
