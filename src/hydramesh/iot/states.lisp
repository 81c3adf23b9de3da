(defpackage #:hydramesh/iot/states
  (:use #:cl)
  (:import-from #:hydramesh/domain/keeping #:keep #:kept #:kept-numbers)
  (:import-from #:hydramesh/iot/chunks #:+states+ #:chunk-index #:chunk-number #:chunk-of-p)
  (:import-from #:hydramesh/iot/device #:device #:device-heard-at)
  (:import-from #:hydramesh/iot/limits #:+devices+)
  (:import-from #:hydramesh/iot/sensor #:sensor-name)
  (:import-from #:hydramesh/iot/state-codec #:read-device #:write-device)
  (:import-from #:hydramesh/iot/station #:station-add #:station-sensor)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:import-from #:hydramesh/storage/codec
                #:make-reader #:make-writer #:read-index #:read-text #:write-number #:write-text
                #:writer-length #:writer-octets)
  (:import-from #:hydramesh/storage/store #:storage-damaged)
  (:export #:states #:open-states #:states-note #:states-forget #:states-write)
  (:documentation "What a station knows of its devices, kept over restarts: a threshold that was crossed
before is not crossed again because the station was restarted."))
(in-package #:hydramesh/iot/states)

(defconstant +bucket+ 16 "Devices in a chunk: with all that a sensor may declare they have less than 64 KiB.")
(defconstant +pause+ 60 "Seconds until a mere reading is written; what has happened is written at once.")

(defstruct (states (:copier nil))
  "Where the devices of SENSOR are kept: BUCKETS is a vector of lists, PLACES says in which one each is, and
ROOM has the index of a bucket once for each device more that it can have.
CHANGED are the buckets that should be written by and by, URGENT those that should be now."
  (node nil :read-only t)
  (sensor nil :read-only t)
  (buckets (make-array 0 :adjustable t :fill-pointer t) :type vector :read-only t)
  (places (make-hash-table :test #'eq) :read-only t)
  (room '() :type list)
  (changed '() :type list)
  (urgent '() :type list)
  (written-at 0 :type unsigned-byte))

(defun open-states (node station now)
  "Return the states of STATION's devices, which it knows now as NODE's store has kept them."
  (let ((states (make-states :node node :sensor (station-sensor station)))
        (name (sensor-name (station-sensor station))))
    (dolist (number (kept-numbers node +states+))
      (when (and (chunk-of-p name number) (< (chunk-index number) +devices+))
        (dolist (device (read-bucket node (station-sensor station) number))
          (setf (device-heard-at device) now)
          (when (station-add station device)
            (place states device (chunk-index number))))))
    (loop for bucket across (states-buckets states)
          for index from 0
          do (add-room states index (- +bucket+ (length bucket))))
    states))

(defun add-room (states index count)
  (loop repeat count do (push index (states-room states))))

(defun read-bucket (node sensor number)
  "Return the devices of SENSOR in that chunk, '() if it is damaged."
  (handler-case
      (let ((reader (make-reader (kept node +states+ number))))
        (when (string= (read-text reader) (sensor-name sensor))
          (loop repeat (read-index reader (1+ +bucket+))
                collect (read-device reader sensor))))
    (storage-damaged ()
      (log-warning "what was kept of some devices is damaged, so that thresholds may be crossed again"
                   :sensor (sensor-name sensor))
      '())))

(defun place (states device index)
  (let ((buckets (states-buckets states)))
    (loop while (<= (length buckets) index)
          do (vector-push-extend '() buckets))
    (push device (aref buckets index))
    (setf (gethash device (states-places states)) index)))

(defun new-place (states device)
  (unless (states-room states)
    (add-room states (length (states-buckets states)) +bucket+))
  (place states device (pop (states-room states))))

(defun states-forget (states device)
  "Keep nothing of DEVICE any more."
  (let ((index (gethash device (states-places states))))
    (when index
      (setf (aref (states-buckets states) index) (remove device (aref (states-buckets states) index)))
      (remhash device (states-places states))
      (add-room states index 1)
      (pushnew index (states-changed states)))))

(defun states-note (states device urgent)
  "Note that DEVICE has changed, and if URGENT that something has happened to it."
  (let ((index (or (gethash device (states-places states)) (new-place states device))))
    (if urgent
        (pushnew index (states-urgent states))
        (pushnew index (states-changed states)))))

(defun states-write (states seconds &key all)
  "Keep what has changed and should not wait; SECONDS is the time since whenever. If ALL, keep all that has."
  (let ((due (or all (>= (- seconds (states-written-at states)) +pause+))))
    (dolist (index (if due
                       (union (states-urgent states) (states-changed states))
                       (states-urgent states)))
      (keep (states-node states) +states+ (chunk-number (sensor-name (states-sensor states)) index)
            (bucket-octets states (aref (states-buckets states) index))))
    (setf (states-changed states) (if due '() (set-difference (states-changed states) (states-urgent states)))
          (states-urgent states) '())
    (when due
      (setf (states-written-at states) seconds))))

(defun bucket-octets (states devices)
  (let ((writer (make-writer)))
    (write-text (sensor-name (states-sensor states)) writer)
    (write-number (length devices) writer)
    (dolist (device devices)
      (write-device device writer))
    (subseq (writer-octets writer) 0 (writer-length writer))))
