(defpackage #:hydramesh/foreign/dcf
  (:use #:cl)
  (:import-from #:cffi #:defcfun #:defcstruct #:mem-ref)
  (:import-from #:hydramesh/address #:ipv4 #:ipv6 #:address-ip #:address-port #:address-family
                #:address-scope)
  (:import-from #:hydramesh/foreign/float-traps #:in-library)
  (:import-from #:hydramesh/foreign/system #:failed #:read-ip #:write-ip)
  (:export #:library-unusable #:load-library #:library-has #:define-call
           #:transport-error #:checked #:+too-large+ #:+no-room+ #:+system+
           #:address-at #:+address-size+
           #:limits #:max-message #:memory #:peer-memory #:max-peers #:datagram-rate #:amplification
           #:unproven-peer-memory #:unproven-memory #:limits-default
           #:event #:message-type #:sequence #:rtt #:payload #:payload-size
           #:+message+ #:+delivered+ #:+pong+ #:+unreachable+ #:+forgotten+
           #:endpoint-new #:endpoint-new-domain #:endpoint-free #:endpoint-subscribe #:endpoint-next-event
           #:endpoint-send #:endpoint-ping
           #:endpoint-trust #:endpoint-forget #:endpoint-flush #:endpoint-next-timeout #:endpoint-idle
           #:endpoint-memory #:endpoint-counter #:counters
           #:socket-bind #:socket-free #:socket-address #:socket-fd #:socket-receive #:socket-send
           #:clock-new #:clock-free #:clock-now #:clock-paused #:clock-wall)
  (:documentation "libdcf, the transport, as src/dcf/include/dcf.h describes it; its functions have their names
there without `dcf_`.

No two threads may use one endpoint, socket or clock at a time. A function that answers with a result
signals TRANSPORT-ERROR if that is below 0, unless its description says otherwise."))
(in-package #:hydramesh/foreign/dcf)

;;; Library

(defconstant +abi-version+ 1 "Of the dcf.h for which this is written.")

(define-condition library-unusable (error)
  ((text :initarg :text))
  (:report (lambda (condition stream) (write-string (slot-value condition 'text) stream)))
  (:documentation "libdcf cannot be loaded, or is another one; the text says what to do."))

(defun unusable (format &rest arguments)
  (error 'library-unusable
         :text (format nil "~?; `src/cargo.sh build --release` makes libdcf.so, and HYDRAMESH_LIBDCF names it"
                       format arguments)))

(defvar *installed* nil
  "The library that was named when the program was built, a path or NIL.")

(defun note-installed ()
  (setf *installed* (uiop:getenvp "HYDRAMESH_LIBDCF")))

(pushnew 'note-installed sb-ext:*save-hooks*)

(defvar *loaded* nil
  "Whether this process has the library.")

(defun candidates ()
  "Return the paths at which the library may lie, in order."
  (let ((program sb-ext:*runtime-pathname*))
    (flet ((beside (path)
             (namestring (merge-pathnames path (uiop:pathname-directory-pathname program)))))
      (remove-if-not #'probe-file
                     (remove nil (list *installed*
                                       (beside "../lib/libdcf.so")
                                       (beside "../../target/release/libdcf.so")))))))

(defun load-library ()
  "Load libdcf, if this process does not have it yet. Signal LIBRARY-UNUSABLE if that is not possible.
It is the one that HYDRAMESH_LIBDCF names; else the one that this named when the program was built,
one beside the program or in its checkout, or the system's."
  (unless *loaded*
    (let ((path (or (uiop:getenvp "HYDRAMESH_LIBDCF") (first (candidates)) "libdcf.so")))
      (handler-case (cffi:load-foreign-library path)
        (cffi:load-foreign-library-error ()
          (if (find #\/ path)
              (unusable "libdcf cannot be loaded from ~A" path)
              (unusable "libdcf is not installed"))))
      (flet ((has (name) (cffi:foreign-symbol-pointer name)))
        (cond ((not (has "dcf_abi_version"))
               (unusable "~A is not libdcf" path))
              ((/= (%abi-version) +abi-version+)
               (unusable "~A is libdcf with version ~D of its interface, and not ~D" path (%abi-version)
                         +abi-version+))
              ((not (has "dcf_endpoint_new_domain")) ; the youngest of what is used here
               (unusable "~A is a libdcf that is too old" path)))))
    (setf *loaded* t))
  nil)

(defun library-has (name)
  "Return whether the library, which is loaded, has the function NAME, as C calls it."
  (and (cffi:foreign-symbol-pointer name) t))

;;; Results

(defconstant +too-large+ -2)
(defconstant +no-room+ -3)
(defconstant +system+ -4)

(define-condition transport-error (error)
  ((result :initarg :result :reader transport-error-result))
  (:report (lambda (condition stream)
             (format stream "libdcf: ~A" (%describe (transport-error-result condition)))))
  (:documentation "libdcf refused a call: RESULT, which is not +SYSTEM+, says why. After a fault
of the library itself the object can only be freed."))

(declaim (inline checked))
(defun checked (result)
  "Return RESULT; signal TRANSPORT-ERROR or, if a system call failed, SYSTEM-FAILURE if it is below 0."
  (declare (type (signed-byte 32) result))
  (when (minusp result)
    (refuse result))
  result)

(declaim (notinline refuse))
(defun refuse (result)
  (if (= result +system+)
      (failed "libdcf")
      (error 'transport-error :result result)))

(defmacro define-call (name foreign-name result arguments &optional documentation)
  "Define the function NAME, which calls FOREIGN-NAME of libdcf with ARGUMENTS, each (name type).
RESULT is what it returns, as CFFI knows it, or :CHECKED for an int32_t that is checked."
  (let ((call (intern (format nil "%~A" name) (symbol-package name)))
        (names (mapcar #'first arguments)))
    `(progn
       (declaim (inline ,call))
       (defcfun (,foreign-name ,call) ,(if (eq result :checked) :int32 result) ,@arguments)
       (declaim (notinline ,call))
       (defun ,name ,names
         ,@(when documentation (list documentation))
         (declare (inline ,call))
         ,(if (eq result :checked)
              `(checked (in-library (,call ,@names)))
              `(in-library (,call ,@names)))))))

(defcfun ("dcf_abi_version" %abi-version) :uint32)
(defcfun ("dcf_describe" %describe) :string (result :int32))

;;; Addresses

(defconstant +ipv4+ 4)
(defconstant +ipv6+ 6)
(defconstant +address-size+ 24 "Bytes of a dcf_address.")

;; Where its fields lie; the IP address is at 0, its bytes as in a packet.
(defconstant +family+ 16)
(defconstant +port+ 18)
(defconstant +scope-id+ 20)

(defun address-at (pointer)
  "Return the address, as of hydramesh/address, of the dcf_address at POINTER; it can be set."
  (let ((port (mem-ref pointer :uint16 +port+)))
    (flet ((ip (at) (mem-ref pointer :uint8 at)))
      (declare (inline ip))
      (if (= (mem-ref pointer :uint16 +family+) +ipv4+)
          (ipv4 (logior (ash (ip 0) 24) (ash (ip 1) 16) (ash (ip 2) 8) (ip 3)) port)
          (ipv6 (read-ip pointer 16) port (mem-ref pointer :uint32 +scope-id+))))))

(defun (setf address-at) (address pointer)
  (let ((ip (address-ip address)))
    (cond ((= (address-family address) 4)
           (setf (mem-ref pointer :uint16 +family+) +ipv4+
                 (mem-ref pointer :uint32 +scope-id+) 0)
           (write-ip ip pointer 4))
          (t
           (setf (mem-ref pointer :uint16 +family+) +ipv6+
                 (mem-ref pointer :uint32 +scope-id+) (address-scope address))
           (write-ip ip pointer 16)))
    (setf (mem-ref pointer :uint16 +port+) (address-port address)))
  address)

;;; Endpoints

(defcstruct limits
  (max-message :uint64)
  (memory :uint64)
  (peer-memory :uint64)
  (max-peers :uint64)
  (datagram-rate :double)
  (amplification :uint64)
  (unproven-peer-memory :uint64)
  (unproven-memory :uint64))

(define-call limits-default "dcf_limits_default" :checked ((limits :pointer)))

(define-call endpoint-new "dcf_endpoint_new" :pointer ((limits :pointer) (key :pointer)))
(define-call endpoint-new-domain "dcf_endpoint_new_domain" :pointer ((limits :pointer) (key :pointer)))
(define-call endpoint-free "dcf_endpoint_free" :void ((endpoint :pointer)))
(define-call endpoint-subscribe "dcf_endpoint_subscribe" :checked
  ((endpoint :pointer) (message-type :uint8)))

;; The events that are of interest here.
(defconstant +message+ 1)
(defconstant +delivered+ 3)
(defconstant +pong+ 4)
(defconstant +unreachable+ 5)
(defconstant +forgotten+ 6)

(defcstruct event
  (peer :uint8 :count 24)
  (event :uint8)
  (message-type :uint8)
  (proven :uint8)
  (reserved :uint8)
  (sequence :uint32)
  (timestamp :uint64)
  (rtt :uint64)
  (payload :pointer)
  (payload-size :size)
  (sequences :pointer)
  (sequence-count :size))

(define-call endpoint-next-event "dcf_endpoint_next_event" :checked
  ((endpoint :pointer) (event :pointer)))

(define-call endpoint-send "dcf_endpoint_send" :int32
  ((endpoint :pointer) (to :pointer) (message-type :uint8) (payload :pointer) (size :size)
   (now :uint64) (sequence :pointer))
  "Return the result, which is not checked: +TOO-LARGE+ and +NO-ROOM+ are nobody's fault.")

(define-call endpoint-ping "dcf_endpoint_ping" :checked
  ((endpoint :pointer) (to :pointer) (now :uint64)))
(define-call endpoint-trust "dcf_endpoint_trust" :checked ((endpoint :pointer) (peer :pointer)))
(define-call endpoint-forget "dcf_endpoint_forget" :checked ((endpoint :pointer) (peer :pointer)))
(define-call endpoint-flush "dcf_endpoint_flush" :checked
  ((endpoint :pointer) (now :uint64) (wall :uint64)))
(define-call endpoint-next-timeout "dcf_endpoint_next_timeout" :checked
  ((endpoint :pointer) (at :pointer)))
(define-call endpoint-idle "dcf_endpoint_idle" :checked ((endpoint :pointer)))
(define-call endpoint-memory "dcf_endpoint_memory" :checked ((endpoint :pointer) (bytes :pointer)))
(define-call endpoint-counter "dcf_endpoint_counter" :checked
  ((endpoint :pointer) (index :size) (name :pointer) (help :pointer) (value :pointer)))

(defun counters (function object)
  "Return what FUNCTION, `endpoint-counter` or one like it, tells of OBJECT: a list of (name help value)."
  (cffi:with-foreign-objects ((name :pointer) (help :pointer) (value :uint64))
    (flet ((text (pointer) (cffi:foreign-string-to-lisp (mem-ref pointer :pointer) :encoding :ascii)))
      (loop for index from 0
            until (zerop (funcall function object index name help value))
            collect (list (text name) (text help) (mem-ref value :uint64))))))

;;; Sockets

(define-call socket-bind "dcf_socket_bind" :int32 ((address :pointer) (socket :pointer))
  "Return the result, which is not checked: errno says why an address is not to be had.")
(define-call socket-free "dcf_socket_free" :void ((socket :pointer)))
(define-call socket-address "dcf_socket_address" :checked ((socket :pointer) (address :pointer)))
(define-call socket-fd "dcf_socket_fd" :checked ((socket :pointer)))
(define-call socket-receive "dcf_socket_receive" :int32
  ((socket :pointer) (endpoint :pointer) (now :uint64) (wall :uint64))
  "Return the result, which is not checked: the kernel may lack memory for a moment.")
(define-call socket-send "dcf_socket_send" :checked ((socket :pointer) (endpoint :pointer)))

;;; Clocks

(define-call clock-new "dcf_clock_new" :pointer ())
(define-call clock-free "dcf_clock_free" :void ((clock :pointer)))
(define-call clock-now "dcf_clock_now" :uint64 ((clock :pointer)))
(define-call clock-paused "dcf_clock_paused" :uint64 ((clock :pointer)))
(define-call clock-wall "dcf_clock_wall" :uint64 ())
