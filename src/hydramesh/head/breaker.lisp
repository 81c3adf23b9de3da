(defpackage #:hydramesh/head/breaker
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:export #:breaker-rules #:make-breaker-rules #:breaker-rules-failures #:breaker-rules-pause
           #:breaker-rules-longest
           #:breaker #:make-breaker #:breaker-as-told #:breaker-failures #:breaker-retry-at #:breaker-state #:breaker-wait #:breaker-reason
           #:breaker-denies-p #:breaker-failed #:breaker-lost-race #:breaker-succeeded
           #:breaker-began #:breaker-ended)
  (:documentation "Whether a worker that fails again and again gets tasks: a circuit breaker, sans-IO.

It is closed, and the worker gets tasks as others do, until so many attempts in a row have failed by its
own fault. Then it is open, and the worker gets none for a pause. After that it is half-open, and the worker
gets one at a time: if that ends well the breaker is closed, and if it fails it is open again, for twice as
long.

What ran already when an attempt failed tells nothing new: a crash of an engine fails all that it runs, and
that is one failure. So an attempt counts only if it began after the last one that failed."))
(in-package #:hydramesh/head/breaker)

(defconstant +races-a-failure+ 3
  "Races that are lost in a row for one failure. Whoever is late once in twenty tasks loses one now and then.")

(defconstant +most-doublings+ 20 "Of the pause, so that numbers stay small.")

(defstruct breaker-rules
  "A breaker opens after that number of FAILURES in a row, never if it is 0, for PAUSE, then for twice as long
each time, but for LONGEST at most."
  (failures 3 :type unsigned-byte)
  (pause (seconds 5) :type microseconds)
  (longest (seconds 300) :type microseconds))

(defstruct (breaker (:copier nil))
  "What speaks against a worker since the last attempt that ended well: FAILURES in a row, the last one at
FAILED-AT because of WHAT, and RACES lost since then. It was open for OPENINGS times, now until RETRY-AT,
which is NIL while it is closed. TRIAL is the id of the attempt by which a half-open one is tried, 0 if
there is none."
  (failures 0 :type fixnum)
  (races 0 :type fixnum)
  (failed-at -1 :type fixnum)
  (what :failed :type (member :failed :lost :stalled :slow))
  (openings 0 :type fixnum)
  (retry-at nil :type (or null microseconds))
  (trial 0 :type (unsigned-byte 64)))

(defun breaker-state (breaker now)
  "Return :CLOSED, :OPEN or :HALF-OPEN."
  (let ((retry-at (breaker-retry-at breaker)))
    (cond ((null retry-at) :closed)
          ((< now retry-at) :open)
          (t :half-open))))

(defun breaker-wait (breaker now)
  "Return how long it is until the worker may be tried, 0 if it may be or is."
  (max 0 (- (or (breaker-retry-at breaker) 0) now)))

(defun breaker-denies-p (breaker now)
  "Return whether the worker should get no task now."
  (ecase (breaker-state breaker now)
    (:closed nil)
    (:open t)
    (:half-open (plusp (breaker-trial breaker)))))

(defun breaker-failed (breaker rules what began-at now)
  "Count that an attempt which began at BEGAN-AT has failed by the worker's fault; WHAT is :FAILED, :LOST,
:STALLED or :SLOW. Return the pause if that opens the breaker, else NIL."
  (when (>= began-at (breaker-failed-at breaker))
    (incf (breaker-failures breaker))
    (setf (breaker-races breaker) 0
          (breaker-failed-at breaker) now
          (breaker-what breaker) what)
    (when (ecase (breaker-state breaker now)
            (:closed (<= 1 (breaker-rules-failures rules) (breaker-failures breaker)))
            (:open nil)
            (:half-open t))
      (let ((pause (min (breaker-rules-longest rules)
                        (ash (breaker-rules-pause rules)
                             (min (breaker-openings breaker) +most-doublings+)))))
        (incf (breaker-openings breaker))
        (setf (breaker-retry-at breaker) (+ now pause))
        pause))))

(defun breaker-lost-race (breaker rules began-at now)
  "Count that another worker was faster with an attempt that began here at BEGAN-AT, and was late.
Return what BREAKER-FAILED does."
  (when (and (>= began-at (breaker-failed-at breaker))
             (>= (incf (breaker-races breaker)) +races-a-failure+))
    (breaker-failed breaker rules :slow began-at now)))

(defun breaker-succeeded (breaker began-at)
  "Count that an attempt which began at BEGAN-AT has ended well; return whether nothing speaks against the
worker any more."
  (when (>= began-at (breaker-failed-at breaker))
    (setf (breaker-failures breaker) 0
          (breaker-races breaker) 0
          (breaker-openings breaker) 0
          (breaker-retry-at breaker) nil
          (breaker-trial breaker) 0)
    t))

(defun breaker-began (breaker attempt now)
  "Note that the worker has got ATTEMPT; it is the trial if one was due."
  (when (and (eq (breaker-state breaker now) :half-open)
             (zerop (breaker-trial breaker)))
    (setf (breaker-trial breaker) attempt)))

(defun breaker-ended (breaker attempt)
  "Note that the worker no longer has ATTEMPT; if it was a trial that told nothing, another one is due."
  (when (= attempt (breaker-trial breaker))
    (setf (breaker-trial breaker) 0)))

(defun breaker-reason (breaker)
  "Return what speaks against the worker, in words."
  (format nil "failed ~:[~D times in a row~;once~*~]~A"
          (= 1 (breaker-failures breaker))
          (breaker-failures breaker)
          (ecase (breaker-what breaker)
            (:failed "")
            (:lost ", at last as it was lost")
            (:stalled ", at last as it stalled")
            (:slow ", at last as others were faster"))))

(defun breaker-as-told (failures reason retry-at)
  "Return the open breaker of a worker that has failed FAILURES times, for a REASON as BREAKER-REASON has it."
  (flet ((breaker (what)
           (make-breaker :failures failures :what what :retry-at retry-at :openings 1)))
    (or (loop for what in '(:lost :stalled :slow)
              for breaker = (breaker what)
              when (string= reason (breaker-reason breaker))
                return breaker)
        (breaker :failed))))
