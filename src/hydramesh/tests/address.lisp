(defpackage #:hydramesh/tests/address
  (:use #:cl #:hydramesh/address)
  (:import-from #:fiveam #:def-suite #:in-suite #:test #:is #:is-true #:is-false #:signals)
  (:import-from #:hydramesh/foreign/system #:system-failure)
  (:import-from #:hydramesh/tests/suite))
(in-package #:hydramesh/tests/address)

(def-suite address :in hydramesh/tests/suite:hydramesh)
(in-suite address)

(test addresses-are-read-and-written
  (loop for (text written) in '(("127.0.0.1:7717") ("0.0.0.0:0") ("255.255.255.255:65535")
                                ("[::1]:7717") ("[::]:1") ("[2001:db8::1:0:0:1]:80")
                                ("[2001:DB8:0:0:0:0:0:1]:00080" "[2001:db8::1]:80")
                                ("[1:2:3:4:5:6:7:8]:9") ("[::ffff:192.0.2.1]:5"))
        do (is (string= (or written text) (format-address (numeric text))))
           (is (eql (numeric text) (parse-address text)))))

(test its-parts-are-those-that-were-written
  (let ((four (numeric "192.0.2.1:7717")) (six (ipv6 #x20010db8000000000000000000000001 80 3)))
    (is (equal '(4 #xc0000201 7717 0)
               (list (address-family four) (address-ip four) (address-port four) (address-scope four))))
    (is (equal '(6 #x20010db8000000000000000000000001 80 3)
               (list (address-family six) (address-ip six) (address-port six) (address-scope six))))))

(test an-interface-that-is-named-stays-part-of-the-address
  (let ((address (parse-address "[fe80::1%lo]:7")))
    (is (= 1 (address-scope address)))
    (is (string= "[fe80::1%lo]:7" (format-address address)))
    (is (string= "[fe80::1%4294967]:7" (format-address (ipv6 (address-ip address) 7 4294967))))))

(test names-are-looked-up
  (is-true (loopback-p (parse-address "localhost:7717")))
  (signals system-failure (parse-address "no-such-host.invalid:7717")))

(test what-is-no-address-is-refused-with-an-example
  (dolist (text '("" ":" ":1" "host" "host:" "host:x" "host:65536" "host:-1" "host:+1" "::1:7717" "[]:1"
                  "[::1]" "host: 1" "host:99999999999999999999999" "host:1:2"))
    (is (null (numeric text)))
    (handler-case (progn (parse-address text) (fiveam:fail "~S was read." text))
      (bad-address (condition)
        (is (string= (format nil "\"~A\" is not an address: write host:port, e.g. 127.0.0.1:7717" text)
                     (princ-to-string condition)))))))

(test a-name-is-not-numeric
  (dolist (text '("localhost:1" "1.2.3:1" "01.2.3.4:1" "[fe80::1%]:1" "[fe80::1%a%b]:1" "1.2.3.4%lo:1"
                  "[1::2::3]:1" "[12345::]:1" " 1.2.3.4:1" "[g::]:1"))
    (is (null (numeric text))))
  (is (null (numeric (format nil "1.2.3.4~C5:1" (code-char 0)))))
  (is (null (numeric (format nil "1.2.3.~C:1" (code-char #x664))))) ; a digit, though not ASCII's
  (is (eql (numeric "[fe80::1]:1") (numeric "[fe80::1%eth0]:1"))))

(test loopback-is-this-machine-only
  (dolist (text '("127.0.0.1:1" "127.255.0.3:1" "[::1]:1"))
    (is-true (loopback-p (numeric text))))
  (dolist (text '("0.0.0.0:1" "128.0.0.1:1" "[::]:1" "[::2]:1" "[::127.0.0.1]:1"))
    (is-false (loopback-p (numeric text)))))

(test hosts-of-ipv6-are-networks
  (loop for (text host) in '(("192.0.2.1:1" "192.0.2.1")
                             ("[2001:db8:1:2:3:4:5:6]:1" "2001:db8:1:2::/64")
                             ("[::1]:1" "::/64")
                             ("[::ffff:192.0.2.1]:1" "192.0.2.1"))
        do (is (string= host (host-of (numeric text))))))
