(defpackage #:hydramesh/tests/keyfile
  (:use #:cl #:hydramesh/keyfile)
  (:import-from #:fiveam #:def-suite #:in-suite #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:sb-posix))
(in-package #:hydramesh/tests/keyfile)

(def-suite keyfile :in hydramesh/tests/suite:hydramesh)
(in-suite keyfile)

(defun loaded (content &key (mode #o600))
  "Return the key of a file with CONTENT, or what is wrong with it, the file's name left out."
  (uiop:with-temporary-file (:stream stream :pathname path :external-format :utf-8)
    (write-string content stream)
    (finish-output stream)
    (let ((name (namestring path)))
      (sb-posix:chmod name mode)
      (handler-case (load-key name)
        (key-file-error (condition)
          (let ((text (princ-to-string condition)))
            (loop for at = (search name text)
                  while at do (setf text (format nil "~AFILE~A" (subseq text 0 at)
                                                 (subseq text (+ at (length name))))))
            text))))))

(defparameter +text+ "daiic-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=")

(test a-key-is-read
  (let ((key (coerce (append (loop for byte below 31 collect byte) '(255)) '(vector (unsigned-byte 8)))))
    (is (equalp key (loaded (format nil "~A~%" +text+))))
    (is (equalp key (loaded (format nil "  ~A ~%~%" +text+) :mode #o640)))
    (is (equalp key (loaded +text+ :mode #o400)))))

(test what-others-may-read-or-change-is-no-secret
  (dolist (mode '(#o644 #o620 #o604 #o601))
    (is (string= (format nil "cluster key FILE has mode ~4,'0O, which other users may read or change: ~
                              run `chmod 600 FILE`" mode)
                 (loaded +text+ :mode mode)))))

(test what-is-no-key-is-refused
  (dolist (content (list "" "x" "daiic-key-1:" (subseq +text+ 12) (subseq +text+ 0 55) (subseq +text+ 0 54)
                         (substitute #\- #\A +text+) (format nil "~AA" +text+) (format nil "~A é" +text+)
                         "daiic-key-2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8="))
    (is (string= "FILE is not a cluster key: make one with `daiic keygen`" (loaded content)))))

(test what-cannot-be-read-says-why
  (flet ((reason (path)
           (handler-case (load-key path)
             (key-file-error (condition) (princ-to-string condition)))))
    (is (string= "cluster key /no/such does not exist: make one with `daiic keygen`" (reason "/no/such")))
    (is (string= "cluster key /tmp cannot be read: Is a directory" (reason "/tmp")))
    (is (string= "cluster key /dev/zero cannot be read: it is not a regular file" (reason "/dev/zero"))))
  (is (string= "cluster key FILE cannot be read: it is larger than 4 KiB"
               (loaded (make-string 5000 :initial-element #\x)))))
