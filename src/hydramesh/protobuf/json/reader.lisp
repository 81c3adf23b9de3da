(defpackage #:hydramesh/protobuf/json/reader
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire #:index #:malformed)
  (:import-from #:hydramesh/protobuf/text #:read-text)
  (:import-from #:hydramesh/protobuf/json/decimal #:double-in)
  (:import-from #:hydramesh/protobuf/json/shown #:shown)
  (:export #:read-json #:object #:object-p #:object-members)
  (:documentation "Reads JSON that comes from strangers: neither depth nor long numbers cost what they choose.

It takes what Python's json takes: also the numbers NaN and Infinity, and half of a surrogate pair in
a string. An object is an `object`, an array a simple vector, a string a string; true, false and null
are keywords. Numbers are integers, or doubles if they have a point or an exponent; those that no
number stands for here are :NAN, :INFINITY, :-INFINITY, and :HUGE for an integer beyond any double."))
(in-package #:hydramesh/protobuf/json/reader)

(defconstant +deepest+ 200 "Arrays and objects within one another.")

(defconstant +longest-integer+ 4300
  "Digits of an integer; Python reads no longer ones.")

(defconstant +largest-integer+ 309 "Digits of the largest double.")

(defstruct object
  "An object: names and values, in pairs, as they came."
  (members '() :type list))

(defstruct (input (:constructor make-input (octets values-left twice-p)))
  "What is read, up to where, how many values more it may have, and whether names may come twice."
  (octets nil :type octets)
  (position 0 :type index)
  (values-left 0 :type fixnum)
  (twice-p nil))

(defun read-json (octets &key (most-values most-positive-fixnum) twice-p)
  "Return the value that OCTETS are in JSON.
Signal MALFORMED if they are none, or it has more than MOST-VALUES values within it, or a name comes
twice in an object, unless TWICE-P is true."
  (let ((input (make-input octets most-values twice-p)) (value nil))
    (when (eql 0 (search #(#xef #xbb #xbf) octets :end2 (min 3 (length octets))))
      (complain input "Unexpected UTF-8 BOM (decode using utf-8-sig)"))
    (setf value (read-value input 0))
    (skip-space input)
    (unless (= (input-position input) (length octets))
      (complain input "Extra data"))
    value))

(defun complain (input what &optional (position (input-position input)))
  "Signal that WHAT is wrong at POSITION, which is told as Python tells it."
  (let ((line 1) (column 1) (characters 0))
    (loop for octet across (input-octets input)
          repeat position
          do (cond ((= octet 10)
                    (incf characters)
                    (incf line)
                    (setf column 1))
                   ((/= (logand octet #xc0) #x80) ; the first of its character
                    (incf characters)
                    (incf column))))
    (malformed "Failed to load JSON: ~a: line ~d column ~d (char ~d)" what line column characters)))

(declaim (inline peek advance space-p))

(defun peek (input)
  "Return the next octet, or 0, which stands nowhere in JSON, at the end."
  (declare (type input input))
  (let ((position (input-position input)) (octets (input-octets input)))
    (if (< position (length octets)) (aref octets position) 0)))

(defun advance (input)
  "Go on by one octet."
  (declare (type input input))
  (incf (input-position input)))

(defun space-p (octet)
  "Return whether OCTET is white space."
  (or (= octet 32) (= octet 10) (= octet 13) (= octet 9)))

(defun skip-space (input)
  "Go on to what is no white space."
  (loop while (space-p (peek input))
        do (advance input)))

(declaim (inline try))
(defun try (input char)
  "Go on behind CHAR and return true, if it is next."
  (when (= (peek input) (char-code char))
    (advance input)
    t))

(defun read-value (input depth)
  "Return the value that comes next, behind white space."
  (declare (type fixnum depth))
  (when (minusp (decf (input-values-left input)))
    (malformed "it has too many values"))
  (when (> depth +deepest+)
    (malformed "Failed to load JSON: arrays or objects are too deep"))
  (skip-space input)
  (case (code-char (peek input))
    (#\" (read-string input))
    (#\{ (read-object input depth))
    (#\[ (read-array input depth))
    (#\t (read-word input "true" :true))
    (#\f (read-word input "false" :false))
    (#\n (read-word input "null" :null))
    (#\N (read-word input "NaN" :nan))
    (#\I (read-word input "Infinity" :infinity))
    ((#\- #\0 #\1 #\2 #\3 #\4 #\5 #\6 #\7 #\8 #\9) (read-number input))
    (t (complain input "Expecting value"))))

(defun read-word (input word value)
  "Go on behind WORD, which is next, and return VALUE."
  (let ((start (input-position input)))
    (loop for char across (the simple-string word)
          do (unless (try input char)
               (complain input "Expecting value" start))))
  value)

(defun read-array (input depth)
  "Return the array that comes next."
  (declare (type fixnum depth))
  (advance input)
  (skip-space input)
  (if (try input #\])
      (vector)
      (let ((values '()))
        (loop
          (push (read-value input (1+ depth)) values)
          (skip-space input)
          (cond ((try input #\,))
                ((try input #\]) (return (coerce (nreverse values) 'simple-vector)))
                (t (complain input "Expecting ',' delimiter")))))))

(defun read-object (input depth)
  "Return the object that comes next."
  (declare (type fixnum depth))
  (advance input)
  (skip-space input)
  (let ((members '()))
    (unless (try input #\})
      (loop
        (skip-space input)
        (unless (= (peek input) (char-code #\"))
          (complain input "Expecting property name enclosed in double quotes"))
        (let ((name (read-string input)))
          (skip-space input)
          (unless (try input #\:)
            (complain input "Expecting ':' delimiter"))
          (push (cons name (read-value input (1+ depth))) members))
        (skip-space input)
        (cond ((try input #\,))
              ((try input #\}) (return))
              (t (complain input "Expecting ',' delimiter")))))
    (setf members (nreverse members))
    (let ((twice (unless (input-twice-p input) (name-twice members))))
      (when twice
        ;; Python says so twice.
        (malformed "Failed to load JSON: Failed to load JSON: duplicate key ~a" (shown twice))))
    (make-object :members members)))

(defun name-twice (members)
  "Return a name that comes twice among MEMBERS, or NIL, in a time that is never near their square."
  (if (< (length members) 20)
      (loop for ((name) . rest) on members
            do (loop for (other) in rest
                     do (when (and (= (length (the simple-string name))
                                      (length (the simple-string other)))
                                   (string= name other))
                          (return-from name-twice name))))
      (let ((names (sort (map 'vector #'car members) #'string<)))
        (loop for place from 1 below (length names)
              when (string= (aref names (1- place)) (aref names place))
                return (aref names place)))))

;;; Strings

(defun read-string (input)
  "Return the string that comes next."
  (declare (type input input) (optimize speed))
  (let* ((octets (input-octets input))
         (opening (input-position input))
         (start (1+ opening))
         (at start)
         (parts '()))
    (declare (type index opening start at))
    (flet ((part ()
             (when (< start at)
               (push (read-text octets start at) parts))))
      (loop
        (let ((octet (if (< at (length octets))
                         (aref octets at)
                         (complain input "Unterminated string starting at" opening))))
          (declare (type (unsigned-byte 8) octet))
          (cond ((= octet (char-code #\"))
                 (part)
                 (setf (input-position input) (1+ at))
                 (return (if (rest parts)
                             (joined (nreverse parts))
                             (or (first parts) ""))))
                ((= octet (char-code #\\))
                 (part)
                 (setf (input-position input) (1+ at))
                 (push (read-escape input opening) parts)
                 (setf start (input-position input)
                       at start))
                ((< octet #x20) (complain input "Invalid control character at" at))
                (t (incf at))))))))

(defun joined (parts)
  "Return PARTS, strings, as one."
  (let ((string (make-string (loop for part in parts sum (length (the simple-string part)))))
        (at 0))
    (dolist (part parts string)
      (replace string (the simple-string part) :start1 at)
      (incf at (length (the simple-string part))))))

(defun read-escape (input opening)
  "Return the character that what comes behind a backslash stands for, as a string.
The string that it is in begins at OPENING."
  (let ((octet (peek input)) (backslash (1- (input-position input))))
    (when (= (input-position input) (length (input-octets input)))
      (complain input "Unterminated string starting at" opening))
    (advance input)
    (string
     (case (code-char octet)
       ((#\" #\\ #\/) (code-char octet))
       (#\n #\Newline)
       (#\t #\Tab)
       (#\r #\Return)
       (#\b #\Backspace)
       (#\f #\Page)
       (#\u (code-char (read-code input)))
       (t (complain input "Invalid \\escape" backslash))))))

(defun read-code (input)
  "Return the code of the character whose four digits come next; two of a surrogate pair are one."
  (let ((code (read-hex input)))
    (when (<= #xd800 code #xdbff)
      (let ((position (input-position input)))
        (if (and (try input #\\) (try input #\u))
            (let ((low (read-hex input)))
              (if (<= #xdc00 low #xdfff)
                  (setf code (+ #x10000 (ash (- code #xd800) 10) (- low #xdc00)))
                  (setf (input-position input) position)))
            (setf (input-position input) position))))
    code))

(defun read-hex (input)
  "Return the number of the four hexadecimal digits that come next."
  (let ((number 0) (start (input-position input)))
    (dotimes (place 4 number)
      (let* ((octet (peek input))
             (digit (and (< octet 128) (digit-char-p (code-char octet) 16))))
        (unless digit
          (complain input "Invalid \\uXXXX escape" (1- start)))
        (setf number (+ (* 16 number) digit))
        (advance input)))))

;;; Numbers

(defun skip-digits (input)
  "Go on behind the digits that come next; return how many there are."
  (let ((start (input-position input)))
    (loop while (<= 48 (peek input) 57)
          do (advance input))
    (- (input-position input) start)))

(defun read-part (input char signs)
  "Go on behind CHAR, one of SIGNS or none, and digits, if that comes next, and return true.
Python ends a number before what is none of it."
  (let ((start (input-position input)))
    (when (try input char)
      (loop for sign across (the simple-string signs)
            until (try input sign))
      (or (plusp (skip-digits input))
          (progn (setf (input-position input) start) nil)))))

(defun read-number (input)
  "Return the number that comes next."
  (let* ((start (input-position input))
         (negative-p (try input #\-))
         (digits (cond ((and negative-p (= (peek input) (char-code #\I)))
                        (setf (input-position input) start)
                        (return-from read-number (read-word input "-Infinity" :-infinity)))
                       ((try input #\0) 1)
                       (t (skip-digits input)))))
    (declare (type fixnum digits))
    (when (zerop digits)
      (complain input "Expecting value" start))
    (let* ((point-p (read-part input #\. ""))
           (exponent-p (or (read-part input #\e "+-") (read-part input #\E "+-")))
           (text (read-text (input-octets input) start (input-position input))))
      (cond ((or point-p exponent-p) (double-in text))
            ((> digits +longest-integer+)
             (malformed "Failed to load JSON: Exceeds the limit (~d digits) for integer string ~
                         conversion: value has ~d digits"
                        +longest-integer+ digits))
            ((> digits +largest-integer+) :huge)
            (t (parse-integer text))))))
