(defpackage #:hydramesh/policy/conditions
  (:use #:cl)
  (:import-from #:hydramesh/policy/comparisons)
  (:import-from #:hydramesh/policy/expressions
                #:define-operator #:expression #:expressions #:expected)
  (:import-from #:hydramesh/policy/mistakes #:note)
  (:import-from #:hydramesh/policy/nodes
                #:node #:node-type #:node-on #:node-of #:node-constant #:all-on #:condition-node
                #:both)
  (:import-from #:hydramesh/policy/pattern #:matches-p)
  (:import-from #:hydramesh/policy/reader #:form #:form-kind #:form-value #:form-position)
  (:import-from #:hydramesh/policy/types #:type-text)
  (:import-from #:hydramesh/policy/views #:view #:view-numbers #:find-field #:field-place)
  (:import-from #:hydramesh/work #:capability-set)
  (:documentation "The other conditions of a policy: and or not in like has between."))
(in-package #:hydramesh/policy/conditions)

(defconstant +parts+ 100 "Parts of one form.")

;;; Of conditions

(define-operator ("and" "(and (= task.kind :text) task.streaming)" 1 +parts+) (form forms)
  (both (expressions forms :truth)))

(define-operator ("or" "(or (= task.kind :text) (= task.kind :embed))" 1 +parts+) (form forms)
  (let* ((nodes (expressions forms :truth))
         (functions (mapcar #'node-of nodes)))
    (when nodes
      (condition-node (all-on nodes)
                      (lambda (task worker moment)
                        (loop for function of-type function in functions
                              thereis (funcall function task worker moment)))
                      nodes))))

(define-operator ("not" "(not worker.loaded)" 1 1) (form forms)
  (let ((node (expected (first forms) :truth)))
    (when node
      (condition-node (node-on node) (complement (the function (node-of node))) (list node)))))

;;; Of texts and words

(defun constants (forms type)
  "Return the values of FORMS, literals of TYPE; NIL if one is none."
  (let ((nodes (expressions forms type)))
    (cond ((null nodes) nil)
          ((every #'node-constant nodes) (mapcar #'node-constant nodes))
          (t
           (note (form-position (nth (position-if-not #'node-constant nodes) forms))
                 "write out what it may be" "what a field is compared with here has to be fixed")))))

(define-operator ("in" "(in task.kind :text :embed)" 2 +parts+) (form forms)
  (let* ((node (expression (first forms)))
         (type (and node (node-type node))))
    (cond ((null node) nil)
          ((or (eq type :text) (and (consp type) (eq (first type) :enum)))
           (let ((values (constants (rest forms) type))
                 (function (node-of node)))
             (declare (type function function))
             (when values
               (condition-node (node-on node)
                               (lambda (task worker moment)
                                 (member (funcall function task worker moment) values :test #'equal))))))
          (t
           (note (form-position (first forms)) "write it as in (in task.kind :text :embed)"
                 "~A is not one of some texts or words" (type-text type))))))

(define-operator ("like" "(like task.model \"Qwen/*\")" 2 +parts+) (form forms)
  (let ((node (expected (first forms) :text))
        (patterns (constants (rest forms) :text)))
    (when (and node patterns)
      (let ((function (node-of node)))
        (declare (type function function))
        (condition-node (node-on node)
                        (lambda (task worker moment)
                          (let ((text (funcall function task worker moment)))
                            (loop for pattern in patterns
                                  thereis (matches-p pattern text)))))))))

;;; Of sets

(define-operator ("has" "(has worker.tags :solar)" 2 +parts+) (form forms)
  (let* ((node (expression (first forms)))
         (type (and node (node-type node))))
    (cond ((null node) nil)
          ((not (and (consp type) (eq (first type) :set)))
           (note (form-position (first forms)) "write it as in (has worker.tags :solar)"
                 "~A is not a set" (type-text type)))
          ((eq (second type) :text) (has-texts node (mapcar #'tag (rest forms))))
          (t (has-members node (constants (rest forms) (list :enum (second type))))))))

(defun tag (form)
  "Return the tag that FORM is: a text, or a word such as :solar; NIL if it is none."
  (case (form-kind form)
    ((:text :keyword) (form-value form))
    (:wrong nil)
    (t (note (form-position form) "write a tag as :solar or \"EU west\"" "this is not a tag"))))

(defun has-texts (node tags)
  (let ((function (node-of node)))
    (declare (type function function))
    (unless (member nil tags)
      (condition-node (node-on node)
                      (lambda (task worker moment)
                        (let ((set (funcall function task worker moment)))
                          (loop for tag in tags
                                always (member tag set :test #'string=))))))))

(defun has-members (node members)
  (let ((function (node-of node))
        (needed (apply #'capability-set members)))
    (declare (type function function))
    (when members
      (condition-node (node-on node)
                      (lambda (task worker moment)
                        (let ((set (funcall function task worker moment)))
                          (declare (type (unsigned-byte 62) set needed))
                          (= needed (logand needed set))))))))

;;; Of the time

(define-operator ("between" "(between 22:00 6:00)" 2 2) (form forms)
  (let ((times (expressions forms :clock))
        (place (field-place (find-field "time.clock"))))
    (cond ((null times) nil)
          ((notevery #'node-constant times)
           (note (form-position form) "write it as in (between 22:00 6:00)"
                 "between is of two times of day"))
          (t
           (destructuring-bind (from until) (mapcar #'node-constant times)
             (declare (type double-float from until))
             (if (= from until)
                 (note (form-position form) "write two that differ; 0:00 and 24:00 are all day"
                       "nothing is between a time and itself")
                 (condition-node 4
                                 (lambda (task worker moment)
                                   (declare (ignore task worker) (type view moment))
                                   (let ((clock (aref (view-numbers moment) place)))
                                     (if (< from until)
                                         (and (<= from clock) (< clock until))
                                         (or (<= from clock) (< clock until))))))))))))
