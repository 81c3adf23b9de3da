(defpackage #:hydramesh/service/toml
  (:use #:cl)
  (:import-from #:hydramesh/service/toml-source
                #:make-source #:source-position #:malformed-toml #:fail
                #:peek #:take #:skip-while #:end-p #:control-p)
  (:import-from #:hydramesh/service/toml-values
                #:read-string #:read-literal-string #:read-plain #:moment-p #:moment-text)
  (:export #:parse-toml #:malformed-toml #:nested-too-deeply
           #:table #:table-p #:table-entries #:tables-p #:tables-list #:moment-p #:moment-text)
  (:documentation "TOML 1.0, read whole: a text becomes a TABLE.

Values are strings, integers, DOUBLE-FLOATs, :true and :false, MOMENTs, simple vectors for arrays,
TABLEs, and TABLES for what [[headers]] make."))
(in-package #:hydramesh/service/toml)

(defparameter +deepest+ 100 "Arrays and tables in each other; reading them takes stack.")

(define-condition nested-too-deeply (error) ()
  (:documentation "Arrays and inline tables are in each other more than a hundred deep."))

(defstruct table
  "CLOSED: no later header or key may add to it: it was written inline. DEFINED: a header made it, or
keys of an earlier header did, so that none may again."
  (values (make-hash-table :test 'equal) :type hash-table)
  (keys '() :type list)
  (closed nil)
  (defined nil))

(defstruct tables
  "What [[headers]] of one name make; the latest comes first."
  (list '() :type list))

(defun table-entries (table)
  "Return the keys and values of TABLE as an alist, in the order in which they were written."
  (loop for key in (reverse (table-keys table))
        collect (cons key (gethash key (table-values table)))))

(defun table-get (table key)
  (gethash key (table-values table)))

(defun table-put (table key value)
  (push key (table-keys table))
  (setf (gethash key (table-values table)) value))

;;; Space between things

(defun space-p (character)
  (or (char= character #\Space) (char= character #\Tab)))

(defun skip-spaces (source)
  (skip-while source #'space-p))

(defun skip-comment (source)
  (when (take source "#")
    (skip-while source (lambda (character) (not (control-p character))))
    (unless (or (end-p source) (eql (peek source) #\Newline))
      (fail source "Illegal character in a comment"))))

(defun skip-lines (source)
  "Skip spaces, comments and the ends of lines."
  (loop
    (skip-while source (lambda (character) (or (space-p character) (char= character #\Newline))))
    (unless (eql (peek source) #\#)
      (return))
    (skip-comment source)))

(defun end-line (source)
  (skip-spaces source)
  (skip-comment source)
  (unless (or (end-p source) (take source (string #\Newline)))
    (fail source "Expected newline or end of document after a statement")))

;;; Keys

(defun bare-p (character)
  (or (char<= #\a character #\z) (char<= #\A character #\Z) (char<= #\0 character #\9)
      (char= character #\-) (char= character #\_)))

(defun read-simple-key (source)
  (case (peek source)
    (#\" (if (and (eql (peek source 1) #\") (eql (peek source 2) #\"))
             (fail source "Invalid initial character for a key part")
             (read-string source)))
    (#\' (if (and (eql (peek source 1) #\') (eql (peek source 2) #\'))
             (fail source "Invalid initial character for a key part")
             (read-literal-string source)))
    (t (let ((key (skip-while source #'bare-p)))
         (if (string= key "")
             (fail source "Invalid initial character for a key part")
             key)))))

(defun read-key (source)
  "Return the parts of a dotted key."
  (loop collect (read-simple-key source)
        do (skip-spaces source)
        while (take source ".")
        do (skip-spaces source)))

;;; Values

(defun read-value (source depth)
  (when (> depth +deepest+)
    (error 'nested-too-deeply))
  (case (peek source)
    ((nil) (fail source "Invalid value"))
    (#\" (read-string source))
    (#\' (read-literal-string source))
    (#\[ (read-array source depth))
    (#\{ (read-inline-table source depth))
    (t (read-plain source))))

(defun read-array (source depth)
  (take source "[")
  (let ((items '()))
    (loop
      (skip-lines source)
      (when (take source "]")
        (return))
      (push (read-value source (1+ depth)) items)
      (skip-lines source)
      (unless (take source ",")
        (if (take source "]")
            (return)
            (fail source "Unclosed array"))))
    (coerce (nreverse items) 'simple-vector)))

(defun read-inline-table (source depth)
  (take source "{")
  (skip-spaces source)
  (let ((table (make-table)))
    (unless (take source "}")
      (loop
        (skip-spaces source)
        (read-pair source table depth #'step-inline)
        (skip-spaces source)
        (cond ((take source "}") (return))
              ((not (take source ",")) (fail source "Unclosed inline table")))))
    (setf (table-closed table) t)
    table))

(defun read-pair (source table depth step)
  "Read a key and its value into TABLE, or the one below it that STEP leads to."
  (let ((start (source-position source))
        (key (read-key source)))
    (unless (take source "=")
      (fail source "Expected '=' after a key in a key/value pair"))
    (skip-spaces source)
    (let ((value (read-value source (1+ depth)))
          (place table))
      (dolist (part (butlast key))
        (setf place (or (funcall step place part)
                        (fail source "Cannot overwrite a value" start))))
      (let ((stem (first (last key))))
        (when (nth-value 1 (table-get place stem))
          (fail source "Cannot overwrite a value" start))
        (table-put place stem value)))))

(defun step-inline (table part)
  "Return the table PART of TABLE, made if need be; NIL if it is something else, or complete."
  (let ((found (table-get table part)))
    (cond ((null found) (table-put table part (make-table)))
          ((and (table-p found) (not (table-closed found))) found))))

;;; Statements

(defun step-header (table part)
  "As STEP-INLINE; of [[tables]] it is the latest."
  (let ((found (table-get table part)))
    (if (tables-p found)
        (first (tables-list found))
        (step-inline table part))))

(defun open-table (root source)
  "Read the rest of a [header]; return its table."
  (let ((start (source-position source))
        (key (read-header source "]")))
    (let* ((place (place-of root key source start))
           (stem (first (last key)))
           (found (or (table-get place stem) (table-put place stem (make-table)))))
      (unless (and (table-p found) (not (table-closed found)) (not (table-defined found)))
        (fail source "Cannot declare a table twice, or what is no table" start))
      (setf (table-defined found) t)
      found)))

(defun open-next-table (root source)
  "Read the rest of a [[header]]; return its new table."
  (let ((start (source-position source))
        (key (read-header source "]]")))
    (let* ((place (place-of root key source start))
           (stem (first (last key)))
           (found (or (table-get place stem) (table-put place stem (make-tables)))))
      (unless (tables-p found)
        (fail source "Cannot overwrite a value" start))
      (first (push (make-table :defined t) (tables-list found))))))

(defun read-header (source end)
  (skip-spaces source)
  (prog1 (read-key source)
    (unless (take source end)
      (fail source (format nil "Expected '~A' at the end of a table declaration" end)))))

(defun place-of (root key source start)
  (let ((place root))
    (dolist (part (butlast key) place)
      (setf place (or (step-header place part)
                      (fail source "Cannot overwrite a value" start))))))

(defun read-statements (source)
  (let* ((root (make-table))
         (current root)
         (opened '()))
    (flet ((step-dotted (table part)
             ;; Keys under one header may share tables, but no later header may add to them.
             (let ((found (step-inline table part)))
               (when (and found (not (table-defined found)))
                 (push found opened)
                 found)))
           (close-opened ()
             (dolist (table opened)
               (setf (table-defined table) t))
             (setf opened '())))
      (loop
        (skip-lines source)
        (cond ((end-p source) (return root))
              ((take source "[[")
               (close-opened)
               (setf current (open-next-table root source)))
              ((take source "[")
               (close-opened)
               (setf current (open-table root source)))
              (t (read-pair source current 0 #'step-dotted)))
        (end-line source)))))

(defun with-plain-newlines (text)
  (let ((out (make-string-output-stream)))
    (loop for index from 0 below (length text)
          for character = (char text index)
          unless (and (char= character #\Return)
                      (< (1+ index) (length text))
                      (char= (char text (1+ index)) #\Newline))
            do (write-char character out))
    (coerce (get-output-stream-string out) '(simple-array character (*)))))

(defun parse-toml (text)
  "Return the TABLE that TEXT describes. Signal MALFORMED-TOML or NESTED-TOO-DEEPLY."
  (read-statements (make-source (with-plain-newlines text))))
