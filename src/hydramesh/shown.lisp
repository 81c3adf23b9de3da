(defpackage #:hydramesh/shown
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:shown #:shown-text #:printable #:word #:counted #:+name+ #:+message+)
  (:documentation "What came from elsewhere, as text that is safe to show on a terminal or in a log.

Names of workers and models, messages of errors and what files hold come from others. A terminal obeys
escape sequences in them, a log takes a line break for a new entry, and direction marks make a name
look like another."))
(in-package #:hydramesh/shown)

(defconstant +name+ 256 "Characters that are shown of a name.")
(defconstant +message+ 4000 "Characters that are shown of a message.")
(defconstant +value+ 200 "Characters that are shown of a value in a file.")

(defun within-p (code ranges)
  (loop for (low high) in ranges thereis (<= low code high)))

(defparameter +controls+ '((#x00 #x08) (#x0b #x1f) (#x7f #x9f)))

(defparameter +directions+ '((#x2028 #x202e) (#x2066 #x206f))
  "Line and paragraph separators; embeddings, overrides and isolates of text direction.")

(defparameter +unseen+
  '((#xad #xad) (#x61c #x61c) (#x180e #x180e) (#x200b #x200f) (#x2060 #x2065) (#xfeff #xfeff)
    (#xfff9 #xfffb) (#xe0000 #xe0fff))
  "Characters without a glyph: two names that differ in them alone look the same.")

(defparameter +surrogates+ '((#xd800 #xdfff)))

(defparameter +not-in-a-text+ (append +controls+ +directions+ +surrogates+)
  "Text may have lines, and its letters joined or its direction marked as its script needs it.")

(defparameter +not-in-a-line+ (append '((#x09 #x0a)) +not-in-a-text+ +unseen+))

(defun escape-character (character stream)
  (let ((code (char-code character)))
    (format stream (cond ((< code #x100) "\\x~(~2,'0x~)")
                         ((< code #x10000) "\\u~(~4,'0x~)")
                         (t "\\U~(~8,'0x~)"))
            code)))

(defun escaped (text hidden)
  (if (find-if (lambda (character) (within-p (char-code character) hidden)) text)
      (with-output-to-string (stream)
        (loop for character across text
              do (if (within-p (char-code character) hidden)
                     (escape-character character stream)
                     (write-char character stream))))
      text))

(defun cut (text most)
  (if (<= (length text) most)
      text
      (concatenate 'string (subseq text 0 (1- most)) "…")))

(defun shown (text &optional (most +name+))
  "Return TEXT as one line of MOST characters or fewer before what cannot be seen is escaped."
  (escaped (cut text most) +not-in-a-line+))

(defun shown-text (text &optional most)
  "Return a TEXT of several lines."
  (let ((text (remove #\Return text)))
    (escaped (if most (cut text most) text) +not-in-a-text+)))

(defun word (enum value)
  "Return the name of VALUE of the schema's ENUM, a symbol, in lower case; newer members send values
unknown here."
  (string-downcase (or (pb:enum-name enum value) "unknown")))

(defun counted (number noun)
  "Return NUMBER and NOUN, a regular English one, which is in the plural unless there is one of it."
  (format nil "~D ~A~P" number noun number))

(defun printable-p (character)
  (or (char= character #\Space)
      (not (member (sb-unicode:general-category character)
                   '(:cc :cf :cs :co :cn :zl :zp :zs)))))

(defun printable (text)
  "Return TEXT, which may be anything, as a line of a terminal can show it: its first 200 characters,
in ASCII if any of them has no glyph."
  (let ((text (if (> (length text) +value+)
                  (concatenate 'string (subseq text 0 +value+) "…")
                  text)))
    (if (every #'printable-p text)
        text
        (with-output-to-string (stream)
          (loop for character across text
                do (case character
                     (#\\ (write-string "\\\\" stream))
                     (#\Newline (write-string "\\n" stream))
                     (#\Return (write-string "\\r" stream))
                     (#\Tab (write-string "\\t" stream))
                     (t (if (char<= #\Space character #\~)
                            (write-char character stream)
                            (escape-character character stream)))))))))
