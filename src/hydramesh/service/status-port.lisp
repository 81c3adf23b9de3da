(defpackage #:hydramesh/service/status-port
  (:use #:cl)
  (:import-from #:sb-bsd-sockets)
  (:import-from #:hydramesh/address #:parse-address #:address-family #:address-ip #:address-port
                #:loopback-p)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/foreign/poll #:poll)
  (:import-from #:hydramesh/service/host-header #:host-named #:local-name-p #:bad-host)
  (:import-from #:hydramesh/service/http-request
                #:parse-request #:head-end #:bad-request #:request-method #:request-path
                #:request-hosts)
  (:import-from #:hydramesh/service/logs #:log-fault #:log-warning)
  (:import-from #:hydramesh/shown #:shown #:+message+)
  (:export #:status-port #:open-status-port #:status-port-number #:close-status-port)
  (:documentation "A daemon's HTTP port for probes and Prometheus: /healthz, /readyz, /metrics.

One thread serves all connections and never waits for one of them: strangers can open as many as they
like, send whatever they like, and read as slowly as they like, and take up no more than what is said
below. It is written out here because Hunchentoot reads lines of any length, in a thread for each."))
(in-package #:hydramesh/service/status-port)

(defconstant +patience+ 10 "Seconds that a client may take over one request: the connection ends.")
(defconstant +header-bytes+ (ash 16 10)
  "A request's line and header lines: 431, and the connection ends.")
(defconstant +discarded-bytes+ (ash 1 20)
  "Of what follows a request: the connection ends.")
(defconstant +connections+ 64 "Open connections: the oldest ends.")

(defparameter +text+ "text/plain; charset=utf-8")
(defparameter +metrics+ "application/openmetrics-text; version=1.0.0; charset=utf-8")

(defparameter +phrases+
  '(200 "OK" 400 "Bad Request" 403 "Forbidden" 404 "Not Found" 431 "Request Header Fields Too Large"
    500 "Internal Server Error" 503 "Service Unavailable"))

(defun make-octets (size)
  (make-array size :element-type '(unsigned-byte 8)))

(defstruct status-port
  "WHY-NOT-ALIVE, WHY-NOT-READY and METRICS are functions of no arguments, called by the port's thread."
  (socket nil)
  (why-not-alive nil :type function)
  (why-not-ready nil :type function)
  (metrics nil :type function)
  (only-local-names nil)
  (connections '() :type list) ; the latest first
  (buffer (make-octets 4096) :type octets)
  (deaf-until 0 :type real)
  (thread nil)
  (closing nil))

(defstruct connection
  "INPUT holds the FILL bytes that came. OUTPUT, what is left to send from SENT on, is set when the
request has been read. What still comes then is read and thrown away: otherwise the kernel would take the
answer back when the connection is closed."
  (socket nil)
  (deadline 0 :type real)
  (input (make-octets 1024) :type octets)
  (fill 0 :type fixnum)
  (output nil :type (or null octets))
  (sent 0 :type fixnum)
  (discarded 0 :type fixnum))

(defun now ()
  (/ (get-internal-real-time) internal-time-units-per-second))

(defun descriptor (holder)
  (sb-bsd-sockets:socket-file-descriptor holder))

;;; Opening and closing

(defun open-status-port (listen why-not-alive why-not-ready metrics)
  "Return a port that serves on LISTEN, \"host:port\"; NIL if that is empty.
WHY-NOT-ALIVE is called for NIL when the daemon does its work, else for a reason for people; WHY-NOT-READY
for NIL when it can also serve; METRICS for what Prometheus reads, a string. On loopback only requests for local names are answered. Signal BAD-ADDRESS
or SYSTEM-FAILURE if LISTEN is none or cannot be found, SB-BSD-SOCKETS:SOCKET-ERROR if it is taken."
  (unless (string= listen "")
    (let* ((address (parse-address listen))
           (port (make-status-port :socket (listening-socket address)
                                   :why-not-alive why-not-alive
                                   :why-not-ready why-not-ready :metrics metrics
                                   :only-local-names (loopback-p address))))
      (setf (status-port-thread port)
            (sb-thread:make-thread #'serve :name "status port" :arguments (list port)))
      port)))

(defun ip-octets (ip size)
  (let ((octets (make-octets size)))
    (dotimes (index size octets)
      (setf (aref octets index) (ldb (byte 8 (* 8 (- size index 1))) ip)))))

(defun listening-socket (address)
  (let* ((v6 (= (address-family address) 6))
         (socket (make-instance (if v6 'sb-bsd-sockets:inet6-socket 'sb-bsd-sockets:inet-socket)
                                :type :stream :protocol :tcp))
         (opened nil))
    (unwind-protect
         (progn
           (setf (sb-bsd-sockets:sockopt-reuse-address socket) t
                 (sb-bsd-sockets:non-blocking-mode socket) t)
           (sb-bsd-sockets:socket-bind socket (ip-octets (address-ip address) (if v6 16 4))
                                       (address-port address))
           (sb-bsd-sockets:socket-listen socket +connections+)
           (setf opened t)
           socket)
      (unless opened
        (sb-bsd-sockets:socket-close socket)))))

(defun status-port-number (port)
  "Return the TCP port of PORT; 0 if that is NIL."
  (if port
      (nth-value 1 (sb-bsd-sockets:socket-name (status-port-socket port)))
      0))

(defun close-status-port (port)
  "Stop listening and drop open connections, within a second."
  (when port
    (setf (status-port-closing port) t)
    (sb-thread:join-thread (status-port-thread port) :default nil :timeout 2)))

;;; The thread

(defun serve (port)
  (unwind-protect
       (loop until (status-port-closing port)
             do (handler-bind ((error (lambda (condition)
                                        (log-fault "a fault in the status port; please report this"
                                                   condition))))
                  (handler-case (serve-once port)
                    (error () (sleep 1)))))
    (mapc #'drop (status-port-connections port))
    (drop-socket (status-port-socket port))))

(defun serve-once (port)
  (let* ((ready (poll (interests port) (patience port)))
         (now (now)))
    (when (member (descriptor (status-port-socket port)) ready)
      (take-connections port now))
    (dolist (connection (status-port-connections port))
      (when (and (connection-socket connection)
                 (member (descriptor (connection-socket connection)) ready))
        (go-on port connection))
      (when (>= now (connection-deadline connection))
        (drop connection)))
    (setf (status-port-connections port)
          (delete nil (status-port-connections port) :key #'connection-socket))))

(defun interests (port)
  (let ((connections (loop for connection in (status-port-connections port)
                           collect (cons (descriptor (connection-socket connection))
                                         (if (sending-p connection) :output :input)))))
    (if (>= (now) (status-port-deaf-until port))
        (acons (descriptor (status-port-socket port)) :input connections)
        connections)))

(defun patience (port)
  "Return the milliseconds until something is due, a second at most."
  (let ((due (loop for connection in (status-port-connections port)
                   minimize (connection-deadline connection))))
    (if (status-port-connections port)
        (max 1 (min 500 (ceiling (* 1000 (- due (now))))))
        500)))

(defun take-connections (port now)
  (loop repeat +connections+ do
    (let ((socket (handler-case (sb-bsd-sockets:socket-accept (status-port-socket port))
                    (sb-bsd-sockets:socket-error (condition)
                      ;; No descriptor is left, or the client has gone.
                      (unless (drop-oldest port)
                        (log-warning "a connection to the status port could not be taken"
                                     :reason (princ-to-string condition))
                        (setf (status-port-deaf-until port) (1+ now)))
                      nil))))
      (unless socket
        (return))
      (setf (sb-bsd-sockets:non-blocking-mode socket) t)
      (push (make-connection :socket socket :deadline (+ now +patience+))
            (status-port-connections port))
      (when (> (count-if #'connection-socket (status-port-connections port)) +connections+)
        (drop-oldest port)))))

(defun drop-oldest (port)
  "End the oldest connection to PORT; return whether there was one."
  (let ((oldest (find-if #'connection-socket (status-port-connections port) :from-end t)))
    (when oldest
      (drop oldest)
      t)))

(defun drop (connection)
  (when (connection-socket connection)
    (drop-socket (shiftf (connection-socket connection) nil))))

(defun drop-socket (socket)
  (handler-case (sb-bsd-sockets:socket-close socket :abort t)
    (error ())))

;;; A connection

(defun sending-p (connection)
  (and (connection-output connection)
       (< (connection-sent connection) (length (connection-output connection)))))

(defun go-on (port connection)
  "Do what CONNECTION is ready for."
  (handler-case (cond ((sending-p connection) (send connection))
                      ((connection-output connection) (discard port connection))
                      (t (receive port connection)))
    (sb-bsd-sockets:socket-error () (drop connection))))

(defun read-some (port connection)
  "Return how many bytes have come into the PORT's buffer: NIL for none, 0 at the end."
  (let ((buffer (status-port-buffer port)))
    (nth-value 1 (sb-bsd-sockets:socket-receive (connection-socket connection) buffer
                                                (length buffer)
                                                :element-type '(unsigned-byte 8)))))

(defun receive (port connection)
  (let ((count (read-some port connection)))
    (cond ((null count))
          ((zerop count) (drop connection))
          (t (append-input connection (status-port-buffer port) count)
             (let ((end (head-end (connection-input connection) (connection-fill connection))))
               (cond (end (answer connection (page port connection end)))
                     ((> (connection-fill connection) +header-bytes+)
                      (answer connection (list 431 +text+ (line "Receive buffer too long"))))))))))

(defun append-input (connection buffer count)
  (let ((fill (connection-fill connection)))
    (when (> (+ fill count) (length (connection-input connection)))
      (let ((larger (make-octets (* 2 (+ fill count)))))
        (replace larger (connection-input connection) :end2 fill)
        (setf (connection-input connection) larger)))
    (replace (connection-input connection) buffer :start1 fill :end2 count)
    (setf (connection-fill connection) (+ fill count))))

(defun answer (connection page)
  "Begin to send PAGE: a list of status, content type, text, and whether the text is left out."
  (destructuring-bind (status type text &optional headless) page
    (let ((body (sb-ext:string-to-octets text :external-format :utf-8)))
      (setf (connection-output connection)
            (concatenate 'octets (head-octets status type (length body))
                         (if headless (make-octets 0) body)))))
  (send connection))

(defun head-octets (status type length)
  (sb-ext:string-to-octets
   (with-output-to-string (stream)
     (flet ((line (control &rest arguments)
              (format stream "~?~C~C" control arguments #\Return #\Newline)))
       (line "HTTP/1.1 ~D ~A" status (getf +phrases+ status))
       (line "Content-Type: ~A" type)
       (line "Content-Length: ~D" length)
       (line "Connection: close")
       (line "")))
   :external-format :latin-1))

(defun send (connection)
  (let* ((output (connection-output connection))
         (rest (if (zerop (connection-sent connection))
                   output
                   (subseq output (connection-sent connection))))
         (count (sb-bsd-sockets:socket-send (connection-socket connection) rest (length rest)
                                            :nosignal t)))
    (when count
      (incf (connection-sent connection) count))
    (unless (sending-p connection)
      (sb-bsd-sockets:socket-shutdown (connection-socket connection) :direction :output))))

(defun discard (port connection)
  (let ((count (read-some port connection)))
    (when count
      (incf (connection-discarded connection) count)
      (when (or (zerop count) (> (connection-discarded connection) +discarded-bytes+))
        (drop connection)))))

;;; Pages

(defun line (text)
  (format nil "~A~%" text))

(defun page (port connection end)
  "Return what to answer to the request whose head ends at END of what CONNECTION has read."
  (handler-case
      (let ((request (parse-request (connection-input connection) end)))
        (append (page-of port request)
                (list (string= (request-method request) "HEAD"))))
    ((or bad-request bad-host) (condition)
      (list 400 +text+ (line (shown (princ-to-string condition) +message+))))))

(defun page-of (port request)
  (let ((host (host-named (request-hosts request)))
        (path (request-path request)))
    (cond ((and (status-port-only-local-names port) (not (local-name-p host)))
           (list 403 +text+
                 (line "this port is for this machine: ask for it as localhost or by its address")))
          ((string= path "/healthz") (state-page (status-port-why-not-alive port) "ok"))
          ((string= path "/readyz") (state-page (status-port-why-not-ready port) "ready"))
          ((string= path "/metrics") (metrics-page port))
          (t (list 404 +text+ (line "/healthz, /readyz and /metrics are served here"))))))

(defun state-page (why-not well)
  (let ((reason (funcall why-not)))
    (if reason
        (list 503 +text+ (line (shown reason +message+)))
        (list 200 +text+ (line well)))))

(defun metrics-page (port)
  (handler-case (list 200 +metrics+ (funcall (status-port-metrics port)))
    (error (condition)
      (list 503 +text+ (line (shown (princ-to-string condition) +message+))))))
