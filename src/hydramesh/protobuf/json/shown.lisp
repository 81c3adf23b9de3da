(defpackage #:hydramesh/protobuf/json/shown
  (:use #:cl)
  (:export #:shown #:surrogate-p)
  (:documentation "What a reason that something is malformed shows of it, which can be anything."))
(in-package #:hydramesh/protobuf/json/shown)

(defun surrogate-p (char)
  "Return whether CHAR is half of a pair, and no character."
  (<= #xd800 (char-code char) #xdfff))

(defun shown (value)
  "Return VALUE as it is shown in a reason, on one line and not at its full length."
  (let ((text (typecase value
                (string value)
                (keyword (ecase value
                           ((:true :false) (string-capitalize value))
                           (:null "None")
                           (:nan "nan")
                           (:infinity "inf")
                           (:-infinity "-inf")
                           (:huge "a number so large")))
                (vector "an array")
                (number (format nil "~a" value))
                (t "an object"))))
    (map 'string
         (lambda (char)
           (cond ((surrogate-p char) (code-char #xfffd))
                 ((< (char-code char) #x20) #\Space)
                 (t char)))
         (if (> (length text) 100)
             (concatenate 'string (subseq text 0 100) "...")
             text))))
