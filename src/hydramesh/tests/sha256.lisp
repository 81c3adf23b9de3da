(defpackage #:hydramesh/tests/sha256
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/sha256 #:sha256-hex)
  (:documentation "SHA-256 beside what NIST publishes."))
(in-package #:hydramesh/tests/sha256)

(fiveam:def-suite sha256 :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite sha256)

(defun digest (text)
  (sha256-hex (sb-ext:string-to-octets text :external-format :utf-8)))

(test digests-are-those-of-the-standard
  (is (string= "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" (digest "")))
  (is (string= "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" (digest "abc")))
  (is (string= "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
               (digest "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")))
  (is (string= "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
               (digest (make-string 1000000 :initial-element #\a)))))
