(defpackage #:hydramesh/replay/service
  (:use #:cl)
  (:import-from #:hydramesh/replay/record #:kind-of #:record-passages)
  (:import-from #:hydramesh/storage/traffic
                #:passage-arrival #:passage-made #:passage-model #:passage-moved #:passage-outcome
                #:passage-ran #:passage-reading #:passage-total #:passage-wanted #:passage-worker)
  (:import-from #:hydramesh/work #:work-kind-usual-rate)
  (:export #:services #:measure-services #:service-time #:stretch)
  (:documentation "How long tasks take on workers, by what was recorded of both.

Where a task ran before it takes as long as it did then. Elsewhere it takes as long as its size times what
the worker took for a unit; what tasks took more or less than that there is drawn from those that it had.
Tasks that run at once slow each other down by as much as they did: a line through the times for a unit over the
number of tasks, by least squares."))
(in-package #:hydramesh/replay/service)

(defconstant +enough+ 20 "Tasks of a worker from which it is told how they slow each other down.")
(defconstant +longer+ 1000 "Microseconds that a task which was cut short would have run on, at least.")
(defconstant +spread+ 0.01d0 "Of the variance of how many ran at once: with less nothing is told.")

(defstruct profile
  "What a worker took for tasks of one model, alone: PACE microseconds a unit, times one of SPREAD."
  (pace 0d0 :type double-float)
  (spread #() :type vector))

(defstruct services
  "By worker: SLOWING, what each other task adds to the time of one. By worker and model: PROFILES. ALONE are
the microseconds that each passage would have taken alone on its worker."
  (slowing (make-hash-table :test #'equal) :type hash-table)
  (profiles (make-hash-table :test #'equal) :type hash-table)
  (alone (make-hash-table :test #'eq) :type hash-table)
  (seed 0 :type unsigned-byte))

(defun done-p (passage)
  (string= (passage-outcome passage) "DONE"))

(defun timed-p (passage)
  "Return whether its worker has run all of PASSAGE."
  (and (done-p passage) (plusp (passage-ran passage)) (zerop (passage-moved passage))))

(defun units (passage)
  "Return how much PASSAGE had a worker make; what was read counts as what could have been made meanwhile."
  (max 1d0 (float (+ (passage-reading passage)
                     (if (and (done-p passage) (plusp (passage-made passage)))
                         (passage-made passage)
                         (passage-wanted passage)))
                  1d0)))

(defun stretch (services worker count)
  "Return how many times as long tasks take on WORKER if COUNT run there at once."
  (+ 1d0 (* (gethash worker (services-slowing services) 0d0) (max 0 (1- count)))))

;;; Measuring

(defun measure-services (record seed)
  "Return what RECORD tells of workers; SEED is what is drawn with."
  (let ((services (make-services :seed seed)) (workers (make-hash-table :test #'equal)))
    (loop for passage across (record-passages record)
          when (and (plusp (passage-ran passage)) (string/= (passage-worker passage) ""))
            do (push passage (gethash (passage-worker passage) workers)))
    (loop for worker being the hash-keys of workers using (hash-value passages)
          do (measure-worker services worker (nreverse passages)))
    services))

(defun begin-of (passage)
  (- (end-of passage) (passage-ran passage)))

(defun end-of (passage)
  (+ (passage-arrival passage) (passage-total passage)))

(defun crowding (passages)
  "Return a table of how many of PASSAGES, all of one worker, ran there while each did, on average."
  (let ((steps (sort (loop for passage in passages
                           collect (list (begin-of passage) 1 passage)
                           collect (list (end-of passage) -1 passage))
                     #'< :key #'first))
        (table (make-hash-table :test #'eq)) (count 0) (area 0) (before 0))
    (loop for (at change passage) in steps
          do (incf area (* count (- at before)))
             (setf before at)
             (incf count change)
             (if (plusp change)
                 (setf (gethash passage table) area)
                 (setf (gethash passage table)
                       (max 1d0 (/ (float (- area (gethash passage table 0)) 1d0)
                                   (passage-ran passage))))))
    table))

(defun slope (points)
  "Return what each other task adds to one alone, from POINTS, conses of how many others and a time."
  (let* ((count (length points))
         (x (/ (reduce #'+ points :key #'car) (max 1 count)))
         (y (/ (reduce #'+ points :key #'cdr) (max 1 count)))
         (variance (loop for (one) in points sum (expt (- one x) 2)))
         (shared (loop for (one . other) in points sum (* (- one x) (- other y)))))
    (if (or (< count +enough+) (< variance (* count +spread+)))
        0d0
        (let* ((each (/ shared variance)) (alone (- y (* each x))))
          (if (plusp alone) (max 0d0 (min 1d0 (/ each alone))) 1d0)))))

(defun measure-worker (services worker passages)
  (let ((crowd (crowding passages)) (timed (remove-if-not #'timed-p passages))
        (models (make-hash-table :test #'equal)))
    (setf (gethash worker (services-slowing services))
          (slope (loop for passage in timed
                       collect (cons (1- (gethash passage crowd))
                                     (/ (passage-ran passage) (units passage))))))
    (dolist (passage passages)
      (setf (gethash passage (services-alone services))
            (/ (passage-ran passage) (stretch services worker (gethash passage crowd)))))
    (dolist (passage timed)
      (push passage (gethash (passage-model passage) models)))
    (loop for model being the hash-keys of models using (hash-value those)
          do (setf (gethash (cons worker model) (services-profiles services))
                   (profile-of (nreverse those) (services-alone services))))))

(defun profile-of (passages alone)
  (let ((pace (/ (loop for passage in passages sum (gethash passage alone))
                 (loop for passage in passages sum (units passage)))))
    (make-profile :pace pace
                  :spread (map 'vector (lambda (passage) (/ (gethash passage alone) (* pace (units passage))))
                               passages))))

;;; Asking

(defun mixed (seed index)
  "Return a number that SEED and INDEX decide on, and that is like a random one (splitmix64)."
  (flet ((word (number) (ldb (byte 64 0) number)))
    (let* ((one (word (+ (* seed #xd1342543de82ef95) (* (1+ index) #x9e3779b97f4a7c15))))
           (two (word (* (logxor one (ash one -30)) #xbf58476d1ce4e5b9)))
           (three (word (* (logxor two (ash two -27)) #x94d049bb133111eb))))
      (logxor three (ash three -31)))))

(defun cut-short-p (passage)
  "Return whether PASSAGE was ended before its worker was ready with it."
  (member (passage-outcome passage) '("DEADLINE_EXCEEDED" "CANCELLED") :test #'string=))

(defun service-time (services passage index worker rate)
  "Return the microseconds that PASSAGE, at INDEX of the record, takes on WORKER alone, which tells that it
makes RATE a second with the model, 0 if it does not know."
  (let ((alone (and (string= worker (passage-worker passage))
                    (zerop (passage-moved passage))
                    (gethash passage (services-alone services)))))
    (cond ((null alone)
           (usual-time services passage index worker rate))
          ((cut-short-p passage)
           (max (usual-time services passage index worker rate) (+ alone +longer+)))
          (t alone))))

(defun usual-time (services passage index worker rate)
  "Return what tasks like PASSAGE take on WORKER."
  (let ((profile (gethash (cons worker (passage-model passage)) (services-profiles services))))
    (if profile
        (let ((spread (profile-spread profile)))
          (* (profile-pace profile) (units passage)
             (aref spread (mod (mixed (services-seed services) index) (length spread)))))
        (/ (* 1d6 (units passage))
           (if (plusp rate) rate (work-kind-usual-rate (kind-of passage)))))))
