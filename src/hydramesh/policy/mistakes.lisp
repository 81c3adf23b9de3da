(defpackage #:hydramesh/policy/mistakes
  (:use #:cl)
  (:import-from #:hydramesh/policy/limits #:+mistakes+)
  (:import-from #:hydramesh/service/close-match #:close-match)
  (:import-from #:hydramesh/shown #:printable)
  (:export #:mistake #:mistake-line #:mistake-column #:mistake-what #:mistake-remedy
           #:policy-errors #:policy-errors-name #:policy-errors-list #:policy-errors-left-out
           #:policy-errors-lines
           #:noting-mistakes #:note #:suggestion #:listed)
  (:documentation "What is wrong with a policy, where, and what would be right.

Reading and checking go on after a mistake, so that all of them are told at once."))
(in-package #:hydramesh/policy/mistakes)

(defstruct (mistake (:copier nil))
  "LINE and COLUMN count from 1. WHAT is wrong there, and REMEDY says what would be right."
  (line 1 :type (integer 1) :read-only t)
  (column 1 :type (integer 1) :read-only t)
  (what "" :type string :read-only t)
  (remedy "" :type string :read-only t))

(define-condition policy-errors (error)
  ((name :initarg :name :reader policy-errors-name
         :documentation "What the policy was read from.")
   (list :initarg :list :reader policy-errors-list
         :documentation "Its MISTAKEs, in the order of lines.")
   (left-out :initarg :left-out :reader policy-errors-left-out
             :documentation "How many more there are."))
  (:report (lambda (condition stream)
             (format stream "~{~A~^~%~}" (policy-errors-lines condition))))
  (:documentation "A text is no policy. What is printed has a line for each mistake."))

(defun policy-errors-lines (condition)
  "Return what CONDITION says as a list of lines: NAME:LINE:COLUMN: what; what would be right."
  (let ((name (printable (policy-errors-name condition))))
    (append (loop for mistake in (policy-errors-list condition)
                  collect (format nil "~A:~D:~D: ~A; ~A" name (mistake-line mistake)
                                  (mistake-column mistake) (mistake-what mistake)
                                  (mistake-remedy mistake)))
            (unless (zerop (policy-errors-left-out condition))
              (list (format nil "~A: and ~D more" name (policy-errors-left-out condition)))))))

;;; Collecting them

(defvar *noted* nil "What was noted of the text that is read now: lists of a position, what and remedy.")

(defun note (position remedy control &rest arguments)
  "Note that at POSITION of the text there is what FORMAT makes of CONTROL and ARGUMENTS; return NIL."
  (push (list position (apply #'format nil control arguments) remedy) *noted*)
  nil)

(defmacro noting-mistakes ((name text) &body body)
  "Return the value of BODY, which reads TEXT, a string that came from NAME.
Signal POLICY-ERRORS if a mistake was noted meanwhile."
  `(let ((*noted* '()))
     (prog1 (progn ,@body)
       (when *noted*
         (refuse ,name ,text *noted*)))))

(defun refuse (name text noted)
  (let* ((sorted (sort (remove-duplicates (reverse noted) :test #'equal :from-end t) #'< :key #'first))
         (told (subseq sorted 0 (min +mistakes+ (length sorted)))))
    (error 'policy-errors :name name
                          :list (loop for (position what remedy) in told
                                      collect (placed text position what remedy))
                          :left-out (- (length sorted) (length told)))))

(defun placed (text position what remedy)
  "Return the mistake at POSITION of TEXT."
  (let* ((position (min position (length text)))
         (newline (position #\Newline text :end position :from-end t)))
    (make-mistake :line (1+ (count #\Newline text :end position))
                  :column (- position (or newline -1))
                  :what what
                  :remedy remedy)))

;;; What would be right

(defun listed (words)
  "Return WORDS as one text."
  (format nil "~{~A~^, ~}" words))

(defconstant +suggested+ (* 10 +mistakes+)
  "Mistakes for which a word that is close is looked for, which takes a millisecond each.")

(defun suggestion (word words all)
  "Return what to write in place of WORD: the one of WORDS that is close to it, else what ALL says."
  (let ((close (and (null (nthcdr +suggested+ *noted*))
                    (close-match (subseq word 0 (min 100 (length word))) words))))
    (if close
        (format nil "did you mean ~A?" close)
        (format nil "~A ~A" all (listed words)))))
