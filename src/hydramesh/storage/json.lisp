(defpackage #:hydramesh/storage/json
  (:use #:cl)
  (:export #:json-text #:json-number)
  (:documentation "Texts and numbers of records in JSON."))
(in-package #:hydramesh/storage/json)

(defun json-text (text)
  "Return TEXT as a string of JSON."
  (with-output-to-string (stream)
    (write-char #\" stream)
    (loop for character across text
          do (cond ((find character "\"\\") (format stream "\\~A" character))
                   ((< (char-code character) 32) (format stream "\\u~4,'0x" (char-code character)))
                   (t (write-char character stream))))
    (write-char #\" stream)))

(defun json-number (number)
  "Return NUMBER in JSON, with six decimals if it is no whole one; null for NIL."
  (cond ((null number) "null")
        ((integerp number) (format nil "~D" number))
        (t (format nil "~,6F" number))))
