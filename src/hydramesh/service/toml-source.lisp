(defpackage #:hydramesh/service/toml-source
  (:use #:cl)
  (:export #:source #:make-source #:source-text #:source-position
           #:malformed-toml #:fail
           #:peek #:next-p #:take #:skip-while #:end-p #:control-p)
  (:documentation "A text that is read as TOML: where reading has got to, and how it fails there."))
(in-package #:hydramesh/service/toml-source)

(deftype text () '(simple-array character (*)))

(defstruct (source (:constructor make-source (text)))
  (text "" :type text)
  (position 0 :type fixnum))

(define-condition malformed-toml (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "A text is not TOML. What is printed says why and where: the line and the column."))

(defun fail (source reason &optional (position (source-position source)))
  "Signal MALFORMED-TOML for REASON, a text without the place."
  (let* ((text (source-text source))
         (newline (position #\Newline text :end position :from-end t)))
    (error 'malformed-toml
           :reason (if (< position (length text))
                       (format nil "~A (at line ~D, column ~D)" reason
                               (1+ (count #\Newline text :end position))
                               (- position (or newline -1)))
                       (format nil "~A (at end of document)" reason)))))

(declaim (inline peek end-p))

(defun peek (source &optional (ahead 0))
  "Return the next character, or that AHEAD of it; NIL if the text ends before."
  (let ((position (+ (source-position source) ahead))
        (text (source-text source)))
    (declare (type text text) (type fixnum position))
    (when (< position (length text))
      (char text position))))

(defun end-p (source)
  "Return whether everything has been read."
  (>= (source-position source) (length (source-text source))))

(defun next-p (source string)
  "Return whether STRING comes next."
  (let ((end (+ (source-position source) (length string))))
    (and (<= end (length (source-text source)))
         (string= string (source-text source) :start2 (source-position source) :end2 end))))

(defun take (source string)
  "Go past STRING if it comes next; return whether it does."
  (when (next-p source string)
    (incf (source-position source) (length string))))

(defun skip-while (source test)
  "Go past the characters that pass TEST; return them."
  (let* ((start (source-position source))
         (text (source-text source))
         (end (or (position-if-not test text :start start) (length text))))
    (setf (source-position source) end)
    (subseq text start end)))

(defun control-p (character)
  "Return whether CHARACTER is one that TOML allows in no comment or string. Tabs are allowed."
  (let ((code (char-code character)))
    (or (<= 0 code 8) (<= 10 code 31) (= code 127))))
