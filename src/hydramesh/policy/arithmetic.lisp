(defpackage #:hydramesh/policy/arithmetic
  (:use #:cl)
  (:import-from #:hydramesh/policy/expressions
                #:define-operator #:expression #:fitted #:unfit)
  (:import-from #:hydramesh/policy/mistakes #:note)
  (:import-from #:hydramesh/policy/nodes
                #:node #:make-node #:node-type #:node-of #:node-constant #:all-on #:bounded)
  (:import-from #:hydramesh/policy/reader #:form #:form-position)
  (:import-from #:hydramesh/policy/types #:number-type-p #:number-type #:plain-p #:type-text)
  (:documentation "The arithmetic of a policy: + - * / min max.

Numbers keep their units: memory and money are not added. No result is beyond 10^18, and what is divided by
nothing is that large; so nothing overflows."))
(in-package #:hydramesh/policy/arithmetic)

(defconstant +parts+ 20 "Numbers of one form.")

(defun numbers (forms)
  "Return the nodes of FORMS, which are numbers; NIL if there is a mistake."
  (let ((nodes (loop for form in forms collect (number-of form))))
    (and (notany #'null nodes) nodes)))

(defun number-of (form)
  (let ((node (expression form)))
    (cond ((null node) nil)
          ((number-type-p (node-type node)) node)
          (t (unfit form node (number-type :plain))))))

(defun alike (forms)
  "Return the nodes of FORMS, which are numbers of one type; NIL if there is a mistake."
  (let* ((nodes (numbers forms))
         (type (and nodes (node-type (or (find nil nodes :key #'node-constant) (first nodes)))))
         (alike (loop for node in nodes
                      for form in forms
                      collect (or (fitted node type) (unfit form node type)))))
    (and (notany #'null alike) alike)))

(defun folded (function nodes type)
  "Return the node of TYPE that FUNCTION, of two numbers, makes of NODES from left to right."
  (declare (type function function))
  (let ((functions (mapcar #'node-of nodes)))
    (make-node :type type :on (all-on nodes) :parts nodes
               :of (lambda (task worker moment)
                     (let ((result (funcall (the function (first functions)) task worker moment)))
                       (dolist (next (rest functions) result)
                         (setf result (bounded (funcall function result
                                                        (funcall (the function next) task worker
                                                                 moment))))))))))

(defun quotient (one other)
  "Return ONE divided by OTHER; what is divided by nothing is larger than all else."
  (declare (type double-float one other))
  (cond ((zerop one) 0d0)
        ((< (abs other) 1d-18) (if (plusp one) 1d18 -1d18))
        (t (/ one other))))

(macrolet ((alike-operators (&rest rows)
             `(progn
                ,@(loop for (name usage function) in rows
                        collect `(define-operator (,name ,usage 2 +parts+) (form forms)
                                   (let ((nodes (alike forms)))
                                     (and nodes (folded ,function nodes (node-type (first nodes))))))))))
  (alike-operators ("+" "(+ worker.load worker.waiting)" #'+)
                   ("-" "(- worker.slots worker.load)" #'-)
                   ("min" "(min worker.free-slots 4)" #'min)
                   ("max" "(max 1 worker.waiting)" #'max)))

(defun dimension (node)
  (second (node-type node)))

(defun product-dimension (one other)
  "Return the dimension of a product of numbers of ONE and OTHER, NIL if there is none."
  (flet ((are (first second)
           (or (and (funcall first one) (funcall second other))
               (and (funcall first other) (funcall second one)))))
    (flet ((power (dimension) (eq dimension :power))
           (energy-price (dimension) (and (consp dimension) (eq (third dimension) :kwh)))
           (rate (dimension) (eq dimension :rate))
           (span (dimension) (eq dimension :time)))
      (cond ((eq one :plain) other)
            ((eq other :plain) one)
            ((are #'power #'energy-price)
             (list :money (second (if (consp one) one other)) :hour))
            ((are #'rate #'span) :work)))))

(define-operator ("*" "(* worker.power price.power)" 2 +parts+) (form forms)
  (let ((nodes (numbers forms)))
    (when nodes
      (let ((dimension (reduce (lambda (one other) (and one (product-dimension one other)))
                               nodes :key #'dimension)))
        (if dimension
            (scaled (folded #'* nodes (number-type dimension)) nodes)
            (note (form-position form) "multiply by a plain number, or a power by a price in EUR/kWh"
                  "~{~A~^ times ~} is nothing that a policy knows"
                  (mapcar (lambda (node) (type-text (node-type node))) nodes)))))))

(defun scaled (node nodes)
  "Return NODE, a product of NODES; watts times a price for kilowatt-hours are divided by 1000."
  (if (and (find :power nodes :key #'dimension) (consp (dimension node)))
      (folded (lambda (one other) (/ (the double-float one) (the double-float other)))
              (list node (make-node :type (number-type :plain) :of (constantly 1000d0)))
              (node-type node))
      node))

(defun quotient-dimension (one other)
  "Return the dimension of what is of ONE divided by what is of OTHER, NIL if there is none."
  (cond ((equal one other) :plain)
        ((eq other :plain) one)
        ((and (eq one :work) (eq other :rate)) :time)))

(define-operator ("/" "(/ 0.30 EUR/kWh price.power)" 2 2) (form forms)
  (let ((nodes (numbers forms)))
    (when nodes
      (let ((dimension (quotient-dimension (dimension (first nodes)) (dimension (second nodes)))))
        (if dimension
            (folded #'quotient nodes (number-type dimension))
            (note (form-position form) "divide by a plain number, or by one of the same unit"
                  "~A divided by ~A is nothing that a policy knows"
                  (type-text (node-type (first nodes))) (type-text (node-type (second nodes)))))))))
