(defpackage #:hydramesh/usb4/cables
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/foreign/links
                #:all-links #:link-name #:links-close #:links-counters #:links-fd #:links-free
                #:links-next-timeout
                #:links-receive #:links-send #:next-change #:open-links)
  (:import-from #:hydramesh/mesh #:mesh-endpoint #:mesh-now)
  (:import-from #:hydramesh/plugin/transport
                #:transport-close #:transport-counters #:transport-descriptors #:transport-next-timeout
                #:transport-receive #:transport-send)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:hydramesh/shown #:counted)
  (:export #:cables #:make-cables #:open-cables #:cables-text #:+prefix+)
  (:documentation "A head's cables to other machines: libdcf's links, as a transport beside its UDP socket."))
(in-package #:hydramesh/usb4/cables)

(defparameter +prefix+ "thunderbolt" "What Linux's names of Thunderbolt's network devices begin with.")

(defconstant +look+ 100000 "Microseconds between two looks at which devices are in use.")

(defstruct (cables (:copier nil))
  "LINKS are libdcf's, and DESCRIPTORS has theirs; NIL and empty until they are opened. DEVICES are the names
of those in use when this was last looked at, which is done again from LOOK-AT on; PEERS are reached over
them."
  (links nil)
  (descriptors '() :type list)
  (look-at 0 :type unsigned-byte)
  (devices '() :type list)
  (peers '() :type list))

(defun open-cables (cables key)
  "Open the links of CABLES with the cluster's KEY, 32 octets or NIL. Signal as OPEN-LINKS does."
  (let ((links (open-links +prefix+ key)))
    (setf (cables-links cables) links
          (cables-descriptors cables) (list (links-fd links))))
  (log-info "peers are looked for over Thunderbolt cables; over UDP while there is none, see `hydramesh usb4 doctor`")
  cables)

(defun cables-text (cables)
  "Return a line on how CABLES go."
  (let ((devices (cables-devices cables)))
    (if devices
        (format nil "~A over ~{~A~^, ~}" (counted (length (cables-peers cables)) "peer") devices)
        "no cable; peers are reached over UDP")))

(defun note-devices (cables now)
  (when (>= now (cables-look-at cables))
    (setf (cables-look-at cables) (+ now +look+))
    (tell-devices cables)))

(defun tell-devices (cables)
  (let ((devices (mapcar #'link-name (all-links (cables-links cables))))
        (before (cables-devices cables)))
    (unless (equal devices before)
      (setf (cables-devices cables) devices)
      (dolist (name (set-difference devices before :test #'string=))
        (log-info "a cable is plugged in" :device name))
      (dolist (name (set-difference before devices :test #'string=))
        (log-warning "a cable is out, or its device gone" :device name)))))

(defun note-changes (cables)
  (loop
    (multiple-value-bind (peer neighbour size) (next-change (cables-links cables))
      (unless peer
        (return))
      (cond ((and size (member peer (cables-peers cables)))
             (log-info "larger datagrams go over a cable" :peer (format-address peer) :bytes size))
            (size
             (push peer (cables-peers cables))
             (log-info "a peer is reached over a cable" :peer (format-address peer)
                                                        :at (format-address neighbour)))
            (t
             (setf (cables-peers cables) (remove peer (cables-peers cables)))
             (log-warning "a peer is reached over the ordinary network again"
                          :peer (format-address peer)))))))

;;; As a transport

(defmethod transport-descriptors ((cables cables))
  (cables-descriptors cables))

(defmethod transport-next-timeout ((cables cables))
  (links-next-timeout (cables-links cables)))

(defmethod transport-receive ((cables cables) mesh)
  (links-receive (cables-links cables) (mesh-endpoint mesh) (mesh-now mesh))
  (note-changes cables)
  (note-devices cables (mesh-now mesh)))

(defmethod transport-send ((cables cables) mesh)
  (links-send (cables-links cables) (mesh-endpoint mesh) (mesh-now mesh)))

(defmethod transport-counters ((cables cables))
  (links-counters (cables-links cables)))

(defmethod transport-close ((cables cables) mesh)
  (let ((links (shiftf (cables-links cables) nil)))
    (setf (cables-descriptors cables) '()
          (cables-devices cables) '()
          (cables-peers cables) '())
    (unwind-protect (links-close links (mesh-endpoint mesh) (mesh-now mesh))
      (links-free links))))
