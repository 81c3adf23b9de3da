(defpackage #:hydramesh/policy/prices
  (:use #:cl)
  (:import-from #:hydramesh/policy/conditions)
  (:import-from #:hydramesh/policy/expressions #:arguments #:expected #:head-word #:wrong-p #:*prices*)
  (:import-from #:hydramesh/policy/limits #:+rows+ #:+name+)
  (:import-from #:hydramesh/policy/mistakes #:note)
  (:import-from #:hydramesh/policy/nodes
                #:make-node #:node-type #:node-of #:node-constant #:node-on #:on-task-p #:all-on)
  (:import-from #:hydramesh/policy/reader #:form-kind #:form-value #:form-position)
  (:import-from #:hydramesh/policy/types #:number-type #:money-unit #:type-text)
  (:export #:price-in)
  (:documentation "Tables of prices, as +USAGE+ shows one.

The first row counts whose condition is true, as in COND, and the last one is for all else."))
(in-package #:hydramesh/policy/prices)

(defparameter +usage+
  "write it as in (price power ((between 22:00 6:00) 0.21 EUR/kWh) (otherwise 0.34 EUR/kWh))")

(defun price-in (form)
  "Return the name of the price in FORM, and its node; NIL for what has a mistake."
  (let* ((parts (rest (form-value form)))
         (name (first parts))
         (rows (rest parts)))
    (cond ((or (null name) (not (eq (form-kind name) :word)) (find #\. (form-value name))
               (> (length (form-value name)) +name+))
           (unless (and name (eq (form-kind name) :wrong))
             (note (form-position (or name form)) +usage+ "a price begins with its name, a word"))
           nil)
          ((null rows)
           (note (form-position form) +usage+ "this price has no rows")
           (form-value name))
          ((> (length rows) +rows+)
           (note (form-position (nth +rows+ rows)) "say it with fewer" "a price has at most ~D rows" +rows+)
           (form-value name))
          (t (values (form-value name) (table rows))))))

(defun table (forms)
  "Return the node of the price that the rows FORMS say; NIL if there is a mistake."
  (let* ((rows (loop for (form . more) on forms collect (row form (null more))))
         (type (and (first rows) (node-type (cdr (first rows))))))
    (loop for (nil . amount) in rows
          for form in forms
          do (when (and amount type (not (equal (node-type amount) type)))
               (note (form-position form) "give all rows one currency, and one unit"
                     "this is ~A, and the first row is ~A" (type-text (node-type amount))
                     (type-text type))
               (setf rows (list nil))))
    (unless (member nil rows)
      (let ((tests (loop for (test) in rows when test collect (node-of test)))
            (amounts (loop for (nil . amount) in rows collect (node-constant amount))))
        (make-node :type type
                   :on (all-on (remove nil (mapcar #'car rows)))
                   :of (lambda (task worker moment)
                         (loop for test of-type function in tests
                               for amount in amounts
                               when (funcall test task worker moment)
                                 return amount
                               finally (return (first (last amounts))))))))))

(defun row (form last-p)
  "Return the condition of the row FORM, NIL in the last, and its amount; NIL if there is a mistake."
  (let* ((parts (and (eq (form-kind form) :list) (arguments (form-value form))))
         (otherwise (equal (head-word form) "otherwise")))
    (cond ((wrong-p form) nil)
          ((/= (length parts) 2)
           (note (form-position form) +usage+ "a row is a condition and an amount of money"))
          ((and last-p (not otherwise))
           (note (form-position form) "end the table with (otherwise 0.34 EUR/kWh)"
                 "the last row has to be for all other times and workers"))
          ((and otherwise (not last-p))
           (note (form-position form) "write it last" "rows after (otherwise …) never count"))
          (t
           (let ((test (if otherwise nil (condition-in (first parts))))
                 (amount (amount (second parts))))
             (and amount (or otherwise test) (cons test amount)))))))

(defun condition-in (form)
  (let* ((*prices* :none)
         (node (expected form :truth)))
    (if (and node (on-task-p (node-on node)))
        (note (form-position form) "let it depend on the time and on the worker"
              "a price cannot depend on the task")
        node)))

(defun amount (form)
  (let ((unit (and (eq (form-kind form) :quantity) (form-value (cdr (form-value form))))))
    (cond ((eq (form-kind form) :wrong) nil)
          ((or (null unit) (null (money-unit unit)) (minusp (car (form-value form))))
           (note (form-position form)
                 "write how much money is asked for an hour or a kilowatt-hour: 1.20 USD/h, 0.30 EUR/kWh"
                 "this is not a price"))
          (t (expected form (number-type (money-unit unit)))))))
