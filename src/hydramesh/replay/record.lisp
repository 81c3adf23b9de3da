(defpackage #:hydramesh/replay/record
  (:use #:cl)
  (:import-from #:hydramesh/storage/archive #:map-traffic)
  (:import-from #:hydramesh/storage/pseudonym #:salt-read)
  (:import-from #:hydramesh/storage/roster-chunks #:read-roster)
  (:import-from #:hydramesh/storage/store #:store-read #:+salt+)
  (:import-from #:hydramesh/storage/traffic
                #:passage-arrival #:passage-kind #:passage-together-p #:passage-weight)
  (:import-from #:hydramesh/work #:+work+ #:work-kind-loads #:work-kind-name)
  (:export #:record #:make-record #:record-since #:record-passages #:record-changes #:record-salt
           #:record-left-out #:read-record #:kind-of)
  (:documentation "What is replayed: the tasks that a head has recorded, and the workers that it had."))
(in-package #:hydramesh/replay/record)

(defstruct record
  "PASSAGES is a vector of the tasks that arrived from SINCE on, in order, each at another time, in
microseconds since 1970; CHANGES are those of the workers, as READ-ROSTER returns them. SALT made the
pseudonyms, or is NIL. LEFT-OUT is how many tasks are not replayed: those that
manage or load a model, became no job, or were run by several workers together."
  (since 0 :type unsigned-byte)
  (passages #() :type vector)
  (changes '() :type list)
  (salt nil)
  (left-out 0 :type unsigned-byte))

(defun kind-of (passage)
  "Return the WORK-KIND of PASSAGE; NIL if it is none that is replayed."
  (let ((kind (find (passage-kind passage) +work+ :key #'work-kind-name :test #'string=)))
    (and kind (work-kind-loads kind) (string/= (work-kind-name kind) "load") kind)))

(defun replayed-p (passage)
  (and (kind-of passage)
       (plusp (passage-weight passage))
       (not (passage-together-p passage))))

(defun read-record (store since)
  "Return the record in STORE from SINCE on, microseconds since 1970. Signal STORAGE-FAILURE."
  (let ((passages '()) (left-out 0) (salt (store-read store +salt+ 0)))
    (map-traffic (lambda (passage)
                   (if (replayed-p passage)
                       (push passage passages)
                       (incf left-out)))
                 store :since since)
    (make-record :since since
                 :passages (in-order (nreverse passages))
                 :changes (read-roster store since)
                 :salt (and salt (salt-read salt))
                 :left-out left-out)))

(defun in-order (passages)
  "Return a vector of PASSAGES by their arrival; one that came with another came a microsecond after it."
  (let ((sorted (coerce (stable-sort passages #'< :key #'passage-arrival) 'vector)))
    (loop for index from 1 below (length sorted)
          do (setf (passage-arrival (aref sorted index))
                   (max (passage-arrival (aref sorted index))
                        (1+ (passage-arrival (aref sorted (1- index)))))))
    sorted))
