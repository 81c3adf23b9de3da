(defpackage #:hydramesh/tests/service/notify
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:sb-bsd-sockets)
  (:import-from #:hydramesh/service/notify
                #:make-notifier #:notifier-status #:notifier-ready #:notifier-extend
                #:notifier-feed-watchdog #:notifier-watchdog-period)
  (:documentation "What systemd is told, on a socket that it would name."))
(in-package #:hydramesh/tests/service/notify)

(fiveam:def-suite notify :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite notify)

(defun heard (function)
  "Call FUNCTION with a notifier that has a watchdog of 300 ms; return what systemd was told by it."
  (let ((socket (make-instance 'sb-bsd-sockets:local-abstract-socket :type :datagram))
        (name (format nil "hydramesh-notify-~D" (sb-posix:getpid))))
    (unwind-protect
         (progn
           (sb-bsd-sockets:socket-bind socket name)
           (setf (sb-bsd-sockets:non-blocking-mode socket) t)
           (funcall function (make-notifier `(("NOTIFY_SOCKET" . ,(format nil "@~A" name))
                                              ("WATCHDOG_USEC" . "300000"))))
           (loop for (text size) = (multiple-value-list
                                    (sb-bsd-sockets:socket-receive socket nil 4096))
                 while size
                 collect (subseq text 0 size)))
      (sb-bsd-sockets:socket-close socket))))

(test a-status-is-sent-when-it-changes-and-speaks-for-itself-alone
  (is (equal '("READY=1" "STATUS=idle" "STATUS=a\\x0aMAINPID=1" "STATUS=idle" "EXTEND_TIMEOUT_USEC=1500000")
             (heard (lambda (notifier)
                      (notifier-ready notifier)
                      (dolist (text (list "idle" "idle" (format nil "a~%MAINPID=1") "idle"))
                        (notifier-status notifier text))
                      (notifier-extend notifier 3/2))))))

(test the-watchdog-is-fed-three-times-a-period
  (is (equal '("WATCHDOG=1" "WATCHDOG=1")
             (heard (lambda (notifier)
                      (dolist (now '(1000000 1050000 1099999 1100000 1150000))
                        (notifier-feed-watchdog notifier now)))))))

(test a-watchdog-or-a-socket-that-is-not-meant-is-left-alone
  (dolist (environment '(() (("WATCHDOG_USEC" . "60000") ("WATCHDOG_PID" . "1"))
                         (("WATCHDOG_USEC" . "soon")) (("WATCHDOG_USEC" . "0"))
                         (("NOTIFY_SOCKET" . "")) (("NOTIFY_SOCKET" . "/nonexistent/socket"))))
    (let ((notifier (make-notifier environment)))
      (is (null (notifier-watchdog-period notifier)))
      (notifier-feed-watchdog notifier 1000000)
      (notifier-ready notifier))))
