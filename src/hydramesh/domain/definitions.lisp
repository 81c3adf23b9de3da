(defpackage #:hydramesh/domain/definitions
  (:use #:cl)
  (:import-from #:hydramesh/definitions
                #:bad-definition #:bad-definition-form #:bad-definition-field #:mistaken #:instead-of
                #:printed)
  (:export #:bad-definition #:bad-definition-form #:bad-definition-field #:printed
           #:with-definition #:mistake #:clauses-in #:clause #:whole-number #:finite-p #:number-within #:one-of #:name-in
           #:*definitions* #:add-definition)
  (:documentation "What the macros that define games, sounds and sensors have in common: how a mistake is
told of while the definition is compiled, and where what was defined is put for `hydramesh run`.

The functions that check return what they have checked, and signal BAD-DEFINITION otherwise. They are for the
expanders of macros, inside `with-definition`."))
(in-package #:hydramesh/domain/definitions)

(defvar *defining* '() "The macro and the name of the definition that is being expanded.")

(defmacro with-definition ((macro name) &body body)
  "Do BODY, whose mistakes are those of a form (MACRO NAME …); MACRO is a string."
  `(let ((*defining* (list (make-symbol (string-upcase ,macro)) ,name)))
     ,@body))

(defun mistake (field control &rest arguments)
  "Signal that FIELD, a symbol or NIL, is wrong as FORMAT makes of CONTROL and ARGUMENTS; say what would be
right."
  (apply #'mistaken *defining* field nil control arguments))

(defun listed (words)
  (format nil "~{~A~^, ~}" (mapcar #'printed words)))

(defun unknown (field value words)
  "Signal that VALUE, which may be anything, is none of WORDS, and say which was meant."
  (mistaken *defining* field (instead-of value words) "~A is not known" (printed value)))

(defun clauses-in (forms known)
  "Return FORMS, each a list that begins with one of KNOWN, keywords; without the documentation that may come
first."
  (unless (and (listp forms) (ignore-errors (list-length forms)))
    (mistake nil "write its clauses one after the other, each as (~A …)" (listed known)))
  (when (stringp (first forms))
    (pop forms))
  (dolist (form forms forms)
    (unless (and (consp form) (ignore-errors (list-length form)))
      (mistake nil "~A is not a clause; write (~(~S~) …) or one of ~A"
               (printed form) (first known) (listed (rest known))))
    (unless (member (first form) known)
      (unknown nil (first form) known))))

(defun clause (name forms &key required)
  "Return the one of FORMS that begins with NAME, a keyword; NIL if there is none and it is not REQUIRED."
  (let ((found (remove name forms :key #'first :test-not #'eq)))
    (cond ((rest found) (mistake name "it is written twice; leave one"))
          (found (first found))
          (required (mistake name "it is missing; write ~A" required)))))

(defun whole-number (field value least most)
  "Return VALUE, a whole number from LEAST to MOST."
  (unless (and (integerp value) (<= least value most))
    (mistake field "~A is not valid; write a whole number from ~D to ~D" (printed value) least most))
  value)

(defun finite-p (value)
  "Return whether VALUE, which may be anything, is a real number that is neither infinite nor none at all."
  (and (realp value)
       (not (and (floatp value) (or (sb-ext:float-nan-p value) (sb-ext:float-infinity-p value))))))

(defun number-within (field value least most)
  "Return VALUE, a number from LEAST to MOST."
  (unless (and (finite-p value) (<= least value most))
    (mistake field "~A is not valid; write a number from ~A to ~A"
             (printed value) (printed least) (printed most)))
  value)

(defun one-of (field value words)
  "Return VALUE, one of WORDS, symbols."
  (unless (member value words)
    (unknown field value words))
  value)

(defun name-in (field value)
  "Return VALUE, a symbol that can name something."
  (unless (and value (symbolp value) (not (eq value t)))
    (mistake field "~A is not a name; write a symbol, such as ball" (printed value)))
  value)

;;; What was defined

(defvar *definitions* '() "What was defined, as (kind name definition), the newest first.")

(defun add-definition (kind name definition)
  "Note DEFINITION, which `hydramesh run` starts; it takes the place of one of the same KIND and NAME."
  (setf *definitions*
        (cons (list kind name definition)
              (remove-if (lambda (known) (and (eq (first known) kind) (equal (second known) name)))
                         *definitions*)))
  definition)
