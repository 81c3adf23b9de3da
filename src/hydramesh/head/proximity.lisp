(defpackage #:hydramesh/head/proximity
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/topology/distance #:rtt-group #:smoothed #:+isolated+)
  (:import-from #:hydramesh/topology/health #:health #:+healthy+ #:+unreachable+ #:+window+)
  (:export #:proximity #:make-proximity #:proximity-as-told #:proximity-rtt #:proximity-health #:proximity-group
           #:proximity-due-p #:proximity-probe #:proximity-answer #:proximity-delay)
  (:documentation "How far away a worker is, and how well it answers, as one probe a second tells."))
(in-package #:hydramesh/head/proximity)

(defparameter +interval+ (seconds 1) "Between two probes.")

(defconstant +give-up+ 8d0
  "Seconds until a worker that acknowledges nothing is lost, see docs/transport.md: so long a task may
lie with one that does not answer.")

(defstruct (proximity (:copier nil))
  "RTT is smoothed, and NIL until it was measured; so is GROUP until anything is known. AWAY are the seconds
that it takes to get there, by the group. PROBE-AT is when the next probe is due. ANSWERS tells of the
latest ones, the oldest first; of the one UNDER-WAY it tells later whether it was HEARD."
  (rtt nil :type (or null microseconds))
  (health +healthy+ :type (integer 0 2))
  (group nil :type (or null (signed-byte 62)))
  (away 0d0 :type double-float)
  (probe-at 0 :type microseconds)
  (answers '() :type list)
  (under-way nil)
  (heard nil))

(defun proximity-due-p (proximity now)
  "Return whether another probe is due."
  (>= now (proximity-probe-at proximity)))

(defun proximity-probe (proximity threshold now)
  "Note that a probe is sent, and what became of the one before; THRESHOLD divides groups, in microseconds."
  (when (proximity-under-way proximity)
    (let ((answers (append (proximity-answers proximity) (list (proximity-heard proximity)))))
      (when (> (length answers) +window+)
        (pop answers))
      (setf (proximity-answers proximity) answers
            (proximity-health proximity) (health answers)))
    (regroup proximity threshold))
  (setf (proximity-under-way proximity) t
        (proximity-heard proximity) nil
        ;; Those that are sent a little late must not become fewer.
        (proximity-probe-at proximity) (+ +interval+
                                          (max (proximity-probe-at proximity) (- now +interval+)))))

(defun proximity-answer (proximity rtt threshold)
  "Note that a probe was answered after RTT, in microseconds."
  (setf (proximity-heard proximity) t
        (proximity-rtt proximity) (smoothed (proximity-rtt proximity) rtt))
  (regroup proximity threshold))

(defun regroup (proximity threshold)
  (let ((rtt (proximity-rtt proximity)) (health (proximity-health proximity)))
    (when (or rtt (= health +unreachable+))
      (let ((group (rtt-group (or rtt 0) threshold health)))
        (setf (proximity-group proximity) group
              (proximity-away proximity) (away group threshold))))))

(defun proximity-as-told (rtt health group threshold)
  "Return the proximity of a worker of which another head told this; RTT and GROUP are NIL if it did not."
  (let ((proximity (make-proximity :rtt rtt :health health :group group)))
    (if group
        (setf (proximity-away proximity) (away group threshold))
        (regroup proximity threshold))
    proximity))

(defun away (group threshold)
  (/ (* (max group 0) threshold) 1d6))

(declaim (inline proximity-delay))
(defun proximity-delay (proximity near-p)
  "Return the seconds that a task loses with a worker there, if for it the way counts, else NEAR-P is false."
  (cond ((eql (proximity-group proximity) +isolated+) +give-up+)
        (near-p (proximity-away proximity))
        (t 0d0)))
