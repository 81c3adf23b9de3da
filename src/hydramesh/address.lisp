(defpackage #:hydramesh/address
  (:use #:cl)
  (:export #:address #:ipv4 #:ipv6 #:address-port #:address-ip #:address-family #:address-scope
           #:loopback-p #:format-address #:parse-address #:host-of)
  (:documentation "Where a peer is: an IP address and a UDP port.

An address is one whole number, so it can be a key in an EQL hash table and costs nothing to copy.
From the lowest bit: 16 bits of port, the IP address (32 bits of IPv4, 128 of IPv6); of IPv6 then a
bit that is set, and the number of the interface that a link-local address belongs to."))
(in-package #:hydramesh/address)

(deftype address ()
  "An IP address and a port."
  'unsigned-byte)

(defconstant +ipv6-bit+ 144)

(declaim (inline ipv4 address-port))

(defun ipv4 (ip port)
  "Return the address of PORT at IP, a whole number of 32 bits."
  (declare (type (unsigned-byte 32) ip) (type (unsigned-byte 16) port))
  (logior port (ash ip 16)))

(defun ipv6 (ip port &optional (scope 0))
  "Return the address of PORT at IP, a whole number of 128 bits.
SCOPE is the number of the interface if IP is link-local, else 0."
  (logior port (ash ip 16) (ash 1 +ipv6-bit+) (ash scope (1+ +ipv6-bit+))))

(defun address-port (address)
  "Return the port of ADDRESS."
  (ldb (byte 16 0) address))

(defun address-family (address)
  "Return 4 or 6."
  (if (logbitp +ipv6-bit+ address) 6 4))

(defun address-ip (address)
  "Return the IP address as a whole number, of 32 bits or of 128."
  (ldb (byte (if (= (address-family address) 4) 32 128) 16) address))

(defun address-scope (address)
  "Return the number of the interface of a link-local address, else 0."
  (ash address (- (1+ +ipv6-bit+))))
