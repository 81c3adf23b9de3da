(defpackage #:hydramesh/policy/expressions
  (:use #:cl)
  (:import-from #:hydramesh/policy/mistakes #:note #:suggestion #:listed)
  (:import-from #:hydramesh/policy/nodes
                #:node #:node-type #:node-constant #:node-plain-zero-p #:constant-node #:field-node
                #:make-node)
  (:import-from #:hydramesh/policy/reader
                #:form #:make-form #:form-kind #:form-value #:form-position #:form-text)
  (:import-from #:hydramesh/policy/types
                #:type-text #:type-example #:number-type-p #:number-type #:plain-p #:members #:member-value
                #:unit #:unit-names)
  (:import-from #:hydramesh/policy/views #:find-field #:field-names #:+subjects+)
  (:export #:expression #:expressions #:expected #:fitted #:arguments #:unfit #:words-of
           #:define-operator #:operator-names #:operator-usage #:*prices* #:head-word #:wrong-p)
  (:documentation "Checks an expression of a policy and makes a node of it.

A function here returns NIL where it has noted a mistake; so one mistake is told once."))
(in-package #:hydramesh/policy/expressions)

(defvar *prices* '()
  "The prices that the policy has, an alist of names and nodes; :NONE where prices cannot be spoken of.")

;;; Operators

(defstruct (operator (:copier nil))
  "USAGE is an example. It takes LEAST to MOST forms, of which FUNCTION makes a node."
  (name "" :type string :read-only t)
  (usage "" :type string :read-only t)
  (least 0 :type fixnum :read-only t)
  (most 0 :type fixnum :read-only t)
  (function nil :type function :read-only t))

(defvar *operators* '() "Every operator.")

(defmacro define-operator ((name usage least most) (form arguments) &body body)
  "Define what the list FORM means that begins with the word NAME and has ARGUMENTS, LEAST to MOST of them."
  `(progn
     (setf *operators* (remove ,name *operators* :key #'operator-name :test #'string=))
     (setf *operators*
           (append *operators*
                   (list (make-operator :name ,name :usage ,usage :least ,least :most ,most
                                        :function (lambda (,form ,arguments)
                                                    (declare (ignorable ,form))
                                                    ,@body)))))))

(defun operator-names ()
  "Return the words that an expression's list can begin with."
  (mapcar #'operator-name *operators*))

(defun find-operator (name)
  (find name *operators* :key #'operator-name :test #'string=))

;;; Forms

(defun head-word (form)
  "Return the word that FORM, a list, begins with; NIL if there is none."
  (and (eq (form-kind form) :list)
       (let ((first (first (form-value form))))
         (and first (eq (form-kind first) :word) (form-value first)))))

(defun wrong-p (form)
  "Return whether FORM, or what it begins with, is what was noted as a mistake already."
  (or (eq (form-kind form) :wrong)
      (and (eq (form-kind form) :list)
           (form-value form)
           (eq (form-kind (first (form-value form))) :wrong))))

(defun field-like-p (word)
  (let ((dot (position #\. word)))
    (and dot (plusp dot) (member (subseq word 0 dot) +subjects+ :test #'string=))))

(defun arguments (forms)
  "Return FORMS with each number and the unit behind it made one: a form of the kind :QUANTITY, whose value
is the number and the form of the unit."
  (loop while forms
        collect (let ((form (pop forms)))
                  (if (and forms
                           (eq (form-kind form) :number)
                           (eq (form-kind (first forms)) :word)
                           (not (field-like-p (form-value (first forms)))))
                      (make-form :kind :quantity :position (form-position form)
                                 :value (cons (form-value form) (pop forms)))
                      form))))

(defun expression (form &optional wanted)
  "Return the node of FORM. WANTED is the type that words such as :text are to be understood as."
  (ecase (form-kind form)
    (:wrong nil)
    (:text (constant-node :text (form-value form)))
    (:number (constant-node (number-type :plain) (float (form-value form) 1d0)))
    (:clock (constant-node :clock (float (form-value form) 1d0)))
    (:quantity (quantity form))
    (:keyword (keyword-node form wanted))
    (:word (word form))
    (:list (operation form))))

(defun quantity (form)
  (destructuring-bind (number . unit-form) (form-value form)
    (multiple-value-bind (dimension factor) (unit (form-value unit-form))
      (if dimension
          (constant-node (number-type dimension) (float (* number factor) 1d0))
          (note (form-position unit-form)
                (suggestion (form-value unit-form) (unit-names)
                            "units are those of money, such as EUR/kWh or EUR/h, and")
                "~A is not a unit" (form-value unit-form))))))

(defun words-of (enumeration)
  "Return the words of ENUMERATION as they are written."
  (mapcar (lambda (word) (format nil ":~A" word)) (members enumeration)))

(defun keyword-node (form wanted)
  (let ((word (form-value form)))
    (cond ((and (consp wanted) (eq (first wanted) :enum))
           (let ((value (member-value (second wanted) word)))
             (cond (value (constant-node wanted value))
                   ((equal (list (second wanted) word) '(:kind "manage"))
                    (note (form-position form) "take it out" "no policy has a say in tasks that manage a model"))
                   (t
                    (note (form-position form)
                          (suggestion (format nil ":~A" word) (words-of (second wanted)) "it can be")
                          "there is no ~(~A~) :~A" (second wanted) word)))))
          ((null wanted)
           (note (form-position form) "compare it with a field, as in (= task.kind :text)"
                 ":~A means nothing here" word))
          (t
           (note (form-position form)
                 (format nil "write ~A" (if (eq wanted :text) (format nil "~S" word) (type-example wanted)))
                 ":~A is a word, where ~A is needed" word (type-text wanted))))))

(defun word (form)
  (let* ((word (form-value form))
         (field (find-field word))
         (dot (position #\. word)))
    (cond (field (field-node field))
          ((and dot (string= "price" (subseq word 0 dot)))
           (price form (subseq word (1+ dot))))
          ((find-operator word)
           (note (form-position form)
                 (format nil "write ~A" (operator-usage (find-operator word)))
                 "~A stands without its parentheses" word))
          (t
           (note (form-position form) (suggestion word (field-names) "fields are")
                 "there is no field ~A" word)))))

(defun price (form name)
  (cond ((eq *prices* :none)
         (note (form-position form) "let it depend on the time and on the worker"
               "a price cannot depend on a price"))
        ((cdr (assoc name *prices* :test #'string=)))
        ((null *prices*)
         (note (form-position form)
               (format nil "add one, such as (price ~A (otherwise 0.30 EUR/kWh))"
                       (if (string= name "") "power" name))
               "the policy has no prices"))
        ((assoc name *prices* :test #'string=)
         nil)                           ; what is wrong with it was noted
        (t
         (note (form-position form)
               (suggestion (format nil "price.~A" name)
                           (loop for (known) in *prices* collect (format nil "price.~A" known))
                           "prices are")
               "there is no price.~A" name))))

(defun operation (form)
  (let* ((name (head-word form))
         (operator (and name (find-operator name))))
    (cond (operator
           (let* ((arguments (arguments (rest (form-value form))))
                  (count (length arguments)))
             (if (<= (operator-least operator) count (operator-most operator))
                 (funcall (operator-function operator) form arguments)
                 (note (form-position form) (format nil "write it as in ~A" (operator-usage operator))
                       "~A has ~:[too many~;too few~] parts" name (< count (operator-least operator))))))
          ((null (form-value form))
           (note (form-position form) "write a condition, such as (= task.kind :text)"
                 "these parentheses are empty"))
          ((null name)
           (let ((first (first (form-value form))))
             (unless (wrong-p form)
               (note (form-position first) "begin it with a word, as in (= task.kind :text)"
                     "a list begins with ~A" (form-text first)))))
          (t
           (note (form-position form) (suggestion name (operator-names) "forms that have a value are")
                 "there is no form (~A …)" name)))))

;;; Types

(defun fitted (node type)
  "Return NODE as a value of TYPE, or NIL if it is none. A number without a unit may be an amount of work or a
rate, and 0 anything."
  (cond ((equal (node-type node) type) node)
        ((and (number-type-p type)
              (plain-p (node-type node))
              (node-constant node)
              (or (node-plain-zero-p node) (member (second type) '(:work :rate))))
         (constant-node type (node-constant node)))))

(defun unfit (form node type)
  "Note that FORM, whose node is NODE, is not of TYPE."
  (note (form-position form)
        (format nil "write ~:[it with its unit~;~:*~A~], such as ~A"
                (if (and (plain-p (node-type node)) (node-constant node) (number-type-p type))
                    nil
                    (type-text type))
                (type-example type))
        "~A is ~A, where ~A is needed" (shown form) (type-text (node-type node)) (type-text type)))

(defun shown (form)
  (case (form-kind form)
    (:list (format nil "(~@[~A~] …)" (head-word form)))
    (:quantity (format nil "~A ~A" (form-text (make-form :kind :number :value (car (form-value form))))
                       (form-value (cdr (form-value form)))))
    (t (form-text form))))

(defun expected (form type)
  "Return the node of FORM, which has to be of TYPE."
  (let ((node (expression form type)))
    (and node
         (or (fitted node type)
             (unfit form node type)))))

(defun expressions (forms type)
  "Return the nodes of FORMS, which have to be of TYPE; NIL if one has a mistake. All are looked at."
  (let ((nodes (loop for form in forms collect (expected form type))))
    (and (notany #'null nodes) nodes)))
