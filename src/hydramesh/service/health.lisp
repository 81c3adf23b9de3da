(defpackage #:hydramesh/service/health
  (:use #:cl)
  (:import-from #:hydramesh/address
                #:address-family #:address-ip #:address-port #:format-address #:ipv4 #:ipv6 #:parse-address)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/settings #:load-settings #:settings-http-listen)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:sb-bsd-sockets)
  (:export #:health-main)
  (:documentation "`hydramesh health`: whether the head on this machine does its work, for the health checks
of containers and for scripts. It asks the head's status port."))
(in-package #:hydramesh/service/health)

(defparameter +help+ "usage: hydramesh health [--ready] [--SETTING VALUE]...

Asks the head on this machine, at its http_listen, whether it does its work. Exit status: 0 if it does, 1 if
it does not or gives no answer, 2 if the arguments are not understood.

options:
  -h, --help            show this help message and exit
  --ready               ask whether it also has workers for tasks
")

(defconstant +patience+ 4 "Seconds for all of it.")
(defconstant +answer+ 4096 "Bytes that are read of an answer; a head's is shorter.")

(defun here (listen)
  "Return the address at which what listens on LISTEN is reached from this machine. Signal BAD-ADDRESS or
SYSTEM-FAILURE."
  (let* ((address (parse-address listen)) (port (address-port address)))
    (cond ((plusp (address-ip address)) address)
          ((= (address-family address) 4) (ipv4 #x7f000001 port))
          (t (ipv6 1 port)))))

(defun host-octets (address)
  (let* ((size (if (= (address-family address) 4) 4 16)) (octets (make-array size)))
    (dotimes (index size octets)
      (setf (aref octets index) (ldb (byte 8 (* 8 (- size index 1))) (address-ip address))))))

(defun ask (address path)
  "Return what is answered at ADDRESS to a request for PATH, as text of +ANSWER+ characters at most. Signal
SB-BSD-SOCKETS:SOCKET-ERROR or STREAM-ERROR."
  (let ((socket (make-instance (if (= (address-family address) 4)
                                   'sb-bsd-sockets:inet-socket
                                   'sb-bsd-sockets:inet6-socket)
                               :type :stream :protocol :tcp))
        (answer (make-string +answer+))
        (end (coerce '(#\Return #\Newline) 'string)))
    (unwind-protect
         (progn
           (sb-bsd-sockets:socket-connect socket (host-octets address) (address-port address))
           (let ((stream (sb-bsd-sockets:socket-make-stream socket :input t :output t :buffering :full
                                                                   :external-format :latin-1)))
             (format stream "GET ~A HTTP/1.1~AHost: ~A~AConnection: close~A~A"
                     path end (format-address address) end end end)
             (finish-output stream)
             (subseq answer 0 (read-sequence answer stream))))
      (sb-bsd-sockets:socket-close socket :abort t))))

(defun verdict (answer)
  "Return NIL if ANSWER, a head's, says that all is well; else what it says, a line."
  (if (eql (search "HTTP/1.1 200 " answer) 0)
      nil
      (let ((end (search (coerce '(#\Return #\Newline #\Return #\Newline) 'string) answer)))
        (printable (string-trim '(#\Newline) (if end (subseq answer (+ end 4)) answer))))))

(defun complaint (listen path)
  "Return why the head that listens on LISTEN is not well by PATH, or NIL if it is."
  (if (string= listen "")
      "http_listen is \"\", so there is nobody to ask: set it"
      (handler-case (sb-ext:with-timeout +patience+
                      (verdict (ask (here listen) path)))
        (sb-ext:timeout () (format nil "no answer from ~A within ~D s" listen +patience+))
        (sb-bsd-sockets:socket-error (condition)
          (format nil "no answer from ~A: ~A" listen (reason-of condition)))
        (error (condition) (printable (princ-to-string condition))))))

(defun health-main (arguments environment)
  "Do what ARGUMENTS, strings, ask for in ENVIRONMENT, an alist; return the exit status.
Signal SETTINGS-ERROR if they are wrong."
  (cond ((intersection arguments '("-h" "--help") :test #'string=)
         (write-string +help+)
         (finish-output)
         0)
        (t
         (let* ((settings (load-settings (remove "--ready" arguments :test #'string=) environment))
                (ready (member "--ready" arguments :test #'string=))
                (complaint (complaint (settings-http-listen settings) (if ready "/readyz" "/healthz"))))
           (cond (complaint
                  (format *error-output* "hydramesh: ~A~%" complaint)
                  (finish-output *error-output*)
                  1)
                 (t 0))))))
