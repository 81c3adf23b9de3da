(defpackage #:hydramesh/iot/station
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/iot/device
                #:device #:make-device #:device-close-windows #:device-gathering #:device-heard-at
                #:device-late-p #:device-name #:device-note #:device-sensor #:device-silent-p #:device-value)
  (:import-from #:hydramesh/iot/limits #:+devices+ #:+forgotten+)
  (:import-from #:hydramesh/iot/reading
                #:reading-device #:reading-number #:reading-start #:reading-value)
  (:import-from #:hydramesh/iot/sensor #:+millionths+ #:sensor #:in-range-p #:sensor-silence)
  (:export #:station #:make-station #:station-sensor #:station-devices #:station-counts #:station-count
           #:station-device #:station-add #:station-take #:station-pass
           #:happening #:happening-device #:happening-event #:happening-value)
  (:documentation "Who takes the readings of all devices of a sensor and tells what has happened by them,
sans-IO.

A reading that the sensor cannot have made is refused and counted, and changes nothing else: a device of
which only such ones come is as good as silent."))
(in-package #:hydramesh/iot/station)

(defstruct (happening (:copier nil))
  "EVENT has happened to DEVICE, as VALUE, a rational in its sensor's unit, says; NIL if none is known."
  (device nil :type device :read-only t)
  (event nil :read-only t)
  (value nil :type (or null rational) :read-only t))

(defstruct (station (:constructor make-station (sensor)) (:copier nil))
  "DEVICES of SENSOR by their names. COUNTS is a list of (what . number). It is FULL when a device was refused
since time has last passed."
  (sensor nil :type sensor :read-only t)
  (devices (make-hash-table :test #'equal) :read-only t)
  (counts (list (cons :taken 0) (cons :late 0) (cons :out-of-range 0) (cons :too-many-devices 0))
   :type list :read-only t)
  (full nil))

(defun count-one (station what)
  (incf (cdr (assoc what (station-counts station))))
  '())

(defun station-count (station what)
  "Return how many readings were :TAKEN, or were not as they were :LATE, :OUT-OF-RANGE, or of a device
beyond what a station knows, :TOO-MANY-DEVICES."
  (cdr (assoc what (station-counts station))))

(defun station-device (station name)
  "Return the device of that NAME, or NIL."
  (gethash name (station-devices station)))

(defun station-add (station device)
  "Know DEVICE. Return it, or NIL if there are too many."
  (when (< (hash-table-count (station-devices station)) +devices+)
    (setf (gethash (device-name device) (station-devices station)) device)))

(defun new-device (station name)
  (station-add station (make-device :sensor (station-sensor station) :name name)))

(defun happenings (device events)
  (loop for (event value) in events
        collect (make-happening :device device :event event :value value)))

(defun station-take (station reading now wall)
  "Take READING, which came at NOW. WALL is the time in microseconds since 1970. Return what has happened, a
list of HAPPENING in that order."
  (let ((name (reading-device reading)) (start (reading-start reading)) (number (reading-number reading)))
    (if (in-range-p (reading-value reading) (station-sensor station))
        (let ((device (or (station-device station name) (new-device station name))))
          (cond ((null device)
                 (setf (station-full station) t)
                 (count-one station :too-many-devices))
                ((device-late-p device start number) (count-one station :late))
                (t
                 (count-one station :taken)
                 (happenings device (device-note device start number (reading-value reading) now wall)))))
        (count-one station :out-of-range))))

(defun silent-now-p (device now)
  (and (not (device-silent-p device))
       (> (- now (device-heard-at device)) (seconds (sensor-silence (device-sensor device))))))

(defun station-pass (station now wall)
  "Return what has happened by NOW as time has passed, a list of HAPPENING. WALL is as in STATION-TAKE. A device
that has been FORGOTTEN, so that there is room for others, is not known any more."
  (append (time-passed station now wall)
          (when (shiftf (station-full station) nil)
            (forget-some station))))

(defun forget-some (station)
  "Forget the devices that have been silent for longest."
  (let ((silent (sort (loop for device being the hash-values of (station-devices station)
                            when (device-silent-p device)
                              collect device)
                      #'< :key #'device-heard-at)))
    (loop for device in silent
          repeat +forgotten+
          do (remhash (device-name device) (station-devices station))
          collect (make-happening :device device :event :forgotten))))

(defun time-passed (station now wall)
  (loop for device being the hash-values of (station-devices station)
        when (device-gathering device)
          append (happenings device (device-close-windows device wall))
        when (silent-now-p device now)
          do (setf (device-silent-p device) t)
          and collect (make-happening :device device :event :silent
                                  :value (and (device-value device) (/ (device-value device) +millionths+)))))
