(defpackage #:hydramesh/foreign/links
  (:use #:cl)
  (:import-from #:cffi #:defcstruct #:mem-ref #:null-pointer #:with-foreign-object #:with-foreign-string)
  (:import-from #:hydramesh/foreign/dcf
                #:address-at #:checked #:clock-wall #:counters #:define-call #:library-has
                #:load-library #:+system+)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/foreign/system #:failed)
  (:export #:open-links #:links-too-old #:links-free #:links-fd #:links-next-timeout #:links-receive
           #:links-send
           #:links-close #:links-step #:links-measure #:links-counters #:next-change
           #:link #:link-name #:link-address #:link-largest #:all-links
           #:neighbour #:neighbour-address #:neighbour-peer #:neighbour-rtt #:neighbour-size
           #:neighbour-largest
           #:neighbour-echoed #:neighbour-under-way #:neighbour-up-p #:neighbour-at #:neighbours)
  (:documentation "libdcf's links, as src/dcf/include/dcf.h describes them: cables to other machines, and who is
there.

No two threads may use the same links at a time. Times are microseconds."))
(in-package #:hydramesh/foreign/links)

(defconstant +unknown+ (1- (ash 1 64)) "DCF_UNKNOWN.")

(define-condition links-too-old (error) ()
  (:report (lambda (condition stream)
             (declare (ignore condition))
             (format stream "the libdcf that is loaded knows no links; `src/cargo.sh build --release` makes ~
                             one that does, and HYDRAMESH_LIBDCF names it")))
  (:documentation "The library is older than what is asked of it."))

(define-call links-new "dcf_links_new" :int32 ((prefix :string) (key :pointer) (links :pointer))
  "Return the result, which is not checked: errno says what the system refuses.")
(define-call links-free "dcf_links_free" :void ((links :pointer)))
(define-call links-fd "dcf_links_fd" :checked ((links :pointer)))
(define-call links-timeout "dcf_links_next_timeout" :checked ((links :pointer) (at :pointer)))
(define-call receive "dcf_links_receive" :checked
  ((links :pointer) (endpoint :pointer) (now :uint64) (wall :uint64)))
(define-call links-send "dcf_links_send" :checked ((links :pointer) (endpoint :pointer) (now :uint64))
  "Send what goes over links of what the endpoint's flush has made.")
(define-call links-close "dcf_links_close" :checked ((links :pointer) (endpoint :pointer) (now :uint64))
  "Close all links; the endpoint reaches every peer over the ordinary network again.")
(define-call step-links "dcf_links_step" :checked ((links :pointer) (now :uint64) (wall :uint64)))
(define-call change-of "dcf_links_next_change" :checked ((links :pointer) (change :pointer)))
(define-call link-of "dcf_links_link" :checked ((links :pointer) (index :size) (link :pointer)))
(define-call neighbour-of "dcf_links_neighbour" :checked
  ((links :pointer) (index :size) (neighbour :pointer)))
(define-call measure "dcf_links_measure" :checked
  ((links :pointer) (index :size) (size :size) (now :uint64) (wall :uint64)))
(define-call links-counter "dcf_links_counter" :checked
  ((links :pointer) (index :size) (name :pointer) (help :pointer) (value :pointer)))

(defun open-links (prefix key)
  "Return the links whose devices' names begin with PREFIX. KEY is the cluster's, 32 octets, or NIL. Signal
LIBRARY-UNUSABLE or LINKS-TOO-OLD without a libdcf that has them, SYSTEM-FAILURE if the system refuses."
  (load-library)
  (unless (library-has "dcf_links_new")
    (error 'links-too-old))
  (with-foreign-object (links :pointer)
    (let ((result (if key
                      (cffi:with-pointer-to-vector-data (secret (the octets key))
                        (links-new prefix secret links))
                      (links-new prefix (null-pointer) links))))
      (if (= result +system+)
          (failed "links cannot be opened")
          (checked result))
      (mem-ref links :pointer))))

(defun links-next-timeout (links)
  "Return when LINKS have to have a turn, whatever comes."
  (with-foreign-object (at :uint64)
    (links-timeout links at)
    (mem-ref at :uint64)))

(defun links-receive (links endpoint now)
  "Do at NOW what is due, and give ENDPOINT what came over LINKS."
  (receive links endpoint now (clock-wall)))

(defun links-step (links now)
  "Do at NOW what is due without an endpoint: find out who is there."
  (step-links links now (clock-wall)))

(defun links-measure (links index size now)
  "Send the neighbour INDEX a probe of SIZE bytes, or as near to it as can be; return whether there is one."
  (= 1 (measure links index size now (clock-wall))))

(defun links-counters (links)
  "Return what LINKS have counted: a list of (name help value)."
  (counters #'links-counter links))

;;; What they tell

(defcstruct path-change
  (peer :uint8 :count 24)
  (neighbour :uint8 :count 24)
  (size :uint64))

(defcstruct c-link
  (name :char :count 16)
  (address :uint8 :count 24)
  (largest :uint64))

(defcstruct c-neighbour
  (address :uint8 :count 24)
  (peer :uint8 :count 24)
  (rtt :uint64)
  (size :uint64)
  (largest :uint64)
  (echoed :uint64)
  (under-way :uint32)
  (up :uint32))

(defun field (pointer type name)
  (cffi:foreign-slot-pointer pointer type name))

(defun number-in (pointer type name)
  (cffi:foreign-slot-value pointer type name))

(defun next-change (links)
  "Return what has become of the path to a peer: its address, its address on the link, and the bytes of the
largest datagram that goes there, or NIL if none does any more. Return NIL alone if nothing has changed."
  (with-foreign-object (change '(:struct path-change))
    (when (= 1 (change-of links change))
      (let ((size (number-in change '(:struct path-change) 'size)))
        (values (address-at (field change '(:struct path-change) 'peer))
                (address-at (field change '(:struct path-change) 'neighbour))
                (and (plusp size) size))))))

(defstruct (link (:copier nil))
  "A device in use: its NAME, this process's ADDRESS there, and the bytes of the LARGEST datagram that it takes."
  (name "" :type string :read-only t)
  (address 0 :type unsigned-byte :read-only t)
  (largest 0 :type unsigned-byte :read-only t))

(defun all-links (links)
  "Return a list of the devices that LINKS use."
  (with-foreign-object (link '(:struct c-link))
    (loop for index from 0
          until (zerop (link-of links index link))
          collect (make-link :name (cffi:foreign-string-to-lisp (field link '(:struct c-link) 'name)
                                                                :max-chars 16)
                             :address (address-at (field link '(:struct c-link) 'address))
                             :largest (number-in link '(:struct c-link) 'largest)))))

(defstruct (neighbour (:copier nil))
  "A process at the other end of a link: its ADDRESS there; of PEER, its ordinary address, NIL if it is no
peer; the latest RTT, or NIL; the SIZE in bytes of the largest datagram that has been there and back, and the
LARGEST that both ends take; the bytes of probes that it has ECHOED, and how many are UNDER-WAY that it has
not; and whether datagrams to the peer go there, UP-P."
  (address 0 :type unsigned-byte :read-only t)
  (peer nil :type (or null unsigned-byte) :read-only t)
  (rtt nil :type (or null unsigned-byte) :read-only t)
  (size 0 :type unsigned-byte :read-only t)
  (largest 0 :type unsigned-byte :read-only t)
  (echoed 0 :type unsigned-byte :read-only t)
  (under-way 0 :type unsigned-byte :read-only t)
  (up-p nil :read-only t))

(defconstant +family+ 16 "Where an address has its family, 0 in none.")

(defun neighbour-at (links index)
  "Return the neighbour INDEX of LINKS, or NIL if there is none."
  (with-foreign-object (pointer '(:struct c-neighbour))
    (flet ((value (name) (number-in pointer '(:struct c-neighbour) name))
           (place (name) (field pointer '(:struct c-neighbour) name)))
      (when (= 1 (neighbour-of links index pointer))
        (make-neighbour :address (address-at (place 'address))
                        :peer (unless (zerop (mem-ref (place 'peer) :uint16 +family+))
                                (address-at (place 'peer)))
                        :rtt (unless (= (value 'rtt) +unknown+) (value 'rtt))
                        :size (value 'size)
                        :largest (value 'largest)
                        :echoed (value 'echoed)
                        :under-way (value 'under-way)
                        :up-p (= 1 (value 'up)))))))

(defun neighbours (links)
  "Return a list of all neighbours, in the order of their indices."
  (loop for index from 0
        for neighbour = (neighbour-at links index)
        while neighbour
        collect neighbour))
