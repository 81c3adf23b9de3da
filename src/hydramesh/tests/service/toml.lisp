(defpackage #:hydramesh/tests/service/toml
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals #:finishes)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/service/toml
                #:parse-toml #:malformed-toml #:nested-too-deeply #:table-p #:tables-p
                #:table-entries #:tables-list #:moment-p #:moment-text)
  (:export #:plain)
  (:documentation "What is TOML, and what is not."))
(in-package #:hydramesh/tests/service/toml)

(fiveam:def-suite toml :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite toml)

(defun plain (value)
  "Return VALUE with tables as alists and arrays as lists that begin with :array."
  (cond ((table-p value)
         (loop for (key . item) in (table-entries value) collect (cons key (plain item))))
        ((tables-p value) (cons :array (mapcar #'plain (reverse (tables-list value)))))
        ((moment-p value) (list :moment (moment-text value)))
        ((simple-vector-p value) (cons :array (map 'list #'plain value)))
        (t value)))

(defun lines (&rest lines)
  (format nil "~{~A~%~}" lines))

(defun parsed (&rest lines)
  (plain (parse-toml (apply #'lines lines))))

(defun value-of (text)
  (cdr (first (parsed (format nil "a = ~A" text)))))

(defun reason (&rest lines)
  (handler-case (progn (apply #'parsed lines) nil)
    (malformed-toml (condition) (princ-to-string condition))))

(test values-are-read-as-they-are-meant
  (loop for (text value)
          in `(("true" :true) ("false" :false)
               ("0" 0) ("-17" -17) ("+9_000" 9000) ("0xDEAD_beef" #xdeadbeef) ("0o17" 15) ("0b101" 5)
               ("1.5" 1.5d0) ("-0.0" -0d0) ("5e3" 5000d0) ("1_0.2_5E-1" 1.025d0) ("1e400"
                ,sb-ext:double-float-positive-infinity)
               ("-inf" ,sb-ext:double-float-negative-infinity) ("1e-400" 0d0) ("4.9e-324" 4.9406564584124654d-324)
               ("\"a\\tb\\u00e9\\U0001F600\"" ,(format nil "a~Cbé😀" #\Tab))
               ("'a\\b'" "a\\b") ("''''it''s''''" "'it''s'") ("\"\"" "")
               ("[1, 'x', [true],]" (:array 1 "x" (:array :true)))
               ("{b.c = 1, d = {}}" (("b" ("c" . 1)) ("d")))
               ("1979-05-27" (:moment "1979-05-27"))
               ("1979-05-27 07:32:00.999-07:00" (:moment "1979-05-27 07:32:00.999-07:00"))
               ("07:32:00" (:moment "07:32:00")))
        do (is (equalp value (value-of text)) "~A" text))
  (is (string= (format nil "one~%two three")
               (cdr (first (parsed "a = \"\"\"" "one" "two \\" "   " "  three\"\"\""))))))

(test tables-are-put-together-from-headers-and-dotted-keys
  (is (equal '(("a" . 1) ("b" ("c" ("d" . 2) ("e" . 3))) ("f" :array (("g" . 4)) (("g" . 5) ("h" ("i" . 6)))))
             (parsed "a = 1 # one" "" "[b]" "c.d = 2" "c . \"e\" = 3" "[[f]]" "g = 4" "[[f]]" "g = 5"
                     "[f.h]" "i = 6"))))

(test what-is-not-toml-is-refused-with-its-place
  (loop for (place . text)
          in '(("line 1, column 5" "a = ") ("line 2, column 1" "a = 1" "a = 2") ("line 1, column 7" "a = 1 b = 2")
               ("line 1, column 5" "a = 01") ("line 1" "a = 1__0") ("line 1" "a = .5") ("line 1" "a = 5.")
               ("line 1" "a = +0x1") ("line 1" "a = 1e") ("line 1" "a = tru") ("line 1" "a = 2023-02-30")
               ("line 1" "a = \"b") ("line 1" "a = \"\\q\"") ("line 1" "a = \"\\ud800\"") ("line 1" "= 1")
               ("line 3" "[a]" "b = 1" "[a]") ("line 2" "a = 1" "[a]") ("line 2" "a = {}" "[a.b]")
               ("line 2" "a = {b = 1}" "a.c = 2") ("line 3" "[a]" "b.c = 1" "[a.b]") ("line 2" "[[a]]" "[a]")
               ("line 2" "a = []" "[[a]]") ("line 1" "a = {b = 1," "}") ("line 1" "[a") ("line 1" "a.b")
               ("end of document" "a = [1,"))
        do (is (search place (apply #'reason text)) "~A: ~A" text (apply #'reason text)))
  (is (reason (format nil "# ~C" (code-char 1))))
  (is (reason (format nil "a = 1~C b" (code-char 13))))
  (is (equal '(("a" . 1)) (plain (parse-toml (format nil "a = 1~C~%" (code-char 13)))))))

(test depth-and-length-have-bounds
  (signals nested-too-deeply (parse-toml (format nil "a = ~A" (make-string 100000 :initial-element #\[))))
  (signals nested-too-deeply
    (parse-toml (format nil "a = ~{~A~}" (loop repeat 50000 collect "{a="))))
  (is (search "more than 1000" (reason (format nil "a = ~A" (make-string 100000 :initial-element #\9)))))
  (finishes (parsed (format nil "a = 1e~A" (make-string 900 :initial-element #\9)))))
