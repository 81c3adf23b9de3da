(defpackage #:hydramesh/iot/state-codec
  (:use #:cl)
  (:import-from #:hydramesh/iot/chunks #:read-signed #:write-signed)
  (:import-from #:hydramesh/iot/device
                #:make-device #:device-crossed #:device-earlier #:device-gathering #:device-name
                #:device-number #:device-read-at #:device-silent-p #:device-start #:device-value
                #:gathering #:make-gathering #:gathering-aggregate #:gathering-start #:gathering-window)
  (:import-from #:hydramesh/iot/limits #:+starts+ #:+thresholds+ #:+windows+)
  (:import-from #:hydramesh/iot/sensor #:sensor-thresholds #:sensor-windows)
  (:import-from #:hydramesh/iot/thresholds #:threshold-name)
  (:import-from #:hydramesh/iot/windows
                #:make-aggregate #:aggregate-count #:aggregate-least #:aggregate-most #:aggregate-sum
                #:window-name #:window-seconds)
  (:import-from #:hydramesh/storage/codec #:read-index #:read-number #:read-text #:write-number #:write-text)
  (:export #:write-device #:read-device #:write-aggregate #:read-aggregate)
  (:documentation "A device as bytes. Thresholds and windows are written by their names, as the definition may
be another one when they are read."))
(in-package #:hydramesh/iot/state-codec)

(defun write-aggregate (aggregate writer)
  "Append AGGREGATE, in which something was counted."
  (write-number (aggregate-count aggregate) writer)
  (write-signed (aggregate-sum aggregate) writer)
  (write-signed (aggregate-least aggregate) writer)
  (write-signed (aggregate-most aggregate) writer))

(defun read-aggregate (reader)
  "Read what WRITE-AGGREGATE wrote. Signal STORAGE-DAMAGED."
  (let* ((count (read-number reader)) (sum (read-signed reader)) (least (read-signed reader)))
    (make-aggregate :count count :sum sum :least least :most (read-signed reader))))

(defun write-device (device writer)
  "Append DEVICE, of which something was read."
  (write-text (device-name device) writer)
  (write-number (device-start device) writer)
  (write-number (device-number device) writer)
  (write-number (length (device-earlier device)) writer)
  (loop for (start . number) in (device-earlier device)
        do (write-number start writer)
           (write-number number writer))
  (write-signed (device-value device) writer)
  (write-number (device-read-at device) writer)
  (write-number (if (device-silent-p device) 1 0) writer)
  (write-number (length (device-crossed device)) writer)
  (dolist (name (device-crossed device))
    (write-text (symbol-name name) writer))
  (write-number (length (device-gathering device)) writer)
  (dolist (gathering (device-gathering device))
    (write-gathering gathering writer)))

(defun write-gathering (gathering writer)
  (let ((window (gathering-window gathering)))
    (write-text (symbol-name (window-name window)) writer)
    (write-number (window-seconds window) writer)
    (write-number (gathering-start gathering) writer)
    (write-aggregate (gathering-aggregate gathering) writer)))

(defun read-device (reader sensor)
  "Read what WRITE-DEVICE wrote, as a device of SENSOR. Signal STORAGE-DAMAGED."
  (let* ((name (read-text reader)) (start (read-index reader (ash 1 32))) (number (read-index reader (ash 1 32)))
         (earlier (loop repeat (read-index reader (1+ +starts+)) collect (cons (read-index reader (ash 1 32)) (read-index reader (ash 1 32)))))
         (value (read-signed reader)) (read-at (read-number reader)) (silent (plusp (read-index reader 2)))
         (crossed (loop repeat (read-index reader (1+ +thresholds+)) collect (read-text reader)))
         (gathering (loop repeat (read-index reader (1+ +windows+)) collect (read-gathering reader sensor))))
    (make-device :sensor sensor :name name :start start :number number :earlier earlier
                 :value value :read-at read-at :silent-p silent
                 :crossed (loop for threshold in (sensor-thresholds sensor)
                                when (member (threshold-name threshold) crossed :test #'string=)
                                  collect (threshold-name threshold))
                 :gathering (remove nil gathering))))

(defun read-gathering (reader sensor)
  "Read what a window has gathered, NIL if SENSOR has no such window any more."
  (let* ((name (read-text reader)) (seconds (read-number reader))
         (start (read-number reader)) (aggregate (read-aggregate reader))
         (window (find name (sensor-windows sensor) :key #'window-name :test #'string=)))
    (when (and window (= seconds (window-seconds window)))
      (make-gathering :window window :start start :aggregate aggregate))))
