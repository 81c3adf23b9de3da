(defpackage #:hydramesh/foreign/system
  (:use #:cl)
  (:import-from #:cffi
                #:foreign-funcall #:mem-ref #:mem-aref #:null-pointer #:null-pointer-p
                #:with-foreign-object #:with-foreign-objects #:with-foreign-string)
  (:import-from #:sb-bsd-sockets)
  (:import-from #:sb-posix)
  (:export #:system-failure #:failed #:error-number
           #:ip-text #:text-ip #:interface-name #:look-up #:read-ip #:write-ip
           #:copy-octets #:reason-of)
  (:documentation "What the C library knows and Lisp does not: what an error number means, names of hosts, and
how addresses are written."))
(in-package #:hydramesh/foreign/system)

(define-condition system-failure (error)
  ((code :initarg :code :reader system-failure-code)
   (text :initarg :text :reader system-failure-text))
  (:report (lambda (condition stream) (write-string (system-failure-text condition) stream)))
  (:documentation "The system did not do what it was asked. CODE is errno, or of a look-up getaddrinfo's
result; TEXT is for people."))

(defun error-number ()
  "Return errno as the last foreign call of this thread left it."
  (sb-alien:get-errno))

(defun failed (format &rest arguments)
  "Signal a SYSTEM-FAILURE with errno's meaning after the text that FORMAT and ARGUMENTS make."
  (let ((code (error-number)))
    (error 'system-failure :code code
                           :text (format nil "~?: ~A" format arguments (sb-int:strerror code)))))

(defun reason-of (condition)
  "Return what the system says of CONDITION, a SB-POSIX:SYSCALL-ERROR or SB-BSD-SOCKETS:SOCKET-ERROR."
  (sb-int:strerror (etypecase condition
                     (sb-posix:syscall-error (sb-posix:syscall-errno condition))
                     (sb-bsd-sockets:socket-error
                      (sb-bsd-sockets::socket-error-errno condition))))) ; there is no public name for it

(defun copy-octets (pointer size)
  "Return a copy of the SIZE bytes at POINTER."
  (let ((copy (make-array size :element-type '(unsigned-byte 8))))
    (cffi:with-pointer-to-vector-data (target copy)
      (foreign-funcall "memcpy" :pointer target :pointer pointer :size size :pointer))
    copy))

;;; IP addresses as text

(defconstant +inet+ 2 "AF_INET, Linux's.")
(defconstant +inet6+ 10 "AF_INET6, Linux's.")

(defconstant +text-size+ 46 "INET6_ADDRSTRLEN.")

(defun read-ip (bytes size)
  "Return the IP address whose SIZE bytes are at the pointer BYTES."
  (loop with ip = 0
        for at below size
        do (setf ip (logior (ash ip 8) (mem-aref bytes :uint8 at)))
        finally (return ip)))

(declaim (inline write-ip))
(defun write-ip (ip bytes size)
  "Write the SIZE bytes of the IP address to the pointer BYTES."
  (dotimes (at size)
    (setf (mem-aref bytes :uint8 at) (ldb (byte 8 (* 8 (- size at 1))) ip))))

(defun ip-text (ip family)
  "Return the IP address, a whole number of FAMILY 4 or 6, as people write it."
  (with-foreign-objects ((bytes :uint8 16) (text :char +text-size+))
    (write-ip ip bytes (if (= family 4) 4 16))
    (foreign-funcall "inet_ntop" :int (if (= family 4) +inet+ +inet6+)
                                 :pointer bytes :pointer text :uint32 +text-size+ :pointer)
    (cffi:foreign-string-to-lisp text :encoding :ascii)))

(defun text-ip (text)
  "Return the IP address that TEXT is, and its family, 4 or 6; NIL if it is none."
  ;; Whatever else a peer writes never gets to C, where a null would end the text.
  (when (and (< 0 (length text) +text-size+)
             (every (lambda (char) (or (digit-char-p char 16) (find char ".:"))) text)
             (every (lambda (char) (< (char-code char) 128)) text))
    (let* ((six (find #\: text))
           (size (if six 16 4)))
      (with-foreign-object (bytes :uint8 16)
        (with-foreign-string (string text :encoding :ascii)
          (when (= 1 (foreign-funcall "inet_pton" :int (if six +inet6+ +inet+)
                                                  :pointer string :pointer bytes :int))
            (values (read-ip bytes size) (if six 6 4))))))))

(defun interface-name (number)
  "Return the name of the network interface NUMBER, or the number as text if it has none."
  (with-foreign-object (name :char 16) ; IF_NAMESIZE
    (if (null-pointer-p (foreign-funcall "if_indextoname" :uint32 number :pointer name :pointer))
        (format nil "~D" number)
        (cffi:foreign-string-to-lisp name))))

;;; Names

(cffi:defcstruct addrinfo
  (flags :int)
  (family :int)
  (socktype :int)
  (protocol :int)
  (length :uint32)
  (address :pointer)
  (name :pointer)
  (next :pointer))

(defconstant +datagrams+ 2 "SOCK_DGRAM.")

(defun found (info)
  "Return IP address, family (4 or 6) and scope of the getaddrinfo entry INFO; NIL if it is of another kind."
  (let ((address (cffi:foreign-slot-value info '(:struct addrinfo) 'address))
        (family (cffi:foreign-slot-value info '(:struct addrinfo) 'family)))
    (cond ((= family +inet+) (list (read-ip (cffi:inc-pointer address 4) 4) 4 0))
          ((= family +inet6+)
           (list (read-ip (cffi:inc-pointer address 8) 16) 6 (mem-ref address :uint32 24))))))

(defun look-up (host)
  "Return what HOST, a name or an IP address as text, stands for: a list of (IP FAMILY SCOPE), IPv4 first.
Signal a SYSTEM-FAILURE if that cannot be found out."
  (with-foreign-objects ((hints '(:struct addrinfo)) (result :pointer))
    (foreign-funcall "memset" :pointer hints :int 0
                              :size (cffi:foreign-type-size '(:struct addrinfo)) :pointer)
    (setf (cffi:foreign-slot-value hints '(:struct addrinfo) 'socktype) +datagrams+)
    (let ((code (with-foreign-string (name host)
                  (foreign-funcall "getaddrinfo" :pointer name :pointer (null-pointer)
                                                 :pointer hints :pointer result :int))))
      (unless (zerop code)
        (error 'system-failure
               :code code
               :text (format nil "~A cannot be found: ~A" host
                             (foreign-funcall "gai_strerror" :int code :string))))
      (let ((list (mem-ref result :pointer)))
        (unwind-protect
             (let ((all (loop for info = list
                                then (cffi:foreign-slot-value info '(:struct addrinfo) 'next)
                              until (null-pointer-p info)
                              when (found info) collect it)))
               (stable-sort all #'< :key #'second))
          (foreign-funcall "freeaddrinfo" :pointer list :void))))))
