(defpackage #:hydramesh/replay/record
  (:use #:cl)
  (:import-from #:hydramesh/storage/archive #:map-traffic)
  (:import-from #:hydramesh/storage/limits #:+replayed-tasks+)
  (:import-from #:hydramesh/storage/pseudonym #:salt-read)
  (:import-from #:hydramesh/storage/roster-chunks #:read-roster)
  (:import-from #:hydramesh/storage/store #:store-read #:+salt+)
  (:import-from #:hydramesh/storage/traffic
                #:passage-arrival #:passage-end #:passage-kind #:passage-ran #:passage-together-p
                #:passage-weight #:passage-worker)
  (:import-from #:hydramesh/work #:+work+ #:work-kind-loads #:work-kind-name)
  (:export #:record #:make-record #:record-since #:record-passages #:record-arrivals #:record-waiting
           #:record-held #:record-changes #:record-salt #:record-left-out #:read-record #:record-of
           #:record-replayed #:too-many-tasks #:kind-of #:passage-begin)
  (:documentation "What is replayed: the tasks that a head has recorded, and the workers that it had."))
(in-package #:hydramesh/replay/record)

(defstruct record
  "What happened from SINCE on, microseconds since 1970. PASSAGES is a vector of the tasks in the order in
which they arrived, and ARRIVALS has when, each at another time. The first WAITING of them had arrived
before SINCE and waited then, so they are simulated and not counted; HELD are those that ran then, and held
their workers. CHANGES are those of the workers, as READ-ROSTER returns them. SALT made the pseudonyms, or
is NIL. LEFT-OUT is how many tasks are not replayed: those that manage or load a model, became no job, or
were run by several workers together."
  (since 0 :type unsigned-byte)
  (passages #() :type vector)
  (arrivals #() :type vector)
  (waiting 0 :type unsigned-byte)
  (held '() :type list)
  (changes '() :type list)
  (salt nil)
  (left-out 0 :type unsigned-byte))

(defun kind-of (passage)
  "Return the WORK-KIND of PASSAGE; NIL if it is none that is replayed."
  (let ((kind (find (passage-kind passage) +work+ :key #'work-kind-name :test #'string=)))
    (and kind (work-kind-loads kind) (string/= (work-kind-name kind) "load") kind)))

(defun passage-begin (passage)
  "Return when the last worker of PASSAGE got it, in microseconds since 1970."
  (- (passage-end passage) (passage-ran passage)))

(defun replayed-p (passage)
  (and (kind-of passage)
       (plusp (passage-weight passage))
       (not (passage-together-p passage))))

(define-condition too-many-tasks (error)
  ((most :initarg :most))
  (:report (lambda (condition stream)
             (format stream "more than ~:D tasks are recorded for that time; give a shorter --since"
                     (slot-value condition 'most))))
  (:documentation "A replay of them would take more memory than it may."))

(defun read-record (store since &optional (most +replayed-tasks+))
  "Return the record in STORE from SINCE on, microseconds since 1970. Signal STORAGE-FAILURE, or
TOO-MANY-TASKS if there are more than MOST."
  (let ((passages '()) (count 0) (left-out 0) (salt (store-read store +salt+ 0)))
    (map-traffic (lambda (passage)
                   (cond ((replayed-p passage)
                          (when (> (incf count) most)
                            (error 'too-many-tasks :most most))
                          (push passage passages))
                         ((>= (passage-arrival passage) since) (incf left-out))))
                 store :since since)
    (record-of (nreverse passages) (read-roster store since)
               :since since :salt (and salt (salt-read salt)) :left-out left-out)))

(defun record-of (passages changes &key (since 0) salt (left-out 0))
  "Return the record of PASSAGES, a list, and CHANGES."
  (flet ((held-p (passage)
           (and (< (passage-begin passage) since)
                (string/= (passage-worker passage) "")))
         (before-p (passage)
           (< (passage-arrival passage) since)))
    (let* ((before (remove-if-not #'before-p passages))
           (held (remove-if-not #'held-p before))
           (replayed (coerce (stable-sort (remove-if (lambda (passage)
                                                       (and (before-p passage) (held-p passage)))
                                                     passages)
                                          #'< :key #'passage-arrival)
                             'vector)))
      (make-record :since since
                   :passages replayed
                   :arrivals (arrivals replayed since)
                   :waiting (- (length before) (length held))
                   :held held
                   :changes changes
                   :salt salt
                   :left-out left-out))))

(defun arrivals (passages since)
  "Return a vector of when PASSAGES arrive, not before SINCE; one that came with another comes a microsecond
after it."
  (let ((latest (1- since)))
    (map 'vector (lambda (passage) (setf latest (max (passage-arrival passage) (1+ latest)))) passages)))

(defun record-replayed (record)
  "Return the passages of RECORD that are counted."
  (subseq (record-passages record) (record-waiting record)))
