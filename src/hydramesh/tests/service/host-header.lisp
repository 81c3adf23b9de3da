(defpackage #:hydramesh/tests/service/host-header
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/service/host-header #:host-named #:local-name-p #:bad-host)
  (:import-from #:hydramesh/service/http-request #:parse-request #:head-end #:bad-request #:request-path)
  (:documentation "Which host a request names, and whether it is this machine's."))
(in-package #:hydramesh/tests/service/host-header)

(fiveam:def-suite host-header :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite host-header)

(test the-host-is-what-the-field-names-without-its-port
  (loop for (field host) in '(("localhost" "localhost") ("LocalHost.:7718" "localhost") ("[::1]:80" "::1")
                              ("[::1]" "::1") (" 127.0.0.1:1 " "127.0.0.1") ("" "") (":80" "")
                              ("a_b-c.example:" "a_b-c.example"))
        do (is (string= host (host-named (list field))) "~S" field))
  (is (string= "" (host-named '()))))

(test what-names-no-host-is-refused
  (dolist (field '("[" "[]" "[::1" "[::1]x" "a b" "a:1:2" "a:123456" "a:b" "é" "a/b" "x[::1]" "[x]"))
    (signals bad-host (host-named (list field))))
  (signals bad-host (host-named '("a" "a"))))

(test only-what-nobody-else-can-be-called-is-local
  (dolist (host '("" "localhost" "a.localhost" "127.0.0.1" "10.0.0.1" "::1" "fe80::1"))
    (is (local-name-p host) "~S" host))
  (dolist (host '("evil.example" "localhost.example" "notlocalhost" ".localhost" "1.2.3" "1.2.3.4.5" "g::"))
    (is (not (local-name-p host)) "~S" host)))

(defun request (text)
  (let ((octets (sb-ext:string-to-octets (substitute #\Return #\_ text) :external-format :latin-1)))
    (parse-request octets (or (head-end octets (length octets)) (length octets)))))

(test a-request-is-read-to-its-empty-line
  (is (string= "/readyz" (request-path (request (format nil "GET /readyz?a=b HTTP/1.1_~%Host: a_~%_~%rest")))))
  (is (string= "/" (request-path (request (format nil "GET / HTTP/1.0~%~%")))))
  (dolist (text (list "" (format nil "~%~%") (format nil "GET /  HTTP/1.1~%Host: a~%~%")
                      (format nil "GET / HTTP/2.0~%Host: a~%~%") (format nil "GET / HTTP/1.1~%~%")
                      (format nil "GET / HTTP/1.1~%Host: a~% b: c~%~%")
                      (format nil "GET / HTTP/1.1~%Ho st: a~%~%")
                      (format nil "G(T / HTTP/1.0~%~%") (format nil "GET / HTTP/1.0~%a: ~C~%~%" (code-char 0))))
    (signals bad-request (request text))))
