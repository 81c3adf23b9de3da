(defpackage #:hydramesh/tests/service/logs
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/service/logs #:describe-condition)
  (:import-from #:hydramesh/shown #:shown #:shown-text #:printable)
  (:documentation "What a log may show of others' names and of faults. Its lines are tested of a process."))
(in-package #:hydramesh/tests/service/logs)

(fiveam:def-suite logs :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite logs)

(test nothing-foreign-makes-a-line-or-moves-a-cursor
  (let ((name (format nil "m~%<0>event=forged~C[2J~C" (code-char 27) (code-char #x202e))))
    (is (string= "m\\x0a<0>event=forged\\x1b[2J\\u202e" (shown name)))
    (is (string= (format nil "m~%<0>event=forged\\x1b[2J\\u202e") (shown-text name)))
    (is (string= "m\\n<0>event=forged\\x1b[2J\\u202e" (printable name)))
    (is (= 256 (length (shown (make-string 1000 :initial-element #\a)))))))

(defun described (function)
  (handler-case (funcall function)
    (error (condition) (describe-condition condition))))

;; Or the compiler would know, and say, what these do.
(declaim (notinline handed-on))
(defun handed-on (value)
  value)

(test a-fault-shows-no-value-that-a-function-was-called-with
  (let ((secret (make-string 20 :initial-element #\s)))
    (let ((said (described (lambda () (+ 1 (the fixnum (handed-on secret)))))))
      (is (search "TYPE-ERROR" said))
      (is (not (search "sss" said))))
    (is (search "DIVISION-BY-ZERO" (described (lambda () (/ 1 (handed-on 0))))))))
