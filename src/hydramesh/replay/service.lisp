(defpackage #:hydramesh/replay/service
  (:use #:cl)
  (:import-from #:hydramesh/replay/mixing #:mixed)
  (:import-from #:hydramesh/replay/record #:kind-of)
  (:import-from #:hydramesh/storage/traffic
                #:passage-beside #:passage-beside-ran #:passage-cached-tokens #:passage-made #:passage-model
                #:passage-moved #:passage-outcome #:passage-prompt-tokens #:passage-reading #:passage-wanted
                #:passage-worker)
  (:import-from #:hydramesh/work #:work-kind-usual-rate)
  (:export #:services #:make-services #:services-seed #:services-slowing
           #:services-usual-slowing #:services-profiles #:services-alone
           #:services-kept #:services-expected #:services-loads #:services-own-loads
           #:profile #:make-profile #:profile-base #:profile-read #:profile-make #:profile-ahead
           #:profile-spread
           #:done-p #:cut-short-p #:cached-share #:to-read #:to-make #:predicted
           #:service-time #:share-had #:load-time #:stretch #:usual-services)
  (:documentation "How long tasks take on workers, by what was measured of both.

A task is read first, which takes the shorter the more of it the worker has read before, and then answered.
Where it ran before it takes as long as it did then. Elsewhere it takes as long as its size times what the
worker takes for a unit; what tasks took more or less than that there is drawn from those that it had."))
(in-package #:hydramesh/replay/service)

(defconstant +longer+ 1000 "Microseconds that a task which was cut short would have run on, at least.")

(defstruct profile
  "What a worker took for tasks of one model, alone: BASE microseconds and READ for each unit to read until
the first part, which brings AHEAD units already, then MAKE for each further unit. All of it times one of
SPREAD."
  (base 0d0 :type double-float)
  (read 0d0 :type double-float)
  (make 0d0 :type double-float)
  (ahead 0 :type (integer 0 1))
  (spread #(1d0) :type vector))

(defstruct services
  "By worker: SLOWING, what each other task adds to the time of one, USUAL-SLOWING where that is not known.
By worker and model: PROFILES; which part of what they should have had of prompts they KEPT, and by model
what all of them did; and LOADS, sorted vectors of how long it took them to load it. By passage: (read .
make), the microseconds that it would have taken ALONE on its worker, and OWN-LOADS, which it waited for;
EXPECTED is which part of it its worker should have had."
  (slowing (make-hash-table :test #'equal) :type hash-table)
  (usual-slowing 0d0 :type double-float)
  (profiles (make-hash-table :test #'equal) :type hash-table)
  (kept (make-hash-table :test #'equal) :type hash-table)
  (loads (make-hash-table :test #'equal) :type hash-table)
  (alone (make-hash-table :test #'eq) :type hash-table)
  (own-loads (make-hash-table :test #'eq) :type hash-table)
  (expected (make-hash-table :test #'eq) :type hash-table)
  (seed 0 :type unsigned-byte))

(defun done-p (passage)
  (string= (passage-outcome passage) "DONE"))

(defun cut-short-p (passage)
  "Return whether PASSAGE was ended before its worker was ready with it."
  (member (passage-outcome passage) '("DEADLINE_EXCEEDED" "CANCELLED") :test #'string=))

(defun cached-share (passage)
  "Return which part of its prompt the worker of PASSAGE still had, as that told."
  (if (plusp (passage-prompt-tokens passage))
      (min 1 (/ (passage-cached-tokens passage) (passage-prompt-tokens passage)))
      0))

(defun to-read (passage share)
  "Return how many units a worker reads for PASSAGE that has SHARE of it."
  (float (* (passage-reading passage) (- 1 share)) 1d0))

(defun to-make (passage)
  "Return how many units PASSAGE had a worker make."
  (max 1d0 (float (if (and (done-p passage) (plusp (passage-made passage)))
                      (passage-made passage)
                      (passage-wanted passage))
                  1d0)))

(defun predicted (profile passage share)
  "Return the microseconds in which PASSAGE is read and those in which it is answered, by PROFILE, if the
worker has SHARE of it."
  (values (+ (profile-base profile) (* (profile-read profile) (to-read passage share)))
          (* (profile-make profile) (- (to-make passage) (profile-ahead profile)))))

(defun usual-services (services)
  "Return SERVICES by which no task takes as long as it did, but as those of its worker usually do."
  (let ((others (copy-services services)))
    (setf (services-alone others) (make-hash-table :test #'eq)
          (services-own-loads others) (make-hash-table :test #'eq))
    others))

(defun key (worker passage)
  (cons worker (passage-model passage)))

(defun stretch (services worker count)
  "Return how many times as long tasks take on WORKER if COUNT run there at once."
  (let ((slowing (gethash worker (services-slowing services) (services-usual-slowing services))))
    (+ 1d0 (* slowing (max 0 (1- count))))))

;;; Prompts that were read before

(defun share-had (services passage worker expected)
  "Return which part of PASSAGE the cache of WORKER has, if EXPECTED of it should be there."
  (if (and (ran-there-p passage worker)
           (= expected (gethash passage (services-expected services) 0)))
      (cached-share passage)
      (min 1 (* expected (kept services worker (passage-model passage))))))

(defun kept (services worker model)
  "Return which part of what WORKER should have of prompts it has with MODEL: if that was not seen, what
others have. It may be more than 1, as workers do not keep whole blocks only."
  (let ((table (services-kept services)))
    (gethash (cons worker model) table (gethash model table 0))))

(defun ran-there-p (passage worker)
  (and (string= worker (passage-worker passage)) (zerop (passage-moved passage))))

;;; Running

(defun service-time (services passage index worker rate share)
  "Return the microseconds in which PASSAGE, at INDEX of the record, is read on WORKER alone, and those in
which it is answered then. The worker has SHARE of the prompt, and tells that it makes RATE a second with
the model, 0 if it does not know."
  (let ((alone (and (ran-there-p passage worker) (gethash passage (services-alone services)))))
    (multiple-value-bind (read make) (usual-time services passage index worker rate share)
      (cond ((null alone)
             (if (string= worker (passage-beside passage))
                 (values (max read (float (+ +longer+ (passage-beside-ran passage)) 1d0)) make)
                 (values read make)))
            (t
             (let ((read-then (max 0d0 (+ (car alone) (difference services passage worker share))))
                   (make-then (cdr alone)))
               (if (cut-short-p passage)
                   (values read-then
                           (max make-then (- (+ read make) read-then)
                                (+ make-then (float +longer+ 1d0))))
                   (values read-then make-then))))))))

(defun difference (services passage worker share)
  "Return how much longer PASSAGE is read on its own worker if that has SHARE of it, and not what it had."
  (let ((profile (gethash (key worker passage) (services-profiles services))))
    (if (and profile (/= share (cached-share passage)))
        (* (profile-read profile) (- (to-read passage share) (to-read passage (cached-share passage))))
        0d0)))

(defun usual-time (services passage index worker rate share)
  "Return what tasks like PASSAGE take on WORKER, as SERVICE-TIME does."
  (let ((profile (gethash (key worker passage) (services-profiles services))))
    (if profile
        (let* ((spread (profile-spread profile))
               (factor (aref spread (mod (mixed (services-seed services) index) (length spread)))))
          (multiple-value-bind (read make) (predicted profile passage share)
            (values (* factor read) (* factor make))))
        (let ((each (/ 1d6 (if (plusp rate) rate (work-kind-usual-rate (kind-of passage))))))
          (values (* each (to-read passage share)) (* each (to-make passage)))))))

;;; Models that are not loaded

(defun load-time (services passage worker)
  "Return the microseconds that WORKER takes to load the model of PASSAGE; NIL if the record does not tell.
Where PASSAGE waited for that, it waits as long as it did; elsewhere as long as is usual there, or on
others."
  (or (and (ran-there-p passage worker) (gethash passage (services-own-loads services)))
      (middle (gethash (key worker passage) (services-loads services)))
      (middle (loads-of services (passage-model passage)))))

(defun middle (sorted)
  (and (plusp (length sorted)) (aref sorted (floor (length sorted) 2))))

(defun loads-of (services model)
  (sort (coerce (loop for key being the hash-keys of (services-loads services) using (hash-value loads)
                      when (string= (cdr key) model)
                        append (coerce loads 'list))
                'vector)
        #'<))
