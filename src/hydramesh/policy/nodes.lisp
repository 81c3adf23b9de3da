(defpackage #:hydramesh/policy/nodes
  (:use #:cl)
  (:import-from #:hydramesh/policy/views
                #:view #:view-numbers #:view-things #:field #:field-name #:field-place #:field-subject #:field-type)
  (:import-from #:hydramesh/policy/types #:number-type-p)
  (:export #:node #:make-node #:node-type #:node-on #:node-of #:node-constant #:node-field #:node-parts
           #:node-plain-zero-p
           #:constant-node #:field-node #:condition-node #:both #:on-task-p #:on-worker-p #:all-on #:numeric-p
           #:bounded #:value-function)
  (:documentation "Parts of a policy that were checked, as functions.

Each is a closure over others. There are no loops and no calls of what a policy defines, so deciding takes
no longer than its text is long."))
(in-package #:hydramesh/policy/nodes)

(deftype value-function ()
  "A function of views of a task, a worker and the moment."
  'function)

(defstruct (node (:copier nil))
  "A value of TYPE, see HYDRAMESH/POLICY/TYPES, which OF returns. ON is a set of what it depends on: 1 for the
task, 2 for the worker, 4 for the moment. CONSTANT is the value of a literal and FIELD what a field's name
names; both are NIL of everything else. PARTS are the nodes that it is made of, if they may depend on different
things."
  (type nil :read-only t)
  (on 0 :type (unsigned-byte 3) :read-only t)
  (of nil :type value-function :read-only t)
  (constant nil :read-only t)
  (field nil :type (or null field) :read-only t)
  (parts '() :type list :read-only t))

(defun on-worker-p (on)
  "Return whether a worker is in the set ON."
  (logtest 2 on))

(defun on-task-p (on)
  "Return whether the task is in the set ON."
  (logtest 1 on))

(defun all-on (nodes)
  "Return the set of what any of NODES depends on."
  (reduce #'logior nodes :key #'node-on :initial-value 0))

(defun numeric-p (node)
  "Return whether its value is a double-float."
  (or (eq (node-type node) :clock) (number-type-p (node-type node))))

(defun node-plain-zero-p (node)
  "Return whether NODE is 0 as it is written without a unit, which fits any number."
  (and (equal (node-type node) '(:number :plain)) (eql (node-constant node) 0d0)))

(declaim (inline bounded))
(defun bounded (number)
  "Return NUMBER, or the nearest that arithmetic goes on with."
  (declare (type double-float number))
  (cond ((> number 1d18) 1d18)
        ((>= number -1d18) number)
        (t -1d18)))

(defun constant-node (type value)
  "Return the node of a literal."
  (make-node :type type :constant value :of (constantly value)))

(defun condition-node (on function &optional parts)
  "Return the node of a condition that depends on the set ON, and is made of PARTS."
  (make-node :type :truth :on on :of function :parts parts))

(defun passing-field-p (field)
  "Return whether what FIELD, of a task, says changes while the task waits."
  (string= (field-name field) "task.waited"))

(defun field-node (field)
  "Return the node of what FIELD says."
  (let ((place (field-place field)) (subject (field-subject field)))
    (flet ((node (on numbers things)
             (make-node :type (field-type field) :on on :field field
                        :of (if (or (eq (field-type field) :clock) (number-type-p (field-type field)))
                                numbers
                                things))))
      (macrolet ((both (view on)
                   `(node ,on
                          (lambda (task worker moment)
                            (declare (ignorable task worker moment) (type view ,view))
                            (aref (view-numbers ,view) place))
                          (lambda (task worker moment)
                            (declare (ignorable task worker moment) (type view ,view))
                            (svref (view-things ,view) place)))))
        (ecase subject
          (:task (both task (if (passing-field-p field) 5 1)))
          (:worker (both worker 2))
          (:moment (both moment 4)))))))

(defun both (nodes)
  "Return the node that is true if all of NODES are, which are conditions; NIL if there are none."
  (let ((functions (mapcar #'node-of nodes)))
    (if (rest nodes)
        (condition-node (all-on nodes)
                        (lambda (task worker moment)
                          (loop for function of-type function in functions
                                always (funcall function task worker moment)))
                        nodes)
        (first nodes))))
