(defpackage #:hydramesh/service/notify
  (:use #:cl)
  (:import-from #:sb-bsd-sockets)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/shown #:shown #:+message+)
  (:export #:notifier #:make-notifier #:notifier-ready #:notifier-status #:notifier-extend
           #:notifier-reloading #:notifier-stopping #:notifier-feed-watchdog #:notifier-watchdog-period)
  (:documentation "What a daemon tells systemd about itself (sd_notify(3)); silent elsewhere."))
(in-package #:hydramesh/service/notify)

(defstruct (notifier (:constructor %make-notifier))
  "Sends to SOCKET at ADDRESS, what SOCKET-SEND takes, if there is one. WATCHDOG-PERIOD is in
microseconds, or NIL if no watchdog waits for this process."
  (socket nil)
  (address "")
  (watchdog-period nil :type (or null (integer 1 #.(ash 1 60))))
  (fed-at 0 :type microseconds)
  (said "" :type string))

(defun make-notifier (environment)
  "Return the notifier for the NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of ENVIRONMENT, an alist."
  (flet ((variable (name)
           (cdr (assoc name environment :test #'string=))))
    (let ((name (variable "NOTIFY_SOCKET"))
          (pid (variable "WATCHDOG_PID")))
      (multiple-value-bind (socket address) (open-socket (or name ""))
        (%make-notifier
         :socket socket :address address
         :watchdog-period (and (or (null pid) (eql (whole pid) (sb-posix:getpid)))
                               (whole (variable "WATCHDOG_USEC"))))))))

(defun whole (text)
  "Return the number above 0 that TEXT is, or NIL."
  (and text
       (<= 1 (length text) 18)
       (every #'digit-char-p text)
       (let ((number (parse-integer text)))
         (and (plusp number) number))))

(defun open-socket (name)
  "Return a socket and the address of that NAME for it; NIL if there is none.
A name that begins with @ is one of Linux's abstract ones."
  (case (and (plusp (length name)) (char name 0))
    (#\/ (values (make-instance 'sb-bsd-sockets:local-socket :type :datagram) name))
    (#\@ (values (make-instance 'sb-bsd-sockets:local-abstract-socket :type :datagram)
                 (subseq name 1)))))

(defun notify (notifier text)
  (when (notifier-socket notifier)
    (let ((octets (sb-ext:string-to-octets text :external-format :utf-8)))
      ;; Nobody may be there to hear it, and to wait for room would stop all work.
      (handler-case
          (sb-bsd-sockets:socket-send (notifier-socket notifier) octets (length octets)
                                      :address (list (notifier-address notifier))
                                      :dontwait t :nosignal t)
        (error ()))))
  nil)

(defun notifier-ready (notifier)
  "Say that the daemon serves now."
  (notify notifier "READY=1"))

(defun notifier-status (notifier text)
  "Show one line in `systemctl status`; repeated lines are not sent again."
  ;; A line break in it would begin another of sd_notify's variables.
  (let ((text (shown text +message+)))
    (unless (string= text (notifier-said notifier))
      (setf (notifier-said notifier) text)
      (notify notifier (format nil "STATUS=~A" text)))))

(defun notifier-extend (notifier seconds)
  "Ask for SECONDS more, from now, before a start or stop counts as hung."
  (notify notifier (format nil "EXTEND_TIMEOUT_USEC=~D" (round (* seconds 1000000)))))

(defun notifier-reloading (notifier)
  "Say that settings are read again; `notifier-ready` ends it."
  (multiple-value-bind (seconds nanoseconds) (sb-unix::clock-gettime 1) ; CLOCK_MONOTONIC
    (notify notifier (format nil "RELOADING=1~%MONOTONIC_USEC=~D"
                             (+ (* seconds 1000000) (floor nanoseconds 1000))))))

(defun notifier-stopping (notifier)
  "Say that the daemon finishes what it has and ends."
  (notify notifier "STOPPING=1"))

(defun notifier-feed-watchdog (notifier now)
  "Say that the daemon lives, if that was said a third of the watchdog's period before NOW.
The loop that does the work calls it, so that it stops when that does."
  (let ((period (notifier-watchdog-period notifier)))
    (when (and period (>= (- now (notifier-fed-at notifier)) (floor period 3)))
      (setf (notifier-fed-at notifier) now)
      (notify notifier "WATCHDOG=1"))))
