(defpackage #:hydramesh/usb4/doctor
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/foreign/links #:link-largest #:link-name)
  (:import-from #:hydramesh/shown #:shown)
  (:import-from #:hydramesh/usb4/measuring
                #:measured-address #:measured-answers #:measured-rate #:measured-rtt #:measured-size
                #:measured-worst)
  (:import-from #:hydramesh/usb4/sysfs
                #:bus-controllers #:bus-devices #:bus-driver-p #:bus-networks #:bus-there-p #:controller-name
                #:controller-security #:device-authorised-p #:device-id #:device-machine-p #:device-name
                #:device-networking-p #:device-speed #:device-text #:network-mtu #:network-name
                #:network-up-p)
  (:export #:print-bus #:print-peers)
  (:documentation "What `hydramesh usb4 doctor` says: what is there, and of what is missing, what to do."))
(in-package #:hydramesh/usb4/doctor)

(defconstant +most-devices+ 64 "Devices that are shown; more are counted.")

(defconstant +usual-mtu+ 1500 "That of a device that nobody has set up.")

(defun fine (stream control &rest arguments)
  (format stream "  ok    ~?~%" control arguments))

(defun missing (stream control &rest arguments)
  (format stream "  --    ~?~%" control arguments))

(defun hint (stream control &rest arguments)
  (format stream "  note  ~?~%" control arguments))

;;; What is plugged in

(defun print-controllers (bus stream)
  (cond ((bus-controllers bus)
         (dolist (controller (bus-controllers bus))
           (fine stream "controller ~A~@[, security level ~A~]" (shown (controller-name controller))
                 (and (controller-security controller) (shown (controller-security controller))))))
        ((bus-there-p bus)
         (missing stream "no controller: it may be switched off in the firmware, or be there only while something ~
                          is plugged in"))
        (t
         (missing stream "this kernel knows no Thunderbolt: there is no controller, or its driver is missing, ~
                          which `modprobe thunderbolt` loads"))))

(defun print-device (device stream)
  (let ((text (format nil "~A, ~A~@[, ~A~]" (shown (device-name device)) (shown (device-text device))
                      (and (device-speed device) (shown (device-speed device))))))
    (cond ((and (device-machine-p device) (device-networking-p device))
           (fine stream "machine ~A" text))
          ((device-machine-p device)
           (missing stream "machine ~A: it offers no network; it has to load thunderbolt-net, as this one ~
                            has" text))
          ((device-authorised-p device)
           (fine stream "device ~A, authorised" text))
          (t
           (missing stream "device ~A, not authorised: `boltctl enroll ~A` does that, for good" text
                    (shown (or (device-id device) "its id")))))))

(defun print-network (network stream)
  (let ((name (shown (network-name network))) (mtu (network-mtu network)))
    (cond ((network-up-p network)
           (fine stream "network device ~A, MTU ~A" name (or mtu "unknown"))
           (when (and mtu (<= mtu +usual-mtu+))
             (hint stream "larger datagrams take less work: `ip link set ~A mtu 65520`, at both ends" name)))
          (t
           (missing stream "network device ~A is down, or has no cable: `ip link set ~A up`" name name)))))

(defun print-bus (bus stream)
  "Print what BUS has."
  (format stream "Thunderbolt and USB4~%")
  (print-controllers bus stream)
  (let ((devices (bus-devices bus)))
    (loop for device in devices
          repeat +most-devices+
          do (print-device device stream))
    (when (> (length devices) +most-devices+)
      (hint stream "and ~D more" (- (length devices) +most-devices+))))
  (when (and (bus-controllers bus) (notany #'device-machine-p (bus-devices bus)))
    (missing stream "no other machine: connect both by a Thunderbolt or USB4 cable, not one that only ~
                     charges"))
  (if (bus-driver-p bus)
      (fine stream "driver thunderbolt-net")
      (missing stream "the driver thunderbolt-net is not loaded: `modprobe thunderbolt-net` does that"))
  (dolist (network (bus-networks bus))
    (print-network network stream))
  (unless (bus-networks bus)
    (missing stream "no network device: there is one while another machine is connected, and both have the ~
                     driver")))

;;; Who is there

(defun print-measured (measured stream)
  (let ((address (format-address (measured-address measured)))
        (rate (measured-rate measured)))
    (cond ((measured-rtt measured)
           (fine stream "~A, round trip ~,3F ms, the longest of ~D ~,3F ms" address
                 (/ (measured-rtt measured) 1000) (measured-answers measured)
                 (/ (measured-worst measured) 1000))
           (if rate
               (fine stream "~A, ~,2F Gbit/s there, in datagrams of ~D bytes" address
                     (/ (* 8 rate) 1000000000) (measured-size measured))
               (missing stream "~A falls silent when much is sent to it" address)))
          (t
           (missing stream "~A does not answer" address)))))

(defun print-peers (links measured stream)
  "Print those that were MEASURED over LINKS. Return whether one answers."
  (format stream "Peers~%")
  (dolist (one measured)
    (print-measured one stream))
  (cond ((null links)
         (missing stream "no cable that can be used: see above; peers are reached over UDP"))
        ((null measured)
         (missing stream "nobody with this cluster's key on ~{~A~^, ~}: a head or worker has to run there ~
                          with usb4_enabled, and a firewall let UDP port 7719 in"
                  (mapcar #'link-name links)))
        (t
         (hint stream "at most ~D bytes go in a datagram here" (reduce #'max links :key #'link-largest))))
  (and (some #'measured-rtt measured) t))
