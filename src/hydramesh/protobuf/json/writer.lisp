(defpackage #:hydramesh/protobuf/json/writer
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire #:index)
  (:import-from #:hydramesh/protobuf/text #:text-size #:write-text)
  (:import-from #:hydramesh/protobuf/json/decimal #:decimal-of)
  (:export #:out #:make-out #:written #:put #:put-string #:put-integer #:put-float #:put-base64)
  (:documentation "Writes JSON as Python does: the pieces of it, into octets that grow."))
(in-package #:hydramesh/protobuf/json/writer)

(defstruct out
  "What has been written: the first FILL of the octets."
  (octets (make-array 512 :element-type '(unsigned-byte 8)) :type octets)
  (fill 0 :type index))

(defun written (out)
  "Return all that has been written to OUT."
  (subseq (out-octets out) 0 (out-fill out)))

(declaim (ftype (function (out index) (values index &optional)) reserve))
(defun reserve (out count)
  "Make room for COUNT more octets; return where they begin."
  (declare (type out out) (type index count))
  (let* ((start (out-fill out))
         (end (+ start count)))
    (when (> end (length (out-octets out)))
      (setf (out-octets out)
            (replace (make-array (max end (* 2 (length (out-octets out))))
                                 :element-type '(unsigned-byte 8))
                     (out-octets out) :end2 start)))
    (setf (out-fill out) end)
    start))

(defun put (out string)
  "Write STRING, ASCII, as it is."
  (declare (optimize speed))
  (flet ((copy (string)
           (let ((start (reserve out (length string)))
                 (octets (out-octets out)))
             (loop for char across string
                   for at of-type index from start
                   do (setf (aref octets at) (char-code char))))))
    (declare (inline copy))
    (etypecase string
      (simple-base-string (copy string))
      ((simple-array character (*)) (copy string)))))

(sb-ext:defglobal +controls+
    (coerce (loop for code below #x20
                  collect (case (code-char code)
                            (#\Newline "\\n")
                            (#\Return "\\r")
                            (#\Tab "\\t")
                            (#\Page "\\f")
                            (#\Backspace "\\b")
                            (t (coerce (format nil "\\u~(~4,'0x~)" code) 'simple-base-string))))
            'simple-vector)
  "What is written for the control characters, by their codes.")

(defun escape (char)
  "Return what is written for CHAR, which is not written as itself."
  (declare (type character char))
  (case char
    (#\" "\\\"")
    (#\\ "\\\\")
    (t (svref +controls+ (char-code char)))))

(declaim (inline special-p))
(defun special-p (char)
  "Return whether CHAR is not written as itself in a string."
  (or (< (char-code char) #x20) (char= char #\") (char= char #\\)))

(defun put-string (out string)
  "Write STRING, in quotes and with escapes."
  (declare (optimize speed))
  (etypecase string
    (simple-base-string
     (if (find-if #'special-p string)
         (put-escaped out string)
         (let* ((count (length string))
                (at (reserve out (+ count 2)))
                (octets (out-octets out)))
           (declare (type index at))
           (setf (aref octets at) 34
                 (aref octets (+ at count 1)) 34)
           (write-text string octets (+ at count 1)))))
    ((simple-array character (*))
     (if (find-if #'special-p string)
         (put-escaped out string)
         (put-quoted out string)))
    (string (put-string out (coerce string 'simple-string)))))

(defun put-quoted (out string)
  "Write STRING, which needs no escapes, in quotes."
  (put out "\"")
  (put-text out string)
  (put out "\""))

(defun put-text (out string)
  "Write STRING as it is, as UTF-8."
  (let* ((size (text-size string))
         (at (reserve out size)))
    (write-text string (out-octets out) (+ at size))))

(defun put-escaped (out string)
  "Write STRING, in quotes and with escapes."
  (declare (type simple-string string))
  (put out "\"")
  (let ((start 0))
    (loop
      (let ((end (position-if #'special-p string :start start)))
        (unless (eql start end)
          (put-text out (subseq string start end)))
        (unless end
          (return))
        (put out (escape (schar string end)))
        (setf start (1+ end)))))
  (put out "\""))

(defun put-integer (out number)
  "Write the whole NUMBER."
  (let ((digits (make-string 20 :element-type 'base-char))
        (at 20)
        (rest (abs number)))
    (declare (type (unsigned-byte 64) rest) (type (integer 0 20) at) (type (signed-byte 66) number))
    (loop
      (multiple-value-bind (quotient digit) (truncate rest 10)
        (setf (schar digits (decf at)) (code-char (+ 48 digit))
              rest quotient))
      (when (zerop rest)
        (return)))
    (when (minusp number)
      (put out "-"))
    (put out (subseq digits at))))

(defun put-float (out number)
  "Write NUMBER, a float, as Python does; NaN and infinity are strings."
  (let* ((single-p (typep number 'single-float))
         (bits (if single-p
                   (sb-kernel:single-float-bits number)
                   (sb-kernel:double-float-bits number)))
         (negative-p (minusp bits)))
    (multiple-value-bind (exponent fraction)
        (if single-p
            (values (= #xff (ldb (byte 8 23) bits)) (ldb (byte 23 0) bits))
            (values (= #x7ff (ldb (byte 11 52) bits)) (ldb (byte 52 0) bits)))
      (cond ((and exponent (/= 0 fraction)) (put out "\"NaN\""))
            (exponent (put out (if negative-p "\"-Infinity\"" "\"Infinity\"")))
            (t
             (when negative-p
               (put out "-"))
             (if (zerop number)
                 (put out "0.0")
                 (multiple-value-bind (whole power) (decimal-of (abs number))
                   (put-decimal out (coerce (format nil "~d" whole) 'simple-string) power))))))))

(defun put-decimal (out digits power)
  "Write DIGITS times ten to POWER; very large and very small ones with an exponent."
  (let ((point (+ (length digits) power)))
    (flet ((zeros (count) (make-string count :initial-element #\0)))
      (cond ((not (< -4 point 17))
             (put out (subseq digits 0 1))
             (when (> (length digits) 1)
               (put out ".")
               (put out (subseq digits 1)))
             (put out (coerce (format nil "e~:[+~;-~]~2,'0d" (minusp (1- point)) (abs (1- point)))
                              'simple-string)))
            ((<= point 0)
             (put out "0.")
             (put out (zeros (- point)))
             (put out digits))
            ((>= point (length digits))
             (put out digits)
             (put out (zeros (- point (length digits))))
             (put out ".0"))
            (t
             (put out (subseq digits 0 point))
             (put out ".")
             (put out (subseq digits point)))))))

(defun put-base64 (out octets)
  "Write OCTETS as a string in base64, with padding."
  (declare (type octets octets))
  (let* ((count (length octets))
         (at (reserve out (+ 2 (* 4 (ceiling count 3)))))
         (buffer (out-octets out))
         (alphabet "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
    (declare (type index at))
    (flet ((add (char) (setf (aref buffer at) (char-code char)) (incf at))
           (octet (place) (if (< place count) (aref octets place) 0)))
      (declare (inline add octet))
      (add #\")
      (loop for place of-type index from 0 below count by 3
            for group of-type (unsigned-byte 24) = (logior (ash (octet place) 16)
                                                           (ash (octet (+ place 1)) 8)
                                                           (octet (+ place 2)))
            for left = (- count place)
            do (add (schar alphabet (ldb (byte 6 18) group)))
               (add (schar alphabet (ldb (byte 6 12) group)))
               (add (if (> left 1) (schar alphabet (ldb (byte 6 6) group)) #\=))
               (add (if (> left 2) (schar alphabet (ldb (byte 6 0) group)) #\=)))
      (add #\"))))
