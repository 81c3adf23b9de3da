(defpackage #:hydramesh/iot/service
  (:use #:cl)
  (:import-from #:hydramesh/domain/node #:acting #:node-now #:node-peers #:node-random)
  (:import-from #:hydramesh/domain/service
                #:lose-peer #:service-kind #:service-name #:start-service #:stop-service #:take-message)
  (:import-from #:hydramesh/domain/types #:+iot-channel+ #:+reliable+ #:message-channel)
  (:import-from #:hydramesh/events #:message-payload #:message-type #:wall-clock)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/iot/device #:device-name)
  (:import-from #:hydramesh/iot/reading
                #:decode-reading #:encode-reading #:make-reading #:reading-device
                #:reading-sensor #:reading-value)
  (:import-from #:hydramesh/iot/record #:open-record #:record-note #:record-pass #:record-write)
  (:import-from #:hydramesh/iot/sensor #:handed #:scaled #:sensor #:sensor-devices #:sensor-handler #:sensor-name #:sensor-period
                #:sensor-type)
  (:import-from #:hydramesh/iot/states #:open-states #:states-forget #:states-note #:states-write)
  (:import-from #:hydramesh/iot/station
                #:happening-device #:happening-event #:happening-value #:make-station #:station-take
                #:station-pass)
  (:import-from #:hydramesh/domain/calling #:call-every)
  (:import-from #:hydramesh/domain/sending #:send-reliable)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:export #:running #:running-station #:running-report)
  (:documentation "A sensor that is declared in a program that runs: its readings are taken, acted on and kept,
or those of devices which the program has are sent to others."))
(in-package #:hydramesh/iot/service)

(defconstant +second+ 1000000)

(defstruct (running (:copier nil))
  "START and NUMBERS, by the device's name, count what this program's own devices have read."
  (node nil :read-only t)
  (sensor nil :type sensor :read-only t)
  (station nil :read-only t)
  (states nil :read-only t)
  (records '() :type list :read-only t)
  (start 0 :type (unsigned-byte 32) :read-only t)
  (numbers (make-hash-table :test #'equal) :read-only t))

(defmethod service-kind ((sensor sensor))
  :iot)

(defmethod service-name ((sensor sensor))
  (sensor-name sensor))

(defmethod start-service ((sensor sensor) node)
  (let* ((station (make-station sensor))
         (running (make-running :node node :sensor sensor :station station
                                :states (open-states node station (node-now node))
                                :records (loop for unit in '(60 3600)
                                               collect (open-record node (sensor-name sensor) unit))
                                :start (random (ash 1 32) (node-random node)))))
    (call-every node +second+ (lambda (tick late)
                                (declare (ignore tick late))
                                (pass running)))
    (when (sensor-devices sensor)
      (call-every node (* +second+ (sensor-period sensor)) (lambda (tick late)
                                                             (declare (ignore tick late))
                                                             (read-devices running))))
    running))

(defmethod stop-service ((running running))
  (mapc #'record-write (running-records running))
  (states-write (running-states running) (seconds running) :all t))

(defun seconds (running)
  (floor (node-now (running-node running)) +second+))

;;; What comes in

(defmethod take-message ((running running) message)
  (when (and (= (message-type message) +reliable+) (= (message-channel message) +iot-channel+))
    (let ((reading (decode-reading (message-payload message))))
      (when (and reading (string= (reading-sensor reading) (sensor-name (running-sensor running))))
        (take running reading)
        t))))

(defun take (running reading)
  (let* ((wall (wall-clock))
         (happenings (station-take (running-station running) reading (node-now (running-node running)) wall)))
    (when happenings
      (dolist (record (running-records running))
        (record-note record (reading-device reading) (reading-value reading) (floor wall +second+))))
    (act running happenings)))

(defun pass (running)
  (let ((wall (wall-clock)))
    (act running (station-pass (running-station running) (node-now (running-node running)) wall))
    (dolist (record (running-records running))
      (record-pass record (floor wall +second+)))
    (states-write (running-states running) (seconds running))))

(defun act (running happenings)
  "Call the handlers for HAPPENINGS. What has happened is noted before: no handler acts on it twice."
  (loop with states = (running-states running)
        for happening in happenings
        for device = (happening-device happening)
        do (case (happening-event happening)
             (:forgotten (states-forget states device))
             (:reading (states-note states device nil))
             (t (states-note states device t))))
  (dolist (happening happenings)
    (let ((handler (sensor-handler (running-sensor running) (happening-event happening))))
      (when handler
        (call-handler running handler happening)))))

(defun call-handler (running handler happening)
  ;; A handler that fails must not keep others from what has happened.
  (acting ((running-node running) (sensor-name (running-sensor running)))
    (funcall handler (device-name (happening-device happening))
             (handed (happening-value happening) (happening-event happening)
                     (running-sensor running)))))

;;; What goes out

(defmethod lose-peer ((running running) peer)
  (when (member peer (node-peers (running-node running)))
    (log-warning "readings are lost, as who should get them does not answer"
                 :sensor (sensor-name (running-sensor running)) :peer (format-address peer))))

(defun read-devices (running)
  (loop with sensor = (running-sensor running)
        for (name . function) in (sensor-devices sensor)
        do (acting ((running-node running) (sensor-name sensor))
             (let ((value (funcall function)))
               ;; Of a truth NIL is a value, of a number it is that there is none.
               (when (or value (eq (sensor-type sensor) :truth))
                 (running-report running name (scaled value sensor)))))))

(defun running-report (running device millionths)
  "Send that DEVICE, one of this program's own, has read MILLIONTHS to all that the program reports to, or if
there is nobody take it here. Return whether all of it was sent."
  (let* ((reading (make-reading :sensor (sensor-name (running-sensor running)) :device device
                                :start (running-start running)
                                :number (incf (gethash device (running-numbers running) 0))
                                :value millionths))
         (node (running-node running))
         (peers (node-peers node)))
    (if peers
        (let ((octets (encode-reading reading)))
          (loop with all = t
                for peer in peers
                do (unless (send-reliable node peer +iot-channel+ octets)
                     (setf all nil))
                finally (return all)))
        (progn
          (take running reading)
          t))))
