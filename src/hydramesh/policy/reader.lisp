(defpackage #:hydramesh/policy/reader
  (:use #:cl)
  (:import-from #:hydramesh/policy/limits #:+forms+ #:+depth+ #:+atom+)
  (:import-from #:hydramesh/policy/mistakes #:note)
  (:export #:form #:form-kind #:form-value #:form-position #:form-text #:read-forms #:decoded)
  (:documentation "Reads the text of a policy into forms.

This is not Lisp's reader: nothing is evaluated or interned, and all of it is bounded. A form keeps where
it begins. Words are ASCII, so that no letter of another script passes for one of theirs."))
(in-package #:hydramesh/policy/reader)

(defstruct (form (:copier nil))
  "KIND says what VALUE is: a :LIST of forms, a string for :WORD, :KEYWORD (without its colon) and :TEXT, a
rational :NUMBER, or the minutes since midnight of a :CLOCK. A :WRONG one was noted as a mistake already."
  (kind :wrong :type symbol :read-only t)
  (value nil :read-only t)
  (position 0 :type fixnum :read-only t))

(defun form-text (form)
  "Return FORM, which is no list, as it may be written."
  (let ((value (form-value form)))
    (ecase (form-kind form)
      (:word value)
      (:keyword (format nil ":~A" value))
      (:text (format nil "~S" value))
      (:number (number-text value))
      (:clock (format nil "~D:~2,'0D" (floor value 60) (mod value 60)))
      (:list "(…)")
      (:wrong "…"))))

(defun number-text (number)
  (multiple-value-bind (whole billionths) (truncate (abs (* number (expt 10 9))) (expt 10 9))
    (format nil "~:[~;-~]~D~@[.~A~]" (minusp number) whole
            (and (plusp billionths)
                 (string-right-trim "0" (format nil "~9,'0D" billionths))))))

;;; Text

(defparameter +lenient+ (list :utf-8 :replacement (code-char #xdcff))
  "UTF-8 in which what is none becomes half of a surrogate pair, which no text has.")

(defconstant +mark+ #xfeff "The code of the mark with which some editors begin files in UTF-8.")

(defun decoded (octets)
  "Return OCTETS as text. What is not UTF-8 in it becomes what READ-FORMS takes for a mistake."
  (let ((text (sb-ext:octets-to-string octets :external-format +lenient+)))
    (coerce (if (and (plusp (length text)) (= +mark+ (char-code (char text 0)))) (subseq text 1) text)
            '(simple-array character (*)))))

(defstruct (source (:constructor make-source (text)) (:copier nil))
  "A TEXT that was read up to POSITION. LEFT is how many more forms it may have. OPEN are the positions of the
lists that are not closed yet, the innermost first, each with where its line begins; what was SEEN last is on
the line that begins at LINE. DOUBTFUL is the first list that seems to lack its end, as
what comes after it begins further to the left: its position, and where that is."
  (text "" :type (simple-array character (*)) :read-only t)
  (position 0 :type fixnum)
  (left +forms+ :type fixnum)
  (open '() :type list)
  (line 0 :type fixnum)
  (seen 0 :type fixnum)
  (doubtful nil))

(define-condition ended (error) ()
  (:documentation "Reading cannot go on; why was noted."))

(defun give-up (position remedy control &rest arguments)
  (apply #'note position remedy control arguments)
  (error 'ended))

(declaim (inline peek))
(defun peek (source)
  (let ((text (source-text source)) (position (source-position source)))
    (when (< position (length text))
      (schar text position))))

(defun space-p (character)
  (member character '(#\Space #\Tab #\Newline #\Return)))

(defun ends-word-p (character)
  (or (space-p character) (find character "()\";")))

(defun word-character-p (character)
  (or (char<= #\a character #\z) (char<= #\A character #\Z) (char<= #\0 character #\9)
      (find character ".-_/*+<>=%:")))

(defun skip-space (source)
  (loop for character = (peek source)
        while character
        do (cond ((space-p character) (incf (source-position source)))
                 ((char= character #\;)
                  (setf (source-position source)
                        (or (position #\Newline (source-text source) :start (source-position source))
                            (length (source-text source)))))
                 (t (return)))))

;;; Forms

(defun read-forms (text)
  "Return the forms in TEXT. What is no form is noted as a mistake; if reading cannot go on behind it, a
:WRONG form is all that there is."
  (let ((source (make-source text))
        (forms '()))
    (handler-case
        (loop
          (skip-space source)
          (unless (peek source)
            (return))
          (push (read-form source) forms))
      (ended () (setf forms (list (make-form)))))
    (nreverse forms)))

(defun read-form (source)
  (let ((start (source-position source)))
    (when (minusp (decf (source-left source)))
      (give-up start "write fewer, shorter rules" "a policy has at most ~D words, texts, numbers and lists"
               +forms+))
    (case (peek source)
      (#\( (read-list source start))
      (#\) (incf (source-position source))
       (note start "take it out, or look for a ( that is missing before it" "this ) closes nothing")
       (make-form :position start))
      (#\" (read-text source start))
      (t (read-atom source start)))))

(defun line-of (source start)
  "Return where the line of START begins, which is behind all that this was asked of before."
  ;; No part of a long line is looked at twice.
  (let ((newline (position #\Newline (source-text source) :start (shiftf (source-seen source) start) :end start
                                                          :from-end t)))
    (when newline
      (setf (source-line source) (1+ newline)))
    (source-line source)))

(defun doubt (source start line)
  "Note that a list begins at START, though one further to the right or below it is still open."
  (destructuring-bind (&optional around . line-around) (first (source-open source))
    (when (and around
               (null (source-doubtful source))
               (/= line line-around)
               (<= (- start line) (- around line-around)))
      (setf (source-doubtful source) (cons around start)))))

(defun read-list (source start)
  (let ((line (line-of source start)))
    (doubt source start line)
    (push (cons start line) (source-open source)))
  (when (> (length (source-open source)) +depth+)
    (give-up start "say it in several rules" "lists are nested more than ~D deep" +depth+))
  (incf (source-position source))
  (let ((items '()))
    (loop
      (skip-space source)
      (case (peek source)
        ((nil) (unclosed source))
        (#\) (incf (source-position source))
         (pop (source-open source))
         (return (make-form :kind :list :value (nreverse items) :position start)))
        (t (push (read-form source) items))))))

(defun unclosed (source)
  (destructuring-bind (list . next) (or (source-doubtful source) (list (car (first (source-open source)))))
    (give-up list
             (if next
                 (format nil "a ) is missing before line ~D"
                         (1+ (count #\Newline (source-text source) :end next)))
                 "a ) is missing at its end")
             "the list that begins here is not closed")))

(defun read-text (source start)
  (let ((characters '()) (count 0))
    (incf (source-position source))
    (loop
      (let ((character (peek source)))
        (cond ((or (null character) (char= character #\Newline))
               (note start "end it with \"" "this text does not end on its line")
               (return (make-form :position start)))
              ((char= character #\")
               (incf (source-position source))
               (return (text-form source start (coerce (nreverse characters) 'simple-string) count)))
              (t
               (when (char= character #\\)
                 (incf (source-position source))
                 (setf character (peek source))
                 (unless (find character '(#\" #\\))
                   (note (1- (source-position source)) "write \\\" for a quotation mark, \\\\ for a backslash"
                         "a backslash stands before what needs none")
                   (setf character nil)))
               (when character
                 (incf count)
                 (push character characters)
                 (incf (source-position source)))))))))

(defun text-form (source start value count)
  (declare (ignore source))
  (let ((strange (find-if #'unprintable-p value)))
    (cond ((> count +atom+)
           (note start (format nil "a text has at most ~D characters" +atom+) "this text is too long")
           (make-form :position start))
          (strange
           (note start "write what can be seen, in UTF-8" "this text has ~A in it"
                 (character-text strange))
           (make-form :position start))
          (t (make-form :kind :text :value value :position start)))))

(defun unprintable-p (character)
  (and (char/= character #\Space)
       (member (sb-unicode:general-category character) '(:cc :cf :cs :co :cn :zl :zp :zs))))

(defun code-text (character)
  (format nil "U+~4,'0X" (char-code character)))

(defun read-atom (source start)
  (let* ((text (source-text source))
         (end (or (position-if #'ends-word-p text :start start) (length text)))
         (strange (position-if-not #'word-character-p text :start start :end end)))
    (setf (source-position source) end)
    (cond (strange
           (note strange "words are of ASCII letters and . - _ / :, texts are in quotation marks"
                 "~A is no part of a word" (character-text (schar text strange)))
           (make-form :position start))
          ((> (- end start) +atom+)
           (note start (format nil "one has at most ~D characters" +atom+) "this word is too long")
           (make-form :position start))
          (t (atom-form source start end)))))

(defun character-text (character)
  (cond ((<= #xd800 (char-code character) #xdfff) "what is not UTF-8")
        ((unprintable-p character) (format nil "the character ~A" (code-text character)))
        (t (format nil "~A (~A, ~A)" character (code-text character)
                   (substitute #\Space #\_ (or (char-name character) "without a name"))))))

(defun atom-form (source start end)
  (let ((text (source-text source)))
    (flet ((form (kind value)
             (make-form :kind kind :value value :position start)))
      (cond ((char= (schar text start) #\:)
             (form :keyword (subseq text (1+ start) end)))
            ((digit-at-p text start end) (read-number source start end))
            (t (form :word (subseq text start end)))))))

(defun digit-at-p (text start end)
  "Return whether a number begins at START."
  (let ((first (if (find (schar text start) "+-.") (1+ start) start)))
    (and (< first end) (char<= #\0 (schar text first) #\9))))

(defun digits-end (text start end)
  (or (position-if-not (lambda (character) (char<= #\0 character #\9)) text :start start :end end) end))

(defun read-number (source start end)
  "Read a number, and leave a unit that is written right behind it as the next word."
  (let* ((text (source-text source))
         (first (if (char= (schar text start) #\-) (1+ start) start))
         (point (digits-end text first end)))
    (cond ((or (char= (schar text start) #\+) (char= (schar text start) #\.)
               (> (- point first) 15))
           (wrong-number start))
          ((and (< point end) (char= (schar text point) #\:))
           (read-clock text start point end))
          (t
           (let ((last (if (and (< point end) (char= (schar text point) #\.))
                           (digits-end text (1+ point) end)
                           point)))
             (cond ((or (= last (1+ point)) (> (- last point) 10)
                        (and (< last end) (find (schar text last) ".:")))
                    (wrong-number start))
                   (t
                    (setf (source-position source) last)
                    (make-form :kind :number :position start
                               :value (* (if (= first start) 1 -1)
                                         (decimal text first point last))))))))))

(defun decimal (text start point end)
  (+ (parse-integer text :start start :end point)
     (if (= point end)
         0
         (/ (parse-integer text :start (1+ point) :end end)
            (expt 10 (- end point 1))))))

(defun wrong-number (start)
  (note start "write it as 12 or 0.5, with 15 digits before the point and 9 after it at most"
        "this is not a number")
  (make-form :position start))

(defun read-clock (text start point end)
  (let ((hour (and (<= (- point start) 2) (parse-integer text :start start :end point)))
        (minute (and (= (- end point) 3) (parse-integer text :start (1+ point) :end end :junk-allowed t))))
    (cond ((and hour minute (char/= (schar text (1+ point)) #\-) (char/= (schar text (1+ point)) #\+)
                (<= 0 minute 59) (or (<= 0 hour 23) (and (= hour 24) (= minute 0))))
           (make-form :kind :clock :value (+ (* 60 hour) minute) :position start))
          (t
           (note start "write it as 9:30 or 16:00, up to 24:00" "this is not a time of day")
           (make-form :position start)))))
