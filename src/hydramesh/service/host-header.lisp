(defpackage #:hydramesh/service/host-header
  (:use #:cl)
  (:import-from #:hydramesh/foreign/system #:text-ip)
  (:export #:host-named #:local-name-p #:bad-host)
  (:documentation "Which host a request is for, and whether only this machine can have meant itself by it.

A web page can let a name of its own resolve to 127.0.0.1 and then read, in its visitor's browser, what
is served there (DNS rebinding). The browser still sends the page's name as Host. So a daemon that
serves loopback without a key answers only to names that can be nobody else's."))
(in-package #:hydramesh/service/host-header)

(define-condition bad-host (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "The Host of a request is malformed, or there are several; what is printed says which."))

(defun ascii-p (text extra)
  "Return whether TEXT has only ASCII's letters and digits and the characters EXTRA."
  (every (lambda (character)
           (or (and (alphanumericp character) (char< character (code-char 128)))
               (find character extra)))
         text))

(defun split (field)
  "Return the host of FIELD, without the brackets of an IPv6 address, and its port; NIL if malformed."
  (let* ((bracket (and (plusp (length field)) (char= (char field 0) #\[)))
         (end (if bracket (position #\] field) (position #\: field)))
         (rest (and end (if bracket (1+ end) end))))
    (if (and bracket (null end))
        nil
        (values (subseq field (if bracket 1 0) end)
                (if rest (subseq field rest) "")))))

(defun malformed ()
  (error 'bad-host :reason "the Host header is malformed: send host or host:port"))

(defun host-named (fields)
  "Return what the values of a request's Host fields name, without port; \"\" if nothing.
Signal BAD-HOST as RFC 9112, section 3.2, wants it: to be answered with 400."
  (when (rest fields)
    (error 'bad-host :reason "the request has several Host headers: send one"))
  (if (null fields)
      ""
      (let ((field (string-trim '(#\Space #\Tab) (first fields))))
        (multiple-value-bind (host port) (split field)
          (unless (and host
                       (if (find #\[ field)
                           (and (plusp (length host))
                                (every (lambda (character)
                                         (or (digit-char-p character 16) (find character ":.")))
                                       host)
                                (ascii-p host ":."))
                           (ascii-p host "_.-"))
                       (or (string= port "")
                           (and (char= (char port 0) #\:)
                                (<= (length port) 6)
                                (every (lambda (character) (char<= #\0 character #\9))
                                       (subseq port 1)))))
            (malformed))
          (let ((host (string-downcase host)))
            (if (and (plusp (length host)) (char= (char host (1- (length host))) #\.))
                (subseq host 0 (1- (length host)))
                host))))))

(defun local-name-p (host)
  "Return whether HOST is an address, localhost or below it, or not given at all."
  (or (member host '("" "localhost") :test #'string=)
      (let ((start (- (length host) (length ".localhost"))))
        (and (plusp start) (string= ".localhost" host :start2 start)))
      (and (text-ip host) t)))
