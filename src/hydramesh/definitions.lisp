(defpackage #:hydramesh/definitions
  (:use #:cl)
  (:import-from #:hydramesh/service/close-match #:close-match)
  (:import-from #:hydramesh/shown #:shown)
  (:export #:bad-definition #:bad-definition-form #:bad-definition-field #:mistaken #:instead-of #:printed)
  (:documentation "What a macro that defines something says of a mistake in it, when it is expanded: so the
compiler shows it, and nothing of it runs."))
(in-package #:hydramesh/definitions)

(define-condition bad-definition (error)
  ((form :initarg :form :reader bad-definition-form
         :documentation "The definition, as \"define-plugin streamdb\".")
   (field :initarg :field :reader bad-definition-field
          :documentation "What in it is wrong, as \":version\"; NIL if that is all of it.")
   (what :initarg :what)
   (remedy :initarg :remedy))
  (:report (lambda (condition stream)
             (with-slots (form field what remedy) condition
               (format stream "~A~@[, ~A~]: ~A~@[; ~A~]" form field what remedy))))
  (:documentation "A definition is none. What is printed names it, the field in it, what is wrong there, and
what would be right."))

(defun printed (form)
  "Return FORM, which may be anything, as a message shows it: short, in one line, and in lower case."
  (shown (let ((*print-case* :downcase) (*print-length* 6) (*print-level* 3) (*print-circle* t)
               (*print-pretty* nil) (*package* (find-package '#:keyword)))
           (typecase form
             ((and symbol (not keyword)) (string-downcase form))
             (t (prin1-to-string form))))
         80))

(defun mistaken (form field remedy control &rest arguments)
  "Signal BAD-DEFINITION: in FIELD, a symbol or NIL, of FORM, a list of the macro and what it defines, there
is what FORMAT makes of CONTROL and ARGUMENTS, and REMEDY, unless those do, says what would be right."
  (error 'bad-definition :form (format nil "~{~A~^ ~}" (mapcar #'printed form))
                         :field (and field (printed field))
                         :what (apply #'format nil control arguments)
                         :remedy remedy))

(defun instead-of (word words)
  "Return what to write in place of WORD, a symbol: the one of WORDS that is close to it, else all of them."
  (let* ((names (mapcar #'printed words))
         (close (close-match (printed word) names)))
    (if close
        (format nil "did you mean ~A?" close)
        (format nil "it has ~{~A~^, ~}" names))))
