(defpackage #:hydramesh/policy/alike
  (:use #:cl)
  (:import-from #:hydramesh/policy/effects #:effect-conditions #:effect-kind)
  (:import-from #:hydramesh/policy/nodes #:node-of #:node-on #:node-parts #:node-type #:on-task-p)
  (:export #:keeping-nodes #:distinctions #:distinctions-in #:distinctions-waiting-p #:class-of-task)
  (:documentation "Which tasks a policy cannot tell apart when it keeps them from workers: those of one
class, at any moment and for any worker. If one of them has to wait, so has another.

Of every rule that keeps tasks from workers, the conditions are taken apart into those that see the task
alone, and what others see of the task is taken as it is."))
(in-package #:hydramesh/policy/alike)

(defparameter +keeping+ '(:require :exclude :reserve :fallback)
  "Kinds of effects by which a task may have to wait where others need not.")

(defun keeping-p (effect)
  "Return whether EFFECT may keep a task waiting."
  (member (effect-kind effect) +keeping+))

(defun keeping-nodes (conditions effects)
  "Return the nodes by which a rule keeps tasks waiting that has CONDITIONS, nodes, and EFFECTS."
  (let ((keeping (remove-if-not #'keeping-p effects)))
    (and keeping
         (append conditions (loop for effect in keeping append (effect-conditions effect))))))

(defconstant +task-alone+ 1 "The set of what a node depends on that sees the task and nothing else.")

(defun parts-on-task (node)
  "Return the parts of NODE that depend on the task: conditions that see it alone, and of others what they
see."
  (let ((parts (node-parts node)))
    (cond ((not (on-task-p (node-on node))) '())
          ((and parts
                (or (/= (node-on node) +task-alone+)
                    (eq (node-type (first parts)) :truth)))
           (mapcan #'parts-on-task parts))
          (t (list node)))))

(defstruct (distinctions (:copier nil))
  "TESTS are functions that return what is true of a task, VALUES those that return what it has. WAITING-P says
that it counts, too, how long a task has waited."
  (tests '() :type list :read-only t)
  (values '() :type list :read-only t)
  (waiting-p nil :read-only t))

(defun distinctions-in (nodes)
  "Return the DISTINCTIONS that NODES make, see KEEPING-NODES."
  (let* ((parts (mapcan #'parts-on-task nodes))
         (lasting (remove +task-alone+ parts :key #'node-on :test #'/=)))
    (flet ((functions (nodes) (mapcar #'node-of nodes))
           (truth-p (node) (eq (node-type node) :truth)))
      (make-distinctions :tests (functions (remove-if-not #'truth-p lasting))
                         :values (functions (remove-if #'truth-p lasting))
                         :waiting-p (/= (length lasting) (length parts))))))

(defun class-of-task (distinctions task)
  "Return what is EQUAL for tasks that DISTINCTIONS cannot tell apart but by how long they wait. TASK is a
POLICY-TASK."
  (let ((truths 0))
    (dolist (test (distinctions-tests distinctions))
      (setf truths (+ truths truths (if (funcall (the function test) task nil nil) 1 0))))
    (let ((values (loop for value in (distinctions-values distinctions)
                        collect (funcall (the function value) task nil nil))))
      ;; Of a list, a hash takes in no more than the first few.
      (list* (reduce #'logxor values :key #'sxhash :initial-value (sxhash truths)) truths values))))
