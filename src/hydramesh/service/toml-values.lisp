(defpackage #:hydramesh/service/toml-values
  (:use #:cl)
  (:import-from #:hydramesh/protobuf/json/decimal #:nearest-double)
  (:import-from #:hydramesh/service/toml-source
                #:source-text #:source-position #:fail #:peek #:next-p #:take #:control-p)
  (:export #:read-string #:read-literal-string #:read-plain
           #:moment #:moment-p #:moment-text #:read-decimal)
  (:documentation "TOML's values that hold no others: strings, numbers, booleans, dates and times.

A boolean is :true or :false; a number an integer or a DOUBLE-FLOAT; a date or time a MOMENT."))
(in-package #:hydramesh/service/toml-values)

(defstruct (moment (:constructor make-moment (text)))
  "A date, a time or both, as it was written: no setting is one."
  (text "" :type string))

;;; Strings

(defparameter +escapes+
  `((#\b . #\Backspace) (#\t . #\Tab) (#\n . #\Newline) (#\f . #\Page) (#\r . #\Return)
    (#\" . #\") (#\\ . #\\)))

(defun read-string (source)
  "Read a basic string, of one line or several; its first quote comes next."
  (cond ((take source "\"\"\"")
         (take source (string #\Newline))
         (read-until source "\"\"\"" :escapes t :lines t))
        ((take source "\"") (read-until source "\"" :escapes t))
        (t (fail source "Invalid value"))))

(defun read-literal-string (source)
  "Read a literal string, of one line or several; its first quote comes next."
  (cond ((take source "'''")
         (take source (string #\Newline))
         (read-until source "'''" :lines t))
        ((take source "'") (read-until source "'"))
        (t (fail source "Invalid value"))))

(defun read-until (source quotes &key escapes lines)
  (with-output-to-string (stream)
    (loop
      (let ((character (or (peek source) (fail source "Unterminated string"))))
        (cond ((next-p source quotes)
               (close-string source quotes lines stream)
               (return))
              ((and escapes (char= character #\\))
               (incf (source-position source))
               (read-escape source lines stream))
              ((and (control-p character) (not (and lines (char= character #\Newline))))
               (fail source (format nil "Illegal character ~A in a string"
                                    (character-name character))))
              (t (write-char character stream)
                 (incf (source-position source))))))))

(defun character-name (character)
  (format nil "U+~4,'0X" (char-code character)))

(defun close-string (source quotes lines stream)
  (take source quotes)
  ;; A string of several lines may end in one or two quotes of its own.
  (when lines
    (loop repeat 2
          while (eql (peek source) (char quotes 0))
          do (write-char (char quotes 0) stream)
             (incf (source-position source)))))

(defun read-escape (source lines stream)
  (let* ((character (or (peek source) (fail source "Unterminated string")))
         (meant (cdr (assoc character +escapes+))))
    (cond (meant
           (incf (source-position source))
           (write-char meant stream))
          ((take source "u") (write-char (read-code source 4) stream))
          ((take source "U") (write-char (read-code source 8) stream))
          ((and lines (find character '(#\Space #\Tab #\Newline)))
           (skip-line-end source))
          (t (fail source "Unescaped '\\' in a string")))))

(defun skip-line-end (source)
  "Skip the white space after a backslash, in which there must be a line's end."
  (flet ((skip (characters)
           (loop while (find (peek source) characters)
                 do (incf (source-position source)))))
    (skip '(#\Space #\Tab))
    (unless (eql (peek source) #\Newline)
      (fail source "Unescaped '\\' in a string"))
    (skip '(#\Space #\Tab #\Newline))))

(defun read-code (source digits)
  (let* ((start (source-position source))
         (end (+ start digits))
         (text (source-text source))
         (code (and (<= end (length text))
                    (loop for index from start below end always (digit-char-p (char text index) 16))
                    (parse-integer text :start start :end end :radix 16))))
    (unless code
      (fail source "Invalid hex value"))
    (when (or (<= #xd800 code #xdfff) (>= code char-code-limit))
      (fail source "Escaped character is not a Unicode scalar value"))
    (setf (source-position source) end)
    (code-char code)))

;;; What is not quoted

(defparameter +longest+ 1000 "Characters of a number; reading longer ones would take too long.")

(defun plain-character-p (character)
  (or (char<= #\0 character #\9) (char<= #\a character #\z) (char<= #\A character #\Z)
      (find character "+-_.:")))

(defun read-plain (source)
  "Read a number, a boolean, a date or a time."
  (let* ((start (source-position source))
         (text (source-text source))
         (end (or (position-if-not #'plain-character-p text :start start) (length text)))
         (end (with-time source start end))
         (token (subseq text start end)))
    (when (> (length token) +longest+)
      (fail source (format nil "Number of more than ~D characters" +longest+)))
    (setf (source-position source) end)
    (or (plain-value token)
        (fail source "Invalid value" start))))

(defun with-time (source start end)
  "Return the end of a value whose first part ends at END: a time may follow a date after a space."
  (let ((text (source-text source)))
    (if (and (= (- end start) 10)
             (date-p (subseq text start end))
             (< (1+ end) (length text))
             (char= (char text end) #\Space)
             (digit-char-p (char text (1+ end))))
        (or (position-if-not #'plain-character-p text :start (1+ end)) (length text))
        end)))

(defun plain-value (token)
  (cond ((string= token "true") :true)
        ((string= token "false") :false)
        ((special-float token))
        ((with-base token))
        ((read-decimal token))
        ((moment-text-p token) (make-moment token))))

(defun special-float (token)
  (let ((unsigned (string-left-trim "+-" token)))
    (when (<= (- (length token) (length unsigned)) 1)
      (cond ((string= unsigned "inf")
             (if (char= (char token 0) #\-)
                 sb-ext:double-float-negative-infinity
                 sb-ext:double-float-positive-infinity))
            ((string= unsigned "nan") (sb-kernel:make-double-float #x7ff80000 0))))))

(defun without-underscores (digits radix)
  "Return DIGITS without the underscores between them, or NIL if anything else is not right."
  (and (plusp (length digits))
       (loop for index from 0 below (length digits)
             for previous = nil then character
             for character = (char digits index)
             always (if (char= character #\_)
                        (and previous (char/= previous #\_) (< (1+ index) (length digits)))
                        (and (char< character (code-char 128)) (digit-char-p character radix))))
       (remove #\_ digits)))

(defun with-base (token)
  (when (and (> (length token) 2) (char= (char token 0) #\0))
    (let* ((radix (case (char token 1) (#\x 16) (#\o 8) (#\b 2)))
           (digits (and radix (without-underscores (subseq token 2) radix))))
      (when digits
        (parse-integer digits :radix radix)))))

(defun read-decimal (token)
  "Return the number that TOKEN is, as TOML writes decimal numbers; NIL if it is none."
  (let* ((start (if (and (plusp (length token)) (find (char token 0) "+-")) 1 0))
         (negative (and (= start 1) (char= (char token 0) #\-)))
         (mark (position-if (lambda (character) (find character "eE")) token :start start))
         (point (position #\. token :start start :end mark))
         (whole (without-underscores (subseq token start (or point mark)) 10))
         (fraction (if point (without-underscores (subseq token (1+ point) mark) 10) ""))
         (exponent (if mark (read-exponent (subseq token (1+ mark))) 0)))
    (when (and whole fraction exponent
               (or (= (length whole) 1) (char/= (char whole 0) #\0)))
      (if (or point mark)
          (decimal-float negative (parse-integer (concatenate 'string whole fraction))
                         (- exponent (length fraction)))
          (* (if negative -1 1) (parse-integer whole))))))

(defun read-exponent (token)
  (let* ((start (if (and (plusp (length token)) (find (char token 0) "+-")) 1 0))
         (digits (without-underscores (subseq token start) 10)))
    (when digits
      ;; Beyond this every number is nothing or infinite, and costs much to compute.
      (* (if (and (= start 1) (char= (char token 0) #\-)) -1 1)
         (min (parse-integer digits) 10000)))))

(defun decimal-float (negative digits exponent)
  "Return the double nearest to DIGITS times ten to the power of EXPONENT."
  (let* ((nearest (nearest-double digits exponent))
         (float (if (eq nearest :infinity) sb-ext:double-float-positive-infinity nearest)))
    (if negative (- float) float)))

;;; Dates and times

(defun two-digits (text start low high)
  (and (<= (+ start 2) (length text))
       (every #'digit-char-p (subseq text start (+ start 2)))
       (<= low (parse-integer text :start start :end (+ start 2)) high)))

(defun shaped-p (text pattern)
  "Return whether TEXT begins as PATTERN: a 0 stands for a digit, anything else for itself."
  (and (>= (length text) (length pattern))
       (every (lambda (character wanted)
                (if (char= wanted #\0) (char<= #\0 character #\9) (char= character wanted)))
              text pattern)))

(defun date-p (text)
  (and (= (length text) 10)
       (shaped-p text "0000-00-00")
       (two-digits text 5 1 12)
       (let ((year (parse-integer text :end 4))
             (month (parse-integer text :start 5 :end 7)))
         (and (plusp year)
              (two-digits text 8 1 (case month
                                     (2 (if (and (zerop (mod year 4))
                                                 (or (plusp (mod year 100)) (zerop (mod year 400))))
                                            29 28))
                                     ((4 6 9 11) 30)
                                     (t 31)))))))

(defun time-end (text)
  "Return where the time of day ends with which TEXT begins, or NIL."
  (and (shaped-p text "00:00:00")
       (two-digits text 0 0 23) (two-digits text 3 0 59) (two-digits text 6 0 59)
       (if (and (> (length text) 8) (char= (char text 8) #\.))
           (let ((end (or (position-if-not #'digit-char-p text :start 9) (length text))))
             (and (> end 9) end))
           8)))

(defun zone-p (text)
  (or (string= text "") (string-equal text "z")
      (and (= (length text) 6)
           (find (char text 0) "+-")
           (shaped-p (subseq text 1) "00:00")
           (two-digits text 1 0 23) (two-digits text 4 0 59))))

(defun moment-text-p (text)
  (or (date-p text)
      (eql (time-end text) (length text))
      (and (> (length text) 11)
           (date-p (subseq text 0 10))
           (find (char text 10) "Tt ")
           (let* ((rest (subseq text 11))
                  (end (time-end rest)))
             (and end (zone-p (subseq rest end)))))))
