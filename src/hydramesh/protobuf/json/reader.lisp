(defpackage #:hydramesh/protobuf/json/reader
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire #:index #:malformed)
  (:import-from #:hydramesh/protobuf/text #:read-text)
  (:import-from #:hydramesh/protobuf/json/decimal #:double-in)
  (:export #:read-json #:object #:object-p #:object-members #:shown #:surrogate-p)
  (:documentation "Reads JSON that comes from strangers: neither depth nor long numbers cost what they choose.

It takes what Python's json takes: also the numbers NaN and Infinity, and half of a surrogate pair in
a string. An object is an `object`, an array a simple vector, a string a string; true, false and null
are keywords. Numbers are integers, or doubles if they have a point or an exponent; those that no
number stands for here are :NAN, :INFINITY, :-INFINITY, and :HUGE for an integer beyond any double."))
(in-package #:hydramesh/protobuf/json/reader)

(defconstant +deepest+ 200
  "Arrays and objects within one another.")

(defconstant +longest-integer+ 4300
  "Digits of an integer; Python reads no longer ones.")

(defconstant +largest-integer+ 309
  "Digits of the largest double.")

(defstruct object
  "An object: names and values, in pairs, as they came. No name comes twice."
  (members '() :type list))

(defstruct (input (:constructor make-input (octets values-left)))
  "What is read, up to where, and how many values more it may have."
  (octets nil :type octets)
  (position 0 :type index)
  (values-left 0 :type fixnum))

(defun read-json (octets &optional (most-values most-positive-fixnum))
  "Return the value that OCTETS are in JSON.
Signal MALFORMED if they are none, or it has more than MOST-VALUES values within it."
  (let* ((input (make-input octets most-values))
         (value (read-value input 0)))
    (skip-space input)
    (unless (= (input-position input) (length octets))
      (complain input "Extra data"))
    value))

(defun surrogate-p (char)
  "Return whether CHAR is half of a pair, and no character."
  (<= #xd800 (char-code char) #xdfff))

(defun shown (value)
  "Return VALUE as it is shown in a reason, not at its full length."
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
    (substitute-if (code-char #xfffd) #'surrogate-p
                   (if (> (length text) 100)
                       (concatenate 'string (subseq text 0 100) "...")
                       text))))

(defun complain (input what)
  "Signal that WHAT is wrong at the position of INPUT, which is told as Python tells it."
  (let ((line 1) (column 1) (characters 0))
    (loop for octet across (input-octets input)
          repeat (input-position input)
          do (cond ((= octet 10)
                    (incf characters)
                    (incf line)
                    (setf column 1))
                   ((/= (logand octet #xc0) #x80) ; the first of its character
                    (incf characters)
                    (incf column))))
    (malformed "Failed to load JSON: ~a: line ~d column ~d (char ~d)" what line column characters)))

(declaim (inline peek advance))

(defun peek (input)
  "Return the next octet, or NIL."
  (let ((position (input-position input)) (octets (input-octets input)))
    (if (< position (length octets)) (aref octets position) nil)))

(defun advance (input &optional (count 1))
  "Go on by COUNT octets."
  (incf (input-position input) count))

(defun skip-space (input)
  "Go on to what is no white space."
  (loop while (member (peek input) '(32 9 10 13))
        do (advance input)))

(defun try (input char)
  "Go on behind CHAR and return true, if it is next."
  (when (eql (peek input) (char-code char))
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
  (case (code-char (or (peek input) 0))
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
  (loop for char across word
        do (unless (try input char)
             (complain input "Expecting value")))
  value)

(defun read-array (input depth)
  "Return the array that comes next."
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
  (advance input)
  (skip-space input)
  (let ((members '()))
    (unless (try input #\})
      (loop
        (skip-space input)
        (unless (eql (peek input) (char-code #\"))
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
    (check-names members)
    (make-object :members members)))

(defun check-names (members)
  "Signal MALFORMED if a name comes twice among MEMBERS, in a time that nobody can make their square."
  (let* ((names (sort (map 'vector #'car members) #'string<))
         (twice (loop for place from 1 below (length names)
                      when (string= (aref names (1- place)) (aref names place))
                        return (aref names place))))
    (when twice
      ;; Python says so twice.
      (malformed "Failed to load JSON: Failed to load JSON: duplicate key ~a" (shown twice)))))

;;; Strings

(defun read-string (input)
  "Return the string that comes next."
  (advance input)
  (let ((octets (input-octets input))
        (start (input-position input))
        (parts '()))
    (declare (type index start))
    (flet ((part (end)
             (when (< start end)
               (push (read-text octets start end) parts))))
      (loop
        (let ((octet (peek input)))
          (cond ((null octet) (complain input "Unterminated string"))
                ((< octet #x20) (complain input "Invalid control character"))
                ((= octet (char-code #\"))
                 (part (input-position input))
                 (advance input)
                 (return (if (rest parts)
                             (apply-concatenate (nreverse parts))
                             (or (first parts) ""))))
                ((= octet (char-code #\\))
                 (part (input-position input))
                 (advance input)
                 (push (read-escape input) parts)
                 (setf start (input-position input)))
                (t (advance input))))))))

(defun apply-concatenate (parts)
  "Return PARTS, strings and characters, as one string."
  (let ((string (make-string (loop for part in parts
                                   sum (if (characterp part) 1 (length part)))))
        (at 0))
    (dolist (part parts string)
      (cond ((characterp part)
             (setf (schar string at) part)
             (incf at))
            (t
             (replace string part :start1 at)
             (incf at (length part)))))))

(defun read-escape (input)
  "Return the character that what comes behind a backslash stands for, as a string."
  (let ((octet (or (peek input) 0)))
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
       (t (complain input "Invalid \\escape"))))))

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
  (let ((number 0))
    (dotimes (place 4 number)
      (let* ((octet (peek input))
             (digit (and octet (< octet 128) (digit-char-p (code-char octet) 16))))
        (unless digit
          (complain input "Invalid \\uXXXX escape"))
        (setf number (+ (* 16 number) digit))
        (advance input)))))

;;; Numbers

(defun skip-digits (input)
  "Go on behind the digits that come next; return how many there are."
  (let ((start (input-position input)))
    (loop while (let ((octet (peek input))) (and octet (<= 48 octet 57)))
          do (advance input))
    (- (input-position input) start)))

(defun read-number (input)
  "Return the number that comes next."
  (let* ((start (input-position input))
         (negative-p (try input #\-))
         (digits (progn
                   (when (and negative-p (eql (peek input) (char-code #\I)))
                     (return-from read-number (read-word input "Infinity" :-infinity)))
                   (if (try input #\0) 1 (skip-digits input))))
         (double-p nil))
    (when (zerop digits)
      (complain input "Expecting value"))
    (flet ((part (char &rest signs)
             ;; Python ends a number before what is none of it; whatever comes then is wrong.
             (when (try input char)
               (setf double-p t)
               (dolist (sign signs)
                 (when (try input sign)
                   (return)))
               (when (zerop (skip-digits input))
                 (complain input "Expecting value")))))
      (part #\.)
      (if (eql (peek input) (char-code #\E)) (part #\E #\+ #\-) (part #\e #\+ #\-)))
    (let ((text (read-text (input-octets input) start (input-position input))))
      (cond (double-p (double-in text))
            ((> digits +longest-integer+)
             (complain input "Exceeds the limit for integers"))
            ((> digits +largest-integer+) :huge)
            (t (parse-integer text))))))
