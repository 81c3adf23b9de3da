(defpackage #:hydramesh/tests/iot/service
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/domain/definitions #:*definitions*)
  (:import-from #:hydramesh/domain/keeping #:make-keeping)
  (:import-from #:hydramesh/domain/node #:*node* #:acting #:node-add #:node-counters #:node-services #:node-stop)
  (:import-from #:hydramesh/domain/packing #:packed)
  (:import-from #:hydramesh/domain/service #:take-message)
  (:import-from #:hydramesh/domain/types #:+iot-channel+ #:+reliable+ #:make-reliable-message)
  (:import-from #:hydramesh/iot #:defsensor #:latest-reading #:reading-counts #:report #:known-devices)
  (:import-from #:hydramesh/iot/reading #:encode-reading #:make-reading)
  (:import-from #:hydramesh/iot/service #:running-station)
  (:import-from #:hydramesh/tests/domain/network
                #:add-node #:inject #:new-network #:pass-time #:place-address #:place-node)
  (:shadowing-import-from #:hydramesh/tests/domain/network #:restart)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "Sensors of one program that report to another, over a network that is as bad as they come."))
(in-package #:hydramesh/tests/iot/service)

(fiveam:def-suite iot :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite iot)

(defvar *acted* '() "What the handlers have done: (event device value), the newest first.")

(defun thermometer ()
  (let ((*definitions* '()))
    (eval '(defsensor air
            (:unit "°C") (:range -40 85) (:period 1)
            (:threshold hot :above 30 :until 28)
            (:on hot (device value) (push (list :hot device value) *acted*))
            (:on (over hot) (device value) (push (list :cool device value) *acted*))
            (:on silent (device value) (push (list :silent device value) *acted*))))
    (third (first *definitions*))))

(defmacro at ((place) &body body)
  "Do BODY as a handler of the node at PLACE would."
  `(let ((*node* (place-node ,place)))
     (acting (*node* "a test") ,@body)))

(defun station-and-field (network &rest options)
  "Return a place that takes readings and another one that reports to it."
  (let* ((station (apply #'add-node network options))
         (field (add-node network :peers (list (place-address station)))))
    (node-add (place-node station) (thermometer))
    (node-add (place-node field) (thermometer))
    (values station field)))

(defun acted-on (device)
  (loop for (event name) in (reverse *acted*)
        when (string= name device)
          collect event))

(defun crossings (values)
  "Return what should be done for VALUES, by the plainest reading of (:above 30 :until 28)."
  (loop with hot = nil
        for value in values
        when (and (not hot) (> value 30))
          collect :hot and do (setf hot t)
        when (and hot (<= value 28))
          collect :cool and do (setf hot nil)))

(defun report-at-random (fields reported random)
  "Have each of a hundred devices of each of FIELDS report something, now and then what cannot be. Note it in
REPORTED, and return how often it could not be."
  (loop for field in fields
        for number from 0
        sum (at (field)
              (loop for index below 100
                    for device = (format nil "~D-~D" number index)
                    for impossible = (zerop (random 50 random))
                    for value = (if impossible 1000 (+ 20 (random 16 random)))
                    do (report 'air device value)
                       (unless impossible
                         (push value (gethash device reported)))
                    count impossible))))

(test a-thousand-sensors-have-every-crossing-acted-on-once-over-a-bad-link
  (let* ((*acted* '()) (random (sb-ext:seed-random-state 7)) (reported (make-hash-table :test #'equal))
         (network (new-network :seed 3 :loss 0.05 :duplicates 0.02 :delay 30000 :jitter 10000))
         (station (add-node network))
         (fields (loop repeat 10 collect (add-node network :peers (list (place-address station))))))
    (dolist (place (cons station fields))
      (node-add (place-node place) (thermometer)))
    (let ((refused (loop repeat 20
                         sum (report-at-random fields reported random)
                         do (pass-time network 1))))
      (pass-time network 5)
      (let ((counts (at (station) (reading-counts 'air))))
        (is (= refused (getf counts :out-of-range)))
        (is (= (- 20000 refused) (getf counts :taken)))))
    (is (= 1000 (length (at (station) (known-devices 'air)))))
    (is (> (length *acted*) 1000))
    (is (loop for device being the hash-keys of reported using (hash-value values)
              always (equal (crossings (reverse values)) (remove :silent (acted-on device)))))))

(test a-restart-crosses-no-threshold-again
  (let* ((*acted* '()) (network (new-network)))
    (multiple-value-bind (station field) (station-and-field network :store (make-keeping))
      (at (field) (report 'air "roof" 31))
      (pass-time network 3)
      (restart station)
      (node-add (place-node station) (thermometer))
      (is (= 31 (at (station) (latest-reading 'air "roof"))))
      (at (field) (report 'air "roof" 32))
      (pass-time network 1)
      (at (field) (report 'air "roof" 27))
      (pass-time network 1)
      (is (equal '(:hot :cool) (acted-on "roof"))))))

(defun sensor-with-all-it-may-declare ()
  (flet ((name (what number)
           (intern (format nil "~A-~V,'0D" what (- 60 (length what)) number))))
    (let ((*definitions* '()))
      (eval `(defsensor air
              (:range -40 85) (:period 1)
              ,@(loop for number below 16 collect `(:window ,(name "W" number) ,(+ 3600 number)))
              ,@(loop for number below 16 collect `(:threshold ,(name "T" number) :above ,number))))
      (third (first *definitions*)))))

(test what-is-known-of-devices-is-kept-however-much-it-is
  (let* ((network (new-network)) (place (add-node network :store (make-keeping))))
    (node-add (place-node place) (sensor-with-all-it-may-declare))
    (dotimes (number 100)
      (take-message (running-of place)
                    (reading-of (format nil "~64,1,0,VA" (code-char #x1f600) number))))
    (pass-time network 3)
    (is (null (assoc "faults" (node-counters (place-node place)) :test #'string=)))
    (restart place)
    (node-add (place-node place) (sensor-with-all-it-may-declare))
    (is (= 100 (length (at (place) (known-devices 'air)))))))

(test what-is-forgotten-is-not-kept-and-leaves-room
  (let* ((network (new-network)) (place (add-node network :store (make-keeping))))
    (node-add (place-node place) (thermometer))
    (at (place)
      (dotimes (number 100)
        (report 'air (princ-to-string number) 20)))
    (pass-time network 10)
    (setf (hydramesh/iot/station::station-full (running-station (running-of place))) t)
    (pass-time network 2)
    (is (null (at (place) (known-devices 'air))))
    (at (place)
      (dotimes (number 50)
        (report 'air (format nil "new ~D" number) 20)))
    (node-stop (place-node place))
    (let ((chunks (length (hydramesh/domain/keeping:kept-numbers (place-node place) #x30))))
      (restart place)
      (node-add (place-node place) (thermometer))
      (is (= 50 (length (at (place) (known-devices 'air)))))
      (is (= chunks 7) "as many as a hundred take"))))

(defun running-of (place)
  (cdr (first (node-services (place-node place)))))

(defun reading-of (device)
  "Return the message by which DEVICE says that it has read 80."
  (make-reliable-message :type +reliable+ :channel +iot-channel+
                         :payload (encode-reading (make-reading :sensor "air" :device device :start 1 :number 1
                                                                :value 80000000))))

(test a-sensor-that-is-switched-off-is-told-of-though-the-station-was-restarted
  (let* ((*acted* '()) (network (new-network)))
    (multiple-value-bind (station field) (station-and-field network :store (make-keeping))
      (at (field) (report 'air "roof" 20))
      (pass-time network 2)
      (node-stop (place-node station))
      (restart station)
      (node-add (place-node station) (thermometer))
      (pass-time network 10)
      (is (equal '(:silent) (acted-on "roof"))))))

(test a-program-alone-takes-what-it-reads-itself
  (let* ((*acted* '()) (network (new-network)) (place (add-node network)))
    (node-add (place-node place) (thermometer))
    (is (= 31.5d0 (at (place)
                    (report 'air "desk" 31.5)
                    (latest-reading 'air "desk"))))
    (is (equal '((:hot "desk" 31.5d0)) *acted*))))

(test a-handler-that-fails-keeps-no-other-from-its-event
  (let* ((*acted* '()) (network (new-network)) (place (add-node network)))
    (node-add (place-node place)
              (let ((*definitions* '()))
                (eval '(defsensor air
                        (:range 0 100) (:period 60)
                        (:threshold hot :above 30)
                        (:on reading (device value) (error "~A ~A" device value))
                        (:on hot (device value) (push (list :hot device value) *acted*))))
                (third (first *definitions*))))
    (at (place) (report 'air "desk" 31))
    (is (equal '(:hot) (acted-on "desk")))
    (is (equal 1 (cdr (assoc "faults" (node-counters (place-node place)) :test #'string=))))))

(test what-is-no-reading-harms-nothing
  (let* ((*acted* '()) (network (new-network)))
    (multiple-value-bind (station field) (station-and-field network)
      (declare (ignore field))
      (loop with random = (sb-ext:seed-random-state 5)
            repeat 2000
            do (inject station 12345 +reliable+
                       (let ((octets (make-array (random 60 random) :element-type '(unsigned-byte 8))))
                         (map-into octets (lambda () (random 256 random))))))
      (inject station 12345 +reliable+ (packed (:u8 #x30) (:u8 0) (:u64 1) (:u32 0) (:u8 1) (:u32 1)))
      (is (equal '(0 ()) (at (station) (list (getf (reading-counts 'air) :taken) (known-devices 'air))))))))
