(defpackage #:hydramesh/address
  (:use #:cl)
  (:import-from #:hydramesh/foreign/system #:ip-text #:text-ip #:interface-name #:look-up)
  (:export #:address #:ipv4 #:ipv6 #:address-port #:address-ip #:address-family #:address-scope
           #:bad-address #:parse-address #:all-addresses #:numeric #:loopback-p #:format-address #:host-of)
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

;;; What they mean

(defun loopback-p (address)
  "Return whether ADDRESS is reached from this machine only."
  (let ((ip (address-ip address)))
    (if (= (address-family address) 4)
        (= (ash ip -24) 127)
        (= ip 1))))

(defun host-of (address)
  "Return, as text, what the addresses of one host have in common; for IPv6, that is its /64 network."
  (let ((ip (address-ip address)))
    (cond ((= (address-family address) 4) (ip-text ip 4))
          ((= (ash ip -32) #xffff) (ip-text (ldb (byte 32 0) ip) 4)) ; IPv4 in IPv6
          (t (format nil "~A/64" (ip-text (mask-field (byte 64 64) ip) 6))))))

;;; As people write them

(define-condition bad-address (error)
  ((text :initarg :text))
  (:report (lambda (condition stream)
             (with-slots (text) condition
               (format stream "\"~A\" is not an address: write host:port, e.g. 127.0.0.1:7717" text))))
  (:documentation "A text is not of the form host:port."))

(defun format-address (address)
  "Return ADDRESS as people write it: 192.0.2.1:7717, or [2001:db8::1]:7717."
  (let ((ip (ip-text (address-ip address) (address-family address)))
        (port (address-port address))
        (scope (address-scope address)))
    (cond ((= (address-family address) 4) (format nil "~A:~D" ip port))
          ((zerop scope) (format nil "[~A]:~D" ip port))
          (t (format nil "[~A%~A]:~D" ip (interface-name scope) port)))))

(defun split (text)
  "Return the host and the port of TEXT, or NIL if it is not of the form host:port."
  (let* ((colon (position #\: text :from-end t))
         (host (subseq text 0 (or colon 0)))
         (last (1- (length host)))
         (bracketed (and (> last 0) (char= (char host 0) #\[) (char= (char host last) #\])))
         (digits (if colon (string-left-trim "0" (subseq text (1+ colon))) "")))
    (when bracketed
      (setf host (subseq host 1 last)))
    (when (and colon
               (plusp (length host))
               (or bracketed (not (find #\: host)))
               (< (1+ colon) (length text))
               (<= (length digits) 5) ; so that a peer's text makes no large number
               (every (lambda (char) (char<= #\0 char #\9)) digits))
      (let ((port (if (string= digits "") 0 (parse-integer digits))))
        (when (< port 65536)
          (values host port))))))

(defun split-host-port (text)
  "Return host and port of TEXT, \"host:port\" or \"[ipv6]:port\".
Signal BAD-ADDRESS if it is not of that form."
  (multiple-value-bind (host port) (split text)
    (unless host
      (error 'bad-address :text text))
    (values host port)))

(defun parse-address (text)
  "Return the address of TEXT, \"host:port\"; of a name that has several the first, IPv4 before IPv6.
Signal BAD-ADDRESS if TEXT is not of that form, and SYSTEM-FAILURE if the name cannot be looked up."
  (first (all-addresses text)))

(defun all-addresses (text)
  "Return a list of all addresses of TEXT, \"host:port\", IPv4 before IPv6. Signal as PARSE-ADDRESS does."
  (multiple-value-bind (host port) (split-host-port text)
    (loop for (ip family scope) in (look-up host)
          collect (if (= family 4)
                      (ipv4 ip port)
                      (ipv6 ip port scope)))))

(defun numeric (text)
  "Return the address that TEXT is, an IP address and a port; NIL if it has a name or is malformed.
An interface that it names is left out."
  (multiple-value-bind (host port) (split text)
    (when host
      (let ((percent (position #\% host)))
        (multiple-value-bind (ip family) (text-ip (subseq host 0 percent))
          (cond ((null ip) nil)
                ((null percent) (if (= family 4) (ipv4 ip port) (ipv6 ip port)))
                ((and (= family 6)
                      (< (1+ percent) (length host))
                      (not (find #\% host :start (1+ percent))))
                 (ipv6 ip port))))))))
