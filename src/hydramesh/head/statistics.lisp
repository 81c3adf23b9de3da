(defpackage #:hydramesh/head/statistics
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:+bounds+ #:durations #:make-durations #:durations-counts #:durations-sum #:durations-add
           #:statistics #:make-statistics #:statistics-outcomes #:statistics-moved
           #:statistics-set-aside #:statistics-hedged #:statistics-hedges-won #:statistics-repeated
           #:statistics-malformed #:statistics-refused-heartbeats
           #:statistics-foreign #:statistics-read-before #:statistics-patient #:statistics-rewarded #:statistics-prompt-tokens
           #:statistics-cached-tokens #:statistics-queued #:statistics-total
           #:statistics-count-outcome #:statistics-done #:statistics-failed
           #:+done+ #:+cancelled+ #:+status+)
  (:documentation "What the head counts, cheap enough to do for every task; metrics shows it."))
(in-package #:hydramesh/head/statistics)

(sb-ext:defglobal +bounds+ (coerce '(1000 5000 25000 100000 500000 1000000 2500000 5000000 10000000
                                     30000000 60000000 300000000)
                                   'simple-vector)
  "The upper bounds of a histogram's buckets, in microseconds.")
(declaim (type (simple-vector 12) +bounds+))

(defstruct durations
  "A histogram of times; COUNTS are of the buckets up to each of +BOUNDS+, then above. SUM is in
microseconds too."
  (counts (make-array (1+ (length +bounds+)) :initial-element 0) :type simple-vector :read-only t)
  (sum 0 :type unsigned-byte))

(defun durations-add (durations time)
  "Count one."
  (declare (type microseconds time))
  (incf (the fixnum
             (svref (durations-counts durations)
                    (or (position-if (lambda (bound) (<= time (the fixnum bound))) +bounds+)
                        (length +bounds+)))))
  (incf (durations-sum durations) time))

(sb-ext:defglobal +done+ "DONE" "The outcome of a task that was answered.")
(sb-ext:defglobal +cancelled+ "CANCELLED" "The outcome of a task that its client did not want any more.")
(sb-ext:defglobal +status+ "status" "As a kind of work: the head answers it itself.")

(defstruct statistics
  "Totals since start.

OUTCOMES counts tasks by kind of work and by how they ended, +DONE+ or the name of an error; its keys
are conses of both. MOVED counts how often a task was taken from a worker and given to another, SET-ASIDE how often a worker was;
HEDGED counts how often a task was run on a second worker too, HEDGES-WON how often that was the faster one;
REFUSED-HEARTBEATS came from workers beyond what is kept, FOREIGN RESULTs and ERRORs from elsewhere than
the task's worker. READ-BEFORE counts tasks that were given to a worker which had read the beginning of their
prompt, PROMPT-TOKENS what prompts had by their answers, of which CACHED-TOKENS were not read again. PATIENT
counts tasks that waited for such a worker though another was free, REWARDED those of them that got it."
  (outcomes (make-hash-table :test 'equal) :type hash-table)
  (moved 0 :type unsigned-byte)
  (set-aside 0 :type unsigned-byte)
  (hedged 0 :type unsigned-byte)
  (hedges-won 0 :type unsigned-byte)
  (repeated 0 :type unsigned-byte)
  (malformed 0 :type unsigned-byte)
  (refused-heartbeats 0 :type unsigned-byte)
  (foreign 0 :type unsigned-byte)
  (read-before 0 :type unsigned-byte)
  (patient 0 :type unsigned-byte)
  (rewarded 0 :type unsigned-byte)
  (prompt-tokens 0 :type unsigned-byte)
  (cached-tokens 0 :type unsigned-byte)
  (queued (make-durations) :type durations)
  (total (make-durations) :type durations))

(defconstant +most-outcomes+ 512
  "Outcomes that are counted apart. A worker can make up as many codes of errors as it likes.")

(sb-ext:defglobal +other+ "OTHER" "Outcomes beyond those that are counted apart.")

(defun statistics-count-outcome (statistics kind outcome)
  "Count a task of KIND that ended with OUTCOME."
  (let* ((outcomes (statistics-outcomes statistics))
         (key (cons kind outcome))
         (before (gethash key outcomes)))
    (declare (dynamic-extent key))
    (cond (before
           (setf (gethash key outcomes) (1+ (the fixnum before))))
          ((< (hash-table-count outcomes) +most-outcomes+)
           (setf (gethash (cons kind outcome) outcomes) 1))
          (t
           (incf (gethash (cons kind +other+) outcomes 0))))))

(defun statistics-done (statistics)
  "Return how many tasks were answered; questions for the status are not counted."
  (loop for (kind . outcome) being the hash-keys of (statistics-outcomes statistics)
          using (hash-value count)
        when (and (string= outcome +done+) (string/= kind +status+))
          sum count))

(defun statistics-failed (statistics)
  "Return how many tasks ended with an error; cancelled ones are neither."
  (loop for (nil . outcome) being the hash-keys of (statistics-outcomes statistics)
          using (hash-value count)
        unless (or (string= outcome +done+) (string= outcome +cancelled+))
          sum count))
