(defpackage #:hydramesh/iot/sensor
  (:use #:cl)
  (:import-from #:hydramesh/iot/thresholds #:threshold-name #:threshold-source)
  (:import-from #:hydramesh/iot/windows #:window-name)
  (:export #:+millionths+ #:sensor #:make-sensor #:sensor-name #:sensor-type #:sensor-unit #:sensor-low #:sensor-high
           #:sensor-period #:sensor-windows #:sensor-thresholds #:sensor-silence #:sensor-handlers #:sensor-devices
           #:sensor-handler #:sensor-window
           #:scaled #:handed #:in-range-p)
  (:documentation "What is declared of a kind of sensor."))
(in-package #:hydramesh/iot/sensor)

(defconstant +millionths+ 1000000 "In which values travel and are kept, so that they are whole numbers.")

(defstruct (sensor (:copier nil))
  "A kind of sensor, of which there may be many devices. Its values are of TYPE, :REAL, :INTEGER or :TRUTH, in
UNIT, a text, from LOW to HIGH. A device reports every PERIOD seconds, and is silent when it has not for
SILENCE of them. HANDLERS is a list of (event . function); DEVICES, those that the program has itself, one of
(name . function), which returns what was read or NIL."
  (name "" :type string :read-only t)
  (type :real :type (member :real :integer :truth) :read-only t)
  (unit "" :type string :read-only t)
  (low 0 :type rational :read-only t)
  (high 1 :type rational :read-only t)
  (period 60 :type (rational (0)) :read-only t)
  (windows '() :type list :read-only t)
  (thresholds '() :type list :read-only t)
  (silence 180 :type (rational (0)) :read-only t)
  (handlers '() :type list :read-only t)
  (devices '() :type list :read-only t))

(defun sensor-handler (sensor event)
  "Return the function that SENSOR's definition has for EVENT, or NIL."
  (cdr (assoc event (sensor-handlers sensor) :test #'equal)))

(defun sensor-window (sensor name)
  "Return the window of that NAME, or NIL."
  (find name (sensor-windows sensor) :key #'window-name))

(defun scaled (value sensor)
  "Return VALUE, a number or for a truth T or NIL, in millionths, as it travels. Signal TYPE-ERROR if it is
none of SENSOR's type."
  (ecase (sensor-type sensor)
    (:truth (if value +millionths+ 0))
    (:integer (check-type value integer) (* value +millionths+))
    (:real (check-type value real) (values (round (* (rational value) +millionths+))))))

(defun handed (value event sensor)
  "Return what the handler for EVENT is given for VALUE, a rational in SENSOR's unit or NIL: what a device may
have read, or for a window a number."
  (cond ((null value) nil)
        ((event-window event sensor) (if (integerp value) value (float value 1d0)))
        ((eq (sensor-type sensor) :truth) (plusp value))
        ((eq (sensor-type sensor) :integer) value)
        (t (float value 1d0))))

(defun event-window (event sensor)
  "Return the window of which EVENT tells, NIL if it tells of a reading."
  (let ((name (if (consp event) (second event) event)))
    (if (and (consp event) (eq (first event) :window))
        (sensor-window sensor name)
        (let ((threshold (find name (sensor-thresholds sensor) :key #'threshold-name)))
          (and threshold (sensor-window sensor (threshold-source threshold)))))))

(defun in-range-p (millionths sensor)
  "Return whether MILLIONTHS is a value that SENSOR may have."
  (and (<= (* +millionths+ (sensor-low sensor)) millionths (* +millionths+ (sensor-high sensor)))
       (or (eq (sensor-type sensor) :real) (zerop (mod millionths +millionths+)))))
