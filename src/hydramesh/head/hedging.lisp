(defpackage #:hydramesh/head/hedging
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/pace #:pace-quantile)
  (:export #:hedging #:make-hedging #:hedging-share #:hedging-quantile #:hedging-longest
           #:allowance #:lateness #:silence #:stall
           #:budget #:make-budget #:budget-earn #:budget-spend)
  (:documentation "When a task is late, and how many may be run twice for that.

A task is late when it has not begun to answer after a time within which most of its worker's recent tasks
like it had, see hydramesh/head/pace. What is spent on late tasks is bounded: each task that a worker gets
earns a share of one, and each that is run twice costs one."))
(in-package #:hydramesh/head/hedging)

(defstruct (hedging (:copier nil))
  "The SHARE of tasks that may run twice. One is late when that QUANTILE of its worker's recent ones had begun
sooner; it is not hedged if that is more than LONGEST, as it is not a short one."
  (share 0d0 :type double-float :read-only t)
  (quantile 0.95d0 :type double-float :read-only t)
  (longest (seconds 10) :type microseconds :read-only t))

(deftype allowance ()
  "What is laid down for one task: NIL if nothing is, :NEVER if it must not be hedged, after how long it is
late, or at how many times what is usual."
  '(or null (eql :never) microseconds double-float))

(defun lateness (hedging allowance pace)
  "Return after how long a task is late that has ALLOWANCE and runs where PACE was measured; NIL if it is not
to be hedged, or not enough was measured."
  (unless (zerop (hedging-share hedging))
    (etypecase allowance
      ((eql :never) nil)
      (null
       (let ((late (pace-quantile pace (hedging-quantile hedging))))
         (and late (<= late (hedging-longest hedging)) late)))
      (integer allowance)
      (double-float
       (let ((usual (pace-quantile pace 1/2)))
         (and usual (round (* allowance usual))))))))

(defconstant +shortest-silence+ (seconds 1))

(defun silence (lateness)
  "Return after how long without a part an answer is late that has begun, LATENESS is when one is that has not:
a worker that reads the prompts of others may pause for about as long."
  (max +shortest-silence+ (* 2 lateness)))

(defconstant +shortest-stall+ (seconds 10))

(defun stall (pace)
  "Return after how long without a part its worker is at fault, whether there is hedging or not; NIL if too
little was measured."
  (let ((usual (pace-quantile pace 0.95d0)))
    (and usual (max +shortest-stall+ (* 10 usual)))))

;;; What may be spent

(defconstant +memory+ 100 "Tasks whose shares may be spent at once.")

(defconstant +unit+ 1000000)

(defstruct (budget (:copier nil))
  "What was EARNED and is not spent, in millionths of a task."
  (earned 0 :type fixnum))

(defun budget-earn (budget share)
  "A worker has got a task, which allows for SHARE of another."
  (let ((share (round (* share +unit+))))
    (setf (budget-earned budget)
          (min (+ (budget-earned budget) share)
               (max +unit+ (* +memory+ share))))))

(defun budget-spend (budget)
  "Return whether a task may be run twice now, and count that it is."
  (when (>= (budget-earned budget) +unit+)
    (decf (budget-earned budget) +unit+)
    t))
