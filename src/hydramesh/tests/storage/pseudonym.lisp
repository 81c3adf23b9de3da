(defpackage #:hydramesh/tests/storage/pseudonym
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals)
  (:import-from #:hydramesh/entropy #:make-entropy)
  (:import-from #:hydramesh/storage/pseudonym
                #:make-salt #:draw-salt #:salt-octets #:salt-read #:keyed-hash #:pseudonym)
  (:import-from #:hydramesh/storage/store #:storage-damaged)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "Who asked, as a number."))
(in-package #:hydramesh/tests/storage/pseudonym)

(fiveam:def-suite pseudonym :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite pseudonym)

(defun octets (count)
  (coerce (loop for octet below count collect octet) '(simple-array (unsigned-byte 8) (*))))

(test the-hash-is-siphash
  ;; The vectors of its authors.
  (let ((salt (make-salt #x0706050403020100 #x0f0e0d0c0b0a0908)))
    (is (= #x726fdb47dd0e0e31 (keyed-hash (octets 0) salt)))
    (is (= #x74f839c593dc67fd (keyed-hash (octets 1) salt)))
    (is (= #xa129ca6149be45e5 (keyed-hash (octets 15) salt)))))

(test names-have-pseudonyms-that-stay-and-differ-between-salts
  (let* ((salt (draw-salt (make-entropy)))
         (again (salt-read (salt-octets salt)))
         (other (draw-salt (make-entropy)))
         (names (loop for number below 100 collect (format nil "Zoë ~D" number)))
         (numbers (loop for name in names collect (pseudonym name salt))))
    (is (equal numbers (loop for name in names collect (pseudonym name again))))
    (is (every (lambda (number) (<= 1 number 65535)) numbers))
    (is (> (length (remove-duplicates numbers)) 90))
    (is (not (equal numbers (loop for name in names collect (pseudonym name other)))))
    (is (= 0 (pseudonym "" salt)))))

(test a-salt-of-another-size-is-damaged
  (signals storage-damaged (salt-read (octets 15))))
