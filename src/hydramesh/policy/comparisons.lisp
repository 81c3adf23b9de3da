(defpackage #:hydramesh/policy/comparisons
  (:use #:cl)
  (:import-from #:hydramesh/policy/expressions
                #:define-operator #:expression #:expected)
  (:import-from #:hydramesh/policy/mistakes #:note)
  (:import-from #:hydramesh/policy/nodes
                #:node #:node-type #:node-on #:node-of #:node-constant #:node-field #:numeric-p #:all-on
                #:condition-node #:both)
  (:import-from #:hydramesh/policy/reader #:form #:form-kind #:form-position)
  (:import-from #:hydramesh/policy/types #:number-type-p #:type-text)
  (:import-from #:hydramesh/policy/views #:view #:view-numbers #:field-place #:field-subject)
  (:documentation "The comparisons of a policy: = /= < <= > >=.

A field beside a constant, which most of them are, is compared where it is, without making a number."))
(in-package #:hydramesh/policy/comparisons)

(defmacro where-it-is (subject place operation constant)
  "Return the function that compares the number at PLACE of the view of SUBJECT with CONSTANT."
  `(macrolet ((seen (view)
                `(lambda (task worker moment)
                   (declare (ignorable task worker moment) (type view ,view) (optimize speed))
                   (,',operation (aref (view-numbers ,view) place) constant))))
     (let ((place ,place) (constant ,constant))
       (declare (type fixnum place) (type double-float constant))
       (ecase ,subject
         (:task (seen task))
         (:worker (seen worker))
         (:moment (seen moment))))))

(defmacro with-comparison ((operation name) &body body)
  "Run BODY, in which OPERATION stands for the function of numbers that NAME, a string, names."
  `(cond ,@(loop for known in '(= /= < <= > >=)
                 collect `((string= ,name ,(string known)) ,@(subst known operation body)))))

(defun number-test (name one other)
  "Return the function that compares two nodes that are numbers by NAME."
  (let ((field (node-field one)) (constant (node-constant other))
        (first (node-of one)) (second (node-of other)))
    (declare (type function first second))
    (with-comparison (operation name)
      (if (and field constant)
          (where-it-is (field-subject field) (field-place field) operation constant)
          (lambda (task worker moment)
            (operation (the double-float (funcall first task worker moment))
                       (the double-float (funcall second task worker moment))))))))

(defun same-test (one other)
  "Return the function that compares two nodes that are texts or words."
  (let ((first (node-of one)) (second (node-of other)))
    (declare (type function first second))
    (lambda (task worker moment)
      (equal (funcall first task worker moment) (funcall second task worker moment)))))

(defun pair (name one other)
  "Return the node that compares ONE with OTHER by NAME."
  (condition-node
   (all-on (list one other))
   (cond ((numeric-p one) (number-test name one other))
         ((string= name "=") (same-test one other))
         (t (complement (same-test one other))))
   (list one other)))

(defun comparison (name forms)
  "Return the node that compares FORMS by NAME; NIL if there is a mistake."
  (let* ((typed (or (find-if (lambda (form) (member (form-kind form) '(:word :list))) forms)
                    (first forms)))
         (node (expression typed)))
    (when (and node (comparable-p name typed (node-type node)))
      (let ((nodes (loop for form in forms
                         collect (if (eq form typed) node (expected form (node-type node))))))
        (cond ((member nil nodes) nil)
              ((every #'node-constant nodes)
               (note (form-position (first forms)) "compare a field, such as task.size, with something"
                     "what is compared here never changes"))
              (t
               (both (loop for (one other) on nodes
                           while other
                           collect (pair name one other)))))))))

(defun comparable-p (name form type)
  "Return whether values of TYPE, which FORM has, can be compared by NAME; else note why not."
  (let ((position (form-position form)))
    (cond ((eq type :truth)
           (note position "write it alone, or as (not …)" "~A is not compared" (type-text type)))
          ((and (consp type) (eq (first type) :set))
           (note position "write it as (has worker.tags :solar)" "~A is not compared" (type-text type)))
          ((or (eq type :clock) (number-type-p type) (member name '("=" "/=") :test #'string=)))
          (t
           (note position "use = or /=" "~A is neither more nor less than another" (type-text type))))))

(macrolet ((comparisons (&rest rows)
             `(progn
                ,@(loop for (name usage most) in rows
                        collect `(define-operator (,name ,usage 2 ,most) (form forms)
                                   (comparison ,name forms))))))
  (comparisons ("=" "(= task.kind :text)" 2)
               ("/=" "(/= worker.name \"old\")" 2)
               ("<" "(< task.size 400 tokens)" 3)
               ("<=" "(<= 100 tokens task.size 400 tokens)" 3)
               (">" "(> worker.free-vram 8 GiB)" 3)
               (">=" "(>= worker.free-slots 2)" 3)))
