(defpackage #:hydramesh/usb4/sysfs
  (:use #:cl)
  (:import-from #:hydramesh/bounded-file #:read-bounded #:unreadable-file)
  (:import-from #:sb-posix)
  (:export #:bus #:read-bus #:bus-there-p #:bus-controllers #:bus-devices #:bus-driver-p #:bus-networks
           #:controller-name #:controller-security
           #:device-name #:device-text #:device-machine-p #:device-authorised-p #:device-speed
           #:device-networking-p
           #:device-id
           #:network-name #:network-up-p #:network-mtu)
  (:documentation "What Linux tells of Thunderbolt and USB4 in sysfs (the kernel's
Documentation/ABI/testing/sysfs-bus-thunderbolt). Names in it come from whatever is plugged in."))
(in-package #:hydramesh/usb4/sysfs)

(defconstant +most+ 4096 "Bytes of an attribute; sysfs has no larger ones.")
(defconstant +most-entries+ 4096 "Entries of a folder that are looked at.")

(defstruct (controller (:copier nil))
  "A Thunderbolt domain, and the SECURITY level by which it authorises devices."
  (name "" :type string :read-only t)
  (security nil :type (or null string) :read-only t))

(defstruct (device (:copier nil))
  "What is plugged in. TEXT is its vendor's and its own name. It is another MACHINE or not; if not, it is
AUTHORISED or not. SPEED is that of the link, a text, or NIL. A machine may offer NETWORKING. ID is what
boltctl knows it by."
  (name "" :type string :read-only t)
  (text "" :type string :read-only t)
  (machine-p nil :read-only t)
  (authorised-p nil :read-only t)
  (speed nil :type (or null string) :read-only t)
  (networking-p nil :read-only t)
  (id nil :type (or null string) :read-only t))

(defstruct (network (:copier nil))
  "A network device: its NAME, whether it is UP with a cable, and its MTU in bytes, or NIL."
  (name "" :type string :read-only t)
  (up-p nil :read-only t)
  (mtu nil :type (or null unsigned-byte) :read-only t))

(defstruct (bus (:copier nil))
  "All of it. THERE-P: the kernel knows the bus. DRIVER-P: thunderbolt-net is loaded."
  (there-p nil :read-only t)
  (controllers '() :type list :read-only t)
  (devices '() :type list :read-only t)
  (driver-p nil :read-only t)
  (networks '() :type list :read-only t))

;;; Reading

(defun entries (folder)
  "Return the names in FOLDER, sorted, or NIL if it cannot be read."
  (handler-case
      (let ((directory (sb-posix:opendir folder)))
        (unwind-protect
             (sort (loop for entry = (sb-posix:readdir directory)
                         until (sb-alien:null-alien entry)
                         for name = (sb-posix:dirent-name entry)
                         unless (char= (char name 0) #\.)
                           collect name into names
                           and count t into count
                         until (= count +most-entries+)
                         finally (return names))
                   #'string<)
          (sb-posix:closedir directory)))
    (sb-posix:syscall-error () '())))

(defun there-p (path)
  (handler-case (and (sb-posix:stat path) t)
    (sb-posix:syscall-error () nil)))

(defun attribute (folder name)
  "Return what the file NAME in FOLDER holds, or NIL if it cannot be read or is empty."
  (handler-case
      (let ((text (string-trim '(#\Space #\Newline #\Nul)
                               (sb-ext:octets-to-string (read-bounded (format nil "~A/~A" folder name) +most+)
                                                        :external-format '(:utf-8 :replacement #\?)))))
        (and (string/= text "") text))
    (unreadable-file () nil)))

(defun whole-number (text)
  (and text (<= (length text) 9) (every #'digit-char-p text) (parse-integer text)))

(defun begins-p (prefix name)
  (eql (mismatch prefix name) (length prefix)))

;;; The bus

(defun route-p (name)
  "Return whether NAME is that of something plugged in: its domain's number, a hyphen, and where it is, but
not 0, which is this machine itself."
  (let ((hyphen (position #\- name)))
    (and hyphen
         (plusp hyphen)
         (every #'digit-char-p (subseq name 0 hyphen))
         (< (1+ hyphen) (length name))
         (every (lambda (character) (digit-char-p character 16)) (subseq name (1+ hyphen)))
         (string/= (subseq name (1+ hyphen)) "0"))))

(defun speed-of (folder)
  (let ((speed (attribute folder "rx_speed"))
        (lanes (attribute folder "rx_lanes")))
    (and speed (format nil "~@[~A × ~]~A" lanes speed))))

(defun networking-p (devices name all)
  "Return whether a service of the machine NAME, among ALL names in the folder DEVICES, is networking."
  (loop for service in all
        thereis (and (begins-p (format nil "~A." name) service)
                     (equal "network" (attribute (format nil "~A/~A" devices service) "key")))))

(defun device-in (devices name all)
  (let* ((folder (format nil "~A/~A" devices name))
         (authorised (attribute folder "authorized")))
    (make-device :name name
                 :text (format nil "~@[~A ~]~A" (attribute folder "vendor_name")
                               (or (attribute folder "device_name") "without a name"))
                 ;; Devices are authorised, other machines are not.
                 :machine-p (null authorised)
                 :authorised-p (and authorised (string/= authorised "0"))
                 :speed (speed-of folder)
                 :networking-p (networking-p devices name all)
                 :id (attribute folder "unique_id"))))

(defun controller-in (devices name)
  (make-controller :name name :security (attribute (format nil "~A/~A" devices name) "security")))

(defun network-in (folder name)
  (let ((folder (format nil "~A/~A" folder name)))
    (make-network :name name
                  :up-p (equal "1" (attribute folder "carrier"))
                  :mtu (whole-number (attribute folder "mtu")))))

(defun read-bus (root prefix)
  "Return what sysfs, which lies at ROOT, tells. Network devices are those whose names begin with PREFIX."
  (let* ((devices (format nil "~A/bus/thunderbolt/devices" root))
         (networks (format nil "~A/class/net" root))
         (all (entries devices)))
    (make-bus :there-p (there-p devices)
              :controllers (loop for name in all
                                 when (begins-p "domain" name)
                                   collect (controller-in devices name))
              :devices (loop for name in all
                             when (route-p name) collect (device-in devices name all))
              :driver-p (there-p (format nil "~A/module/thunderbolt_net" root))
              :networks (loop for name in (entries networks)
                              when (begins-p prefix name) collect (network-in networks name)))))
