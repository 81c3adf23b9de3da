(defpackage #:hydramesh/protobuf/json/scalars
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire #:index #:malformed)
  (:import-from #:hydramesh/protobuf/text #:text-size)
  (:import-from #:hydramesh/protobuf/json/shown #:shown #:surrogate-p)
  (:import-from #:hydramesh/protobuf/json/decimal #:nearest-double #:double-in #:single-of)
  (:export #:integer-from #:float-from #:bool-from #:text-from #:octets-from #:enum-from)
  (:documentation "What values of JSON are as those of fields, by the rules of Python's json_format.

Python's are generous: a number may be a string, in which it is as Python writes it, with underscores
and in any script's digits. All functions signal MALFORMED for what stands for no value."))
(in-package #:hydramesh/protobuf/json/scalars)

;;; Numbers in strings

(defun space-p (char)
  "Return whether Python ignores CHAR around a number."
  (let ((code (char-code char)))
    (or (<= 9 code 13) (= code 32) (= code #x85) (= code #xa0) (= code #x1680)
        (<= #x2000 code #x200a) (= code #x2028) (= code #x2029) (= code #x202f) (= code #x205f)
        (= code #x3000))))

(defun plain (string)
  "Return STRING without white space around it, its digits as ASCII ones; NIL if it cannot be a number."
  (let ((plain (string-trim '(#\Space) (substitute-if #\Space #'space-p string))))
    (when (and (plusp (length plain))
               (every (lambda (char) (or (digit-char-p char) (< (char-code char) 128))) plain))
      (map 'simple-string (lambda (char)
                            (let ((digit (digit-char-p char)))
                              (if digit (code-char (+ 48 digit)) char)))
           plain))))

(defun without-underscores (text)
  "Return TEXT without the underscores between digits; NIL if it has others."
  (loop for place from 0 below (length text)
        do (when (and (char= (char text place) #\_)
                      (not (and (< 0 place (1- (length text)))
                                (digit-char-p (char text (1- place)))
                                (digit-char-p (char text (1+ place))))))
             (return nil))
        finally (return (remove #\_ text))))

(defun digits-end (text start)
  "Return where the digits from START on end."
  (or (position-if-not #'digit-char-p text :start start) (length text)))

(defun after-sign (text)
  "Return where TEXT goes on behind a sign."
  (if (and (plusp (length text)) (find (char text 0) "+-")) 1 0))

(defun ascii-digit-p (char)
  "Return whether CHAR is one of ten."
  (char<= #\0 char #\9))

(defun integer-in (string)
  "Return the integer that STRING is for Python, or NIL; :HUGE if it is beyond all that is asked for."
  (when (and (<= 1 (length string) 18) (every #'ascii-digit-p string))
    (return-from integer-in (parse-integer string)))
  (let* ((plain (plain string))
         (text (and plain (without-underscores plain)))
         (start (and text (after-sign text))))
    (when (and text
               (< start (length text))
               (= (digits-end text start) (length text))
               (<= (- (length text) start) 4300))
      (let ((first (or (position #\0 text :start start :test #'char/=) (1- (length text)))))
        (if (> (- (length text) first) 40)
            :huge
            (let ((number (parse-integer text :start first)))
              (if (char= (char text 0) #\-) (- number) number)))))))

(defun float-in (string)
  "Return the double that STRING is for Python, or :INFINITY, :-INFINITY, :NAN or :-NAN, or NIL."
  (let* ((plain (plain string))
         (text (and plain (without-underscores plain))))
    (when text
      (let* ((start (after-sign text))
             (word (string-downcase (subseq text start (min (length text) (+ start 9)))))
             (negative-p (char= (char text 0) #\-)))
        (cond ((member word '("inf" "infinity") :test #'string=) (if negative-p :-infinity :infinity))
              ((string= word "nan") (if negative-p :-nan :nan))
              ((decimal-p text start) (double-in text)))))))

(defun decimal-p (text start)
  "Return whether TEXT from START on is digits with at most one point and an exponent behind them."
  (let* ((point (digits-end text start))
         (end (if (and (< point (length text)) (char= (char text point) #\.))
                  (digits-end text (1+ point))
                  point))
         (digits (if (= end point) (- end start) (- end start 1))))
    (and (plusp digits)
         (or (= end (length text))
             (and (char-equal (char text end) #\e)
                  (let ((exponent (+ end 1 (after-sign (subseq text (1+ end))))))
                    (and (< exponent (length text))
                         (= (digits-end text exponent) (length text)))))))))

;;; Values

(defun whole (double)
  "Return the integer that DOUBLE is, or NIL; also if it is a keyword."
  (when (floatp double)
    (multiple-value-bind (whole rest) (truncate double)
      (and (zerop rest) whole))))

(defun in-range (number kind value)
  "Return NUMBER if the field's KIND can hold it."
  (let ((range (ecase kind
                 (:uint32 '(integer 0 #xffffffff))
                 (:uint64 '(integer 0 #xffffffffffffffff))
                 ((:int32 :enum) '(signed-byte 32))
                 (:int64 '(signed-byte 64)))))
    (if (typep number range)
        number
        (malformed "Value out of range: ~a" (shown value)))))

(defun integer-from (value kind)
  "Return the integer of KIND that VALUE stands for."
  (in-range
   (typecase value
     (integer value)
     (double-float (or (whole value) (malformed "Couldn't parse integer: ~a" (shown value))))
     (string
      (or (and (not (find #\Space value))
               (or (integer-in value) (whole (float-in value))))
          (malformed "Couldn't parse integer: \"~a\"" (shown value))))
     (t (if (eq value :huge)
            value
            (malformed "Couldn't parse integer: ~a" (shown value)))))
   kind value))

(defun nan (kind negative-p)
  "Return what is not a number, of KIND."
  (if (eq kind :float)
      (sb-kernel:make-single-float (if negative-p #x-400000 #x7fc00000))
      (sb-kernel:make-double-float (if negative-p #x-80000 #x7ff80000) 0)))

(defun infinity (kind negative-p)
  "Return the infinity of KIND."
  (if (eq kind :float)
      (sb-kernel:make-single-float (if negative-p #x-800000 #x7f800000))
      (sb-kernel:make-double-float (if negative-p #x-100000 #x7ff00000) 0)))

(defun float-of-kind (double kind)
  "Return DOUBLE, or what the keyword stands for, as a float of KIND."
  (let ((float (if (and (eq kind :float) (floatp double)) (single-of double) double)))
    (case float
      (:infinity (infinity kind nil))
      (:-infinity (infinity kind t))
      (:nan (nan kind nil))
      (:-nan (nan kind t))
      (t float))))

(defconstant +largest-single+ (coerce most-positive-single-float 'double-float))

(defun float-from (value kind)
  "Return the float of KIND, :FLOAT or :DOUBLE, that VALUE stands for."
  (flet ((refuse ()
           (malformed "Couldn't parse float: ~a" (shown value))))
    (typecase value
      (double-float
       (when (and (eq kind :float) (> (abs value) +largest-single+))
         (malformed "Float value too ~:[large~;small~]" (minusp value)))
       (float-of-kind value kind))
      (integer
       (let ((double (nearest-double (abs value) 0)))
         (when (eq double :infinity)
           (malformed "int too large to convert to float"))
         (float-of-kind (if (minusp value) (- double) double) kind)))
      (string
       (when (string= value "nan")
         (malformed "Couldn't parse float \"nan\", use \"NaN\" instead"))
       (float-of-kind (or (float-in value) (refuse)) kind))
      (t
       (case value
         (:true (float-of-kind 1d0 kind))
         (:false (float-of-kind 0d0 kind))
         (:nan (malformed "Couldn't parse NaN, use quoted \"NaN\" instead"))
         ((:infinity :-infinity)
          (malformed "Couldn't parse ~a or value too ~a, use quoted \"~:*~:*~a\" instead"
                     (if (eq value :infinity) "Infinity" "-Infinity")
                     (if (eq value :infinity) "large" "small")))
         (:huge (malformed "int too large to convert to float"))
         (t (refuse)))))))

(defun bool-from (value)
  "Return the boolean that VALUE is."
  (case value
    (:true t)
    (:false nil)
    (t (malformed "Expected true or false without quotes"))))

(defun text-from (value)
  "Return the string that VALUE is."
  (unless (stringp value)
    (malformed "expected a string, not ~a" (shown value)))
  (when (find-if #'surrogate-p value)
    (malformed "Unpaired surrogate"))
  value)

(defun enum-from (value name number-of)
  "Return the number that VALUE stands for in an enum called NAME.
NUMBER-OF is a function that returns the number of a name, or NIL."
  (flet ((refuse ()
           (malformed "Invalid enum value ~a for enum type ~a" (shown value) name)))
    (in-range
     (typecase value
       (integer value)
       (double-float (truncate value))
       (string (or (funcall number-of value) (integer-in value) (refuse)))
       (t (case value
            (:true 1)
            (:false 0)
            (:huge value)
            (t (refuse)))))
     :enum value)))

;;; Base64

(defun sextet (char)
  "Return the six bits that CHAR stands for in base64, of either alphabet, or NIL."
  (case char
    ((#\+ #\-) 62)
    ((#\/ #\_) 63)
    (t (let ((code (char-code char)))
         (cond ((<= 65 code 90) (- code 65))
               ((<= 97 code 122) (- code 71))
               ((<= 48 code 57) (+ code 4)))))))

(defun octets-from (value)
  "Return the octets that VALUE is in base64.
What is in neither alphabet is ignored, padding may be missing, and ends it where it is complete."
  (let* ((string (text-from value))
         (octets (make-array (ceiling (* 3 (length string)) 4) :element-type '(unsigned-byte 8)))
         (size (text-size string))
         (count 0) (place 0) (pads 0) (left 0))
    (declare (type index count size) (type (integer 0 3) place) (type (unsigned-byte 6) left)
             (type fixnum pads))
    (flet ((add (octet)
             (setf (aref octets count) octet)
             (incf count))
           (pad ()
             (when (and (>= place 2) (>= (+ place (incf pads)) 4))
               (return-from octets-from (subseq octets 0 count)))))
      (loop for char across string
            for bits = (sextet char)
            do (cond ((char= char #\=) (pad))
                     (bits
                      (setf pads 0)
                      (ecase place
                        (0)
                        (1 (add (logior (ash left 2) (ash bits -4))))
                        (2 (add (logior (ash (logand left 15) 4) (ash bits -2))))
                        (3 (add (logior (ash (logand left 3) 6) bits))))
                      (setf left bits
                            place (mod (1+ place) 4)))))
      (loop repeat (- 4 (mod size 4))
            do (pad)))
    (unless (zerop place)
      (malformed "Incorrect padding of base64"))
    (subseq octets 0 count)))
