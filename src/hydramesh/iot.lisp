(defpackage #:hydramesh/iot
  (:use #:cl)
  (:import-from #:hydramesh/domain/definitions #:add-definition #:with-definition)
  (:import-from #:hydramesh/domain/node #:*node* #:node-services)
  (:import-from #:hydramesh/iot/definition #:checked-name #:sensor-form #:text-name)
  (:import-from #:hydramesh/iot/device #:device-value)
  (:import-from #:hydramesh/iot/files #:number-in-file)
  (:import-from #:hydramesh/iot/sensor #:+millionths+ #:handed #:scaled #:sensor-name)
  (:import-from #:hydramesh/iot/service #:running #:running-report #:running-sensor #:running-station)
  (:import-from #:hydramesh/iot/station #:station-counts #:station-device #:station-devices)
  (:export #:defsensor #:report #:latest-reading #:known-devices #:reading-counts #:number-in-file)
  (:documentation "Sensors: what they read is checked, acted on, aggregated and kept. docs/hydramesh.md
teaches it."))
(in-package #:hydramesh/iot)

(defmacro defsensor (name &body forms)
  "Define a kind of sensor, of which any number of devices may report:

    (defsensor soil-moisture \"How wet the soil of a bed is.\"
      (:unit \"%\")
      (:range 0 100)                       ; anything else is refused and counted
      (:period 1 :minute)                  ; how often a device reports
      (:window hourly 1 :hour :mean)
      (:threshold dry :below 25 :until 30)
      (:on dry (device value) ...)
      (:on (over dry) (device value) ...)
      (:on silent (device value) ...)      ; after three periods, or what (:silence 5 :minutes) says
      (:device \"bed 1\" (number-in-file \"/run/probe\"))) ; one of this program's own

A mistake in it is a BAD-DEFINITION when it is compiled."
  (with-definition ("defsensor" name)
    `(progn
       (add-definition :iot ,(text-name name)
                       ,(sensor-form name forms))
       ',name)))

(defun running-of (name)
  "Return what runs of the sensor that was defined as NAME, a symbol."
  (let ((text (string-downcase name)))
    (or (loop for (nil . running) in (and *node* (node-services *node*))
              when (and (typep running 'running) (string= text (sensor-name (running-sensor running))))
                return running)
        (error "no sensor ~A runs here: define it by defsensor, and call this in a handler or a timer" text))))

(defun name-of (device)
  (checked-name (if (symbolp device) (string-downcase device) device)))

(defun report (sensor device value)
  "Say that DEVICE, a name, of SENSOR, a symbol, has read VALUE: to all that the setting domain_peers names, or
without any to this program itself. Call it in a handler or a timer. Return whether it could be sent to all."
  (let ((running (running-of sensor)))
    (running-report running (name-of device) (scaled value (running-sensor running)))))

(defun latest-reading (sensor device)
  "Return what DEVICE of SENSOR has read last, NIL if nothing is known."
  (let* ((running (running-of sensor))
         (device (station-device (running-station running) (name-of device))))
    (and device
         (handed (/ (device-value device) +millionths+) :reading (running-sensor running)))))

(defun known-devices (sensor)
  "Return the names of the devices of SENSOR that have reported, in alphabetical order."
  (sort (loop for name being the hash-keys of (station-devices (running-station (running-of sensor)))
              collect name)
        #'string<))

(defun reading-counts (sensor)
  "Return how many readings of SENSOR's devices were :TAKEN, :LATE, :OUT-OF-RANGE or of :TOO-MANY-DEVICES, as a
property list."
  (loop for (what . count) in (station-counts (running-station (running-of sensor)))
        collect what
        collect count))
