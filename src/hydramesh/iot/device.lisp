(defpackage #:hydramesh/iot/device
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/iot/limits #:+starts+)
  (:import-from #:hydramesh/iot/sensor
                #:+millionths+ #:sensor #:sensor-thresholds #:sensor-windows)
  (:import-from #:hydramesh/iot/thresholds #:threshold-crossing #:threshold-name #:threshold-source)
  (:import-from #:hydramesh/iot/windows
                #:aggregate-add #:aggregate-value #:make-aggregate #:window-measure #:window-name
                #:window-seconds #:window-start)
  (:export #:device #:make-device #:device-sensor #:device-name #:device-start #:device-number
           #:device-earlier #:device-value #:device-read-at #:device-heard-at #:device-silent-p
           #:device-crossed #:device-gathering
           #:gathering #:make-gathering #:gathering-window #:gathering-start #:gathering-aggregate
           #:device-late-p #:device-note #:device-close-windows)
  (:documentation "What a station knows of one device: its last reading, and how that stands to its sensor's
windows and thresholds."))
(in-package #:hydramesh/iot/device)

(defstruct (gathering (:copier nil))
  "The AGGREGATE of the stretch of WINDOW that began at START, seconds since 1970."
  (window nil :read-only t)
  (start 0 :type unsigned-byte)
  (aggregate (make-aggregate)))

(defstruct (device (:copier nil))
  "A device counts its readings since it was started: START is a number that each start draws, EARLIER are
others and their highest numbers, (start . number), the last one first; NUMBER is the highest that came. VALUE,
millionths, was read at READ-AT, microseconds since 1970, and came at HEARD-AT. CROSSED are the names of the
thresholds that it is beyond, GATHERING is what its windows have, of those in which something was read."
  (sensor nil :type sensor :read-only t)
  (name "" :type string :read-only t)
  (start 0 :type (unsigned-byte 32))
  (number 0 :type (unsigned-byte 32))
  (earlier '() :type list)
  (value nil :type (or null integer))
  (read-at 0 :type microseconds)
  (heard-at 0 :type microseconds)
  (silent-p nil :type boolean)
  (crossed '() :type list)
  (gathering '() :type list))

(defun device-late-p (device start number)
  "Return whether the reading with this NUMBER since START was there before, or is older than one that was."
  (and (device-value device)
       (let ((known (if (= start (device-start device))
                        (device-number device)
                        (cdr (assoc start (device-earlier device))))))
         (and known (<= number known)))))

(defun note-start (device start)
  "Know that what comes now was read since START. What its other starts have counted is remembered."
  (unless (or (null (device-value device)) (= start (device-start device)))
    (let ((others (acons (device-start device) (device-number device)
                         (remove start (device-earlier device) :key #'car))))
      (setf (device-earlier device) (subseq others 0 (min +starts+ (length others))))))
  (setf (device-start device) start))

(defun crossings (device source value)
  "Return the events of the thresholds of SOURCE now that VALUE is known: a name, or (:over name)."
  (loop for threshold in (sensor-thresholds (device-sensor device))
        for name = (threshold-name threshold)
        for crossing = (and (eq source (threshold-source threshold))
                            (threshold-crossing threshold (member name (device-crossed device)) value))
        when (eq crossing :crossed)
          do (push name (device-crossed device))
          and collect name
        when (eq crossing :over)
          do (setf (device-crossed device) (remove name (device-crossed device)))
          and collect (list :over name)))

(defun device-note (device start number value now wall)
  "Take VALUE, millionths, the reading NUMBER since START, which came at NOW. WALL is the time in microseconds
since 1970. Return a list of (event value), in the order in which they have happened; such a value is a
rational, in the sensor's unit."
  (note-start device start)
  (let ((heard (and (device-silent-p device) '(:heard)))
        (closed (device-close-windows device wall))
        (reading (/ value +millionths+)))
    (setf (device-number device) number
          (device-value device) value
          (device-read-at device) wall
          (device-heard-at device) now
          (device-silent-p device) nil)
    (gather device value wall)
    (append closed
            (loop for event in (append heard '(:reading) (crossings device nil reading))
                  collect (list event reading)))))

(defun gather (device value wall)
  (dolist (window (sensor-windows (device-sensor device)))
    (let ((gathering (find window (device-gathering device) :key #'gathering-window)))
      (unless gathering
        (setf gathering (make-gathering :window window :start (window-start window (floor wall 1000000))))
        (push gathering (device-gathering device)))
      (aggregate-add (gathering-aggregate gathering) value))))

(defun over-p (gathering wall)
  (let* ((window (gathering-window gathering))
         (start (gathering-start gathering))
         (now (window-start window (floor wall 1000000))))
    ;; A clock that is set back a little ends nothing. By more, it was ahead: that stretch may not come for years.
    (or (> now start) (< now (- start (window-seconds window))))))

(defun device-close-windows (device wall)
  "End the stretches that are over at WALL. Return a list of (event value): ((:window name) value), and what
that does to thresholds."
  (loop for gathering in (device-gathering device)
        for window = (gathering-window gathering)
        when (over-p gathering wall)
          do (setf (device-gathering device) (remove gathering (device-gathering device)))
          and append (let ((value (window-value window gathering)))
                       (loop for event in (cons (list :window (window-name window))
                                                (crossings device (window-name window) value))
                             collect (list event value)))))

(defun window-value (window gathering)
  (let ((value (aggregate-value (gathering-aggregate gathering) (window-measure window))))
    (if (eq (window-measure window) :count) value (/ value +millionths+))))
