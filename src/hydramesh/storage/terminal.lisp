(defpackage #:hydramesh/storage/terminal
  (:use #:cl)
  (:import-from #:hydramesh/shown #:counted)
  (:import-from #:hydramesh/storage/plot #:plot-lines #:short-number)
  (:export #:blocks-p #:width #:moment #:span-name #:print-plot)
  (:documentation "What is recorded, as a terminal can show it."))
(in-package #:hydramesh/storage/terminal)

(defconstant +height+ 8 "Lines of a plot.")

(defun environment-value (name environment)
  (let ((value (cdr (assoc name environment :test #'string=))))
    (if (equal value "") nil value)))

(defun blocks-p (environment)
  "Return whether stdout is a terminal that shows what is not ASCII."
  (let ((locale (or (environment-value "LC_ALL" environment) (environment-value "LC_CTYPE" environment)
                    (environment-value "LANG" environment) "")))
    (and (eql (sb-unix:unix-isatty 1) 1)
         (or (search "UTF-8" locale :test #'char-equal) (search "UTF8" locale :test #'char-equal))
         t)))

(defun width (environment)
  "Return how many columns the terminal has."
  (let ((columns (environment-value "COLUMNS" environment)))
    (max 40 (min 200 (or (and columns (< (length columns) 6) (parse-integer columns :junk-allowed t)) 80)))))

(defun moment (seconds)
  "Return the local time of SECONDS since 1970."
  (multiple-value-bind (second minute hour day month year)
      (decode-universal-time (+ seconds (encode-universal-time 0 0 0 1 1 1970 0)))
    (declare (ignore second))
    (format nil "~D-~2,'0D-~2,'0D ~2,'0D:~2,'0D" year month day hour minute)))

(defun span-name (seconds)
  "Return SECONDS, whole minutes, for people."
  (loop for (size name) in '((86400 "day") (3600 "hour") (60 "minute"))
        when (zerop (mod seconds size))
          return (counted (floor seconds size) name)))

(defun print-plot (values start until blocks-p stream &key (lowest 0))
  "Print VALUES, numbers or NIL at equal steps from START to UNTIL, seconds since 1970, with axes of which the
lower one is at LOWEST."
  (let ((from (moment start)) (to (moment until)))
    (format stream "~{~A~%~}" (plot-lines values +height+ blocks-p :lowest lowest))
    (format stream "~5@A ~A~A~%" (short-number lowest) (if blocks-p "└" "+")
            (make-string (length values) :initial-element (if blocks-p #\─ #\-)))
    (format stream "~6@T~A~V@A~%" from (max (+ 1 (length to)) (- (1+ (length values)) (length from))) to)))
