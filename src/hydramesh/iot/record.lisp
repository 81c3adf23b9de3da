(defpackage #:hydramesh/iot/record
  (:use #:cl)
  (:import-from #:hydramesh/domain/keeping #:keep #:kept #:kept-numbers)
  (:import-from #:hydramesh/iot/chunks #:+hours+ #:+minutes+ #:chunk-index #:chunk-number #:chunk-of-p)
  (:import-from #:hydramesh/iot/limits #:+row-chunks+)
  (:import-from #:hydramesh/iot/state-codec #:read-aggregate #:write-aggregate)
  (:import-from #:hydramesh/iot/windows #:aggregate-add #:make-aggregate)
  (:import-from #:hydramesh/storage/codec
                #:make-reader #:make-writer #:read-index #:read-number #:read-text #:reader-done-p
                #:write-number #:write-text #:writer-length #:writer-octets)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:import-from #:hydramesh/storage/store #:storage-damaged #:store-list #:store-read)
  (:export #:record #:open-record #:record-note #:record-pass #:record-write #:map-rows)
  (:documentation "What the devices of a sensor have read, by the minute or by the hour, in a program's store.

A row has what one device has read in one such unit of time. Rows are added to a chunk until that is full;
of the full ones the newest stay."))
(in-package #:hydramesh/iot/record)

(defconstant +chunk+ 24000 "Bytes at which a chunk is full. A row more must fit into 64 KiB.")

(defstruct (record (:constructor make-record (node kind unit sensor-name numbers)) (:copier nil))
  "Rows of UNIT seconds, of the devices of one sensor. GATHERED are those of the unit that began at START, by
the device's name. WRITER has the chunk that is being filled, in which DEVICES have their indices, and NUMBERS
are those of all chunks, the oldest first."
  (node nil :read-only t)
  (kind 0 :type fixnum :read-only t)
  (unit 0 :type fixnum :read-only t)
  (sensor-name "" :type string :read-only t)
  (numbers '() :type list)
  (writer nil)
  (devices (make-hash-table :test #'equal) :read-only t)
  (start 0 :type unsigned-byte)
  (gathered (make-hash-table :test #'equal) :read-only t))

(defun open-record (node sensor-name unit)
  "Return a record of UNIT, 60 or 3600 seconds, that goes on with the one which NODE's store has."
  (let* ((kind (if (= unit 60) +minutes+ +hours+))
         (record (make-record node kind unit sensor-name
                              (remove-if-not (lambda (number) (chunk-of-p sensor-name number))
                                             (kept-numbers node kind)))))
    (go-on record)
    record))

(defun go-on (record)
  "Have RECORD go on filling its newest chunk, unless that is full, damaged, or another sensor's."
  (let* ((newest (first (last (record-numbers record))))
         (octets (and newest (kept (record-node record) (record-kind record) newest))))
    (when (and octets (<= (length octets) +chunk+))
      (handler-case
          (map-chunk (lambda (sensor device start aggregate)
                       (declare (ignore start aggregate))
                       (unless (string= sensor (record-sensor-name record))
                         (return-from go-on))
                       (let ((devices (record-devices record)))
                         (unless (gethash device devices)
                           (setf (gethash device devices) (hash-table-count devices)))))
                     octets (record-unit record))
        (storage-damaged ()
          (clrhash (record-devices record)))
        (:no-error (result)
          (declare (ignore result))
          (setf (record-writer record) (make-writer octets)))))))

(defun record-note (record device value seconds)
  "Note that the device of that name has read VALUE at SECONDS since 1970."
  (record-pass record seconds)
  (aggregate-add (or (gethash device (record-gathered record))
                     (setf (gethash device (record-gathered record)) (make-aggregate)))
                 value))

(defun record-pass (record seconds)
  "Write what was read, if at SECONDS its unit of time is over."
  (let ((start (* (record-unit record) (floor seconds (record-unit record)))))
    (unless (= start (record-start record))
      (record-write record)
      (setf (record-start record) start))))

(defun record-write (record)
  "Keep what was read so far."
  (when (plusp (hash-table-count (record-gathered record)))
    (loop for device being the hash-keys of (record-gathered record) using (hash-value aggregate)
          do (add-row record device aggregate))
    (clrhash (record-gathered record))
    (keep-chunk record)))

(defun begin-chunk (record)
  (let ((newest (first (last (record-numbers record)))) (writer (make-writer)))
    (write-text (record-sensor-name record) writer)
    (setf (record-writer record) writer
          (record-numbers record)
          (append (record-numbers record)
                  (list (chunk-number (record-sensor-name record) (if newest (1+ (chunk-index newest)) 0)))))
    (clrhash (record-devices record))))

(defun keep-chunk (record)
  (keep (record-node record) (record-kind record) (first (last (record-numbers record)))
        (subseq (writer-octets (record-writer record)) 0 (writer-length (record-writer record))))
  (loop while (> (length (record-numbers record)) +row-chunks+)
        do (keep (record-node record) (record-kind record) (pop (record-numbers record)) nil)))

(defun add-row (record device aggregate)
  (when (or (null (record-writer record)) (> (writer-length (record-writer record)) +chunk+))
    (when (record-writer record)
      (keep-chunk record))
    (begin-chunk record))
  (let* ((writer (record-writer record)) (devices (record-devices record))
         (index (gethash device devices)))
    (write-number (or index (hash-table-count devices)) writer)
    (unless index
      (setf (gethash device devices) (hash-table-count devices))
      (write-text device writer))
    (write-number (floor (record-start record) (record-unit record)) writer)
    (write-aggregate aggregate writer)))

;;; Reading

(defun map-rows (function store unit &key sensor-name (since 0))
  "Call FUNCTION with the sensor's name, the device's, the time in seconds since 1970 and the aggregate of each
row in STORE, or of one sensor's, that is not over at SINCE. They come roughly in their order. What is damaged is
left out, with a warning. Signal STORAGE-FAILURE."
  (let ((kind (if (= unit 60) +minutes+ +hours+)))
    (dolist (number (store-list store kind))
      (when (or (null sensor-name) (chunk-of-p sensor-name number))
        (handler-case
            (map-chunk (lambda (sensor device start aggregate)
                         (when (and (or (null sensor-name) (string= sensor sensor-name)) (> (+ start unit) since))
                           (funcall function sensor device start aggregate)))
                       (store-read store kind number)
                       unit)
          (storage-damaged ()
            (log-warning "some of what was read is damaged, and left out" :chunk number)))))))

(defun map-chunk (function octets unit)
  (let* ((reader (make-reader octets)) (sensor (read-text reader))
         (devices (make-array 16 :adjustable t :fill-pointer 0)))
    (loop until (reader-done-p reader)
          do (let ((index (read-index reader (1+ (length devices)))))
               (when (= index (length devices))
                 (vector-push-extend (read-text reader) devices))
               (let ((start (* unit (read-number reader))))
                 (funcall function sensor (aref devices index) start (read-aggregate reader)))))))
