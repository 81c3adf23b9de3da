(defpackage #:hydramesh/topology/control
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/topology/health #:+unreachable+)
  (:export #:neighbour #:make-neighbour #:neighbour-node #:neighbour-health #:neighbour-rtt
           #:report #:make-report #:report-node #:report-neighbours #:read-report #:role-message)
  (:documentation "DCF's MESH messages: a node REPORTs whom it hears, its master tells it its ROLE.

Numbers are big-endian. The first byte says which of both it is, the second has the version."))
(in-package #:hydramesh/topology/control)

(defconstant +report+ 0)
(defconstant +role+ 1)
(defconstant +version+ 1)

(defconstant +report-head+ 5 "Bytes of a REPORT before its entries.")
(defconstant +entry+ 5 "Bytes of an entry: a neighbour's id, 2; its health, 1; the RTT to it, 2.")

(deftype node-id () "What DCF calls a node." '(unsigned-byte 16))

(defstruct (neighbour (:copier nil))
  "Another NODE, as one hears it: its HEALTH, and the RTT in milliseconds."
  (node 0 :type unsigned-byte :read-only t)
  (health 0 :type (integer 0 2) :read-only t)
  (rtt 0 :type unsigned-byte :read-only t))

(defstruct (report (:copier nil))
  "What a NODE tells of its NEIGHBOURS."
  (node 0 :type unsigned-byte :read-only t)
  (neighbours '() :type list :read-only t))

(defun number-at (bytes place)
  "Return the number of 2 bytes at PLACE."
  (logior (ash (aref bytes place) 8) (aref bytes (1+ place))))

(defun read-report (bytes)
  "Return the report in BYTES; NIL if they are none, whole and of this version."
  (declare (type octets bytes))
  (let ((size (length bytes)))
    (when (and (>= size +report-head+)
               (= (aref bytes 0) +report+)
               (= (aref bytes 1) +version+)
               (= size (+ +report-head+ (* +entry+ (aref bytes 4)))))
      (let ((neighbours (loop for place from +report-head+ below size by +entry+
                              unless (<= (aref bytes (+ place 2)) +unreachable+)
                                return :malformed
                              collect (make-neighbour :node (number-at bytes place)
                                                      :health (aref bytes (+ place 2))
                                                      :rtt (number-at bytes (+ place 3))))))
        (unless (eq neighbours :malformed)
          (make-report :node (number-at bytes 2) :neighbours neighbours))))))

(defun role-message (node role master)
  "Return the bytes that tell NODE its ROLE and who is its MASTER."
  (declare (type node-id node master) (type (unsigned-byte 8) role))
  (let ((bytes (make-array 7 :element-type '(unsigned-byte 8))))
    (replace bytes (list +role+ +version+ (ash node -8) (logand node 255) role
                         (ash master -8) (logand master 255)))))
