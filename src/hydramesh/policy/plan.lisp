(defpackage #:hydramesh/policy/plan
  (:use #:cl)
  (:import-from #:hydramesh/policy/effects
                #:effect #:effect-of #:effect-about #:effect-for #:effect-index #:effect-kind
                #:hedge #:hedge-allowed #:fallback-after #:fallback-p #:about-task-p)
  (:import-from #:hydramesh/policy/limits #:+most-weight+)
  (:import-from #:hydramesh/policy/policy
                #:placement-policy #:policy-rules #:policy-reservations #:rule #:rule-name #:rule-task-test
                #:rule-worker-test #:rule-effects #:rule-conditional-p)
  (:import-from #:hydramesh/policy/views #:policy-task #:policy-worker #:situation)
  (:export #:plan #:plan-task #:plan-policy #:plan-view #:plan-situation #:plan-fallbacks #:plan-hedge
           #:plan-inside #:plan-rules #:plan-matching #:judge #:judge-verbose)
  (:documentation "What a policy says of a task, and of each worker for it.

What depends on the task and the time alone is worked out once, in a plan; with that, each worker is judged
by the rules that are left. Rules are read in order and all that match count: their factors are multiplied,
and one that excludes a worker wins over all others."))
(in-package #:hydramesh/policy/plan)

(defstruct (plan (:constructor make-plan (policy view situation)) (:copier nil))
  "What POLICY says of the task in VIEW, a POLICY-TASK, in SITUATION. The first COUNT of ACTIVE are the rules
whose tests of the task are true."
  (policy nil :type placement-policy :read-only t)
  (view nil :type policy-task :read-only t)
  (situation nil :type situation :read-only t)
  (active #() :type simple-vector)
  (count 0 :type fixnum))

(defun plan-task (policy task situation)
  "Return the plan of POLICY for TASK, a POLICY-TASK, in SITUATION."
  (declare (optimize speed))
  (let* ((plan (make-plan policy task situation))
         (rules (policy-rules policy))
         (active (make-array (length rules)))
         (count 0))
    (declare (type fixnum count))
    (loop for rule across rules
          for test = (rule-task-test rule)
          do (when (or (null test) (funcall test task nil situation))
               (setf (svref active count) rule)
               (incf count)))
    (setf (plan-active plan) active
          (plan-count plan) count)
    plan))

(defmacro do-active ((rule plan) &body body)
  (let ((index (gensym)) (active (gensym)))
    `(let ((,active (plan-active ,plan)))
       (dotimes (,index (plan-count ,plan))
         (let ((,rule (svref ,active ,index)))
           (declare (type rule ,rule))
           ,@body)))))

;;; Of the task

(defun abouts (plan kind)
  (let ((found '()))
    (do-active (rule plan)
      (dolist (effect (rule-effects rule))
        (when (eq (effect-kind effect) kind)
          (push (effect-about effect) found))))
    (nreverse found)))

(defun plan-fallbacks (plan)
  "Return the FALLBACKs that the task has, those that may be used soonest first."
  (stable-sort (abouts plan :fallback) #'< :key #'fallback-after))

(defun plan-hedge (plan)
  "Return the HEDGE that the task has, NIL if the policy says nothing of that. One that forbids it wins; of
others the first rule's counts."
  (let ((hedges (abouts plan :hedge)))
    (or (find nil hedges :key #'hedge-allowed) (first hedges))))

(defun plan-inside (plan)
  "Return the set of the reservations that are for the task: a whole number with a bit for the index of each."
  (let ((set 0))
    (dolist (effect (policy-reservations (plan-policy plan)) set)
      (when (funcall (the function (effect-for effect)) (plan-view plan) nil (plan-situation plan))
        (setf set (logior set (ash 1 (effect-index effect))))))))

(defun plan-rules (plan)
  "Return the names of the rules that say something of the task, in their order."
  (let ((names '()))
    (do-active (rule plan)
      (when (or (some #'about-task-p (rule-effects rule))
                (and (rule-conditional-p rule) (null (rule-worker-test rule))))
        (push (rule-name rule) names)))
    (nreverse names)))

(defun plan-matching (plan)
  "Return the RULEs whose conditions on the task and the moment are true, in their order."
  (let ((rules '()))
    (do-active (rule plan)
      (push rule rules))
    (nreverse rules)))

;;; Of a worker

(declaim (inline bounded))
(defun bounded (weight)
  "Return WEIGHT within the bounds of one."
  (declare (type double-float weight))
  (min (max weight (/ 1d0 +most-weight+)) (float +most-weight+ 1d0)))

(defun judge (plan worker)
  "Return the weight of WORKER, a POLICY-WORKER, for the task of PLAN; NIL if it must not get the task. A
weight of 1 is usual, and what is twice that stands for a worker twice as fast."
  (declare (optimize speed))
  (let ((task (plan-view plan)) (situation (plan-situation plan)) (weight 1d0))
    (declare (type double-float weight))
    (do-active (rule plan)
      (let ((test (rule-worker-test rule)))
        (when (or (null test) (funcall test task worker situation))
          (dolist (effect (rule-effects rule))
            (let ((function (effect-of effect)))
              (when function
                (let ((factor (funcall function task worker situation)))
                  (if factor
                      (setf weight (bounded (* weight (the double-float factor))))
                      (return-from judge nil)))))))))
    weight))

(defun judge-verbose (plan worker)
  "Return what JUDGE does, and why: a list of the names of the rules that speak of WORKER for the task, in
their order, each with the factor that it has or NIL where it excludes."
  (let ((task (plan-view plan)) (situation (plan-situation plan)) (found '()))
    (do-active (rule plan)
      (let ((test (rule-worker-test rule)))
        (when (or (null test) (funcall test task worker situation))
          (let ((factor 1d0))
            (dolist (effect (rule-effects rule))
              (when (and factor (effect-of effect))
                (let ((more (funcall (effect-of effect) task worker situation)))
                  (setf factor (and more (bounded (* factor more)))))))
            (unless (eql factor 1d0)
              (push (cons (rule-name rule) factor) found))))))
    (values (judge plan worker) (nreverse found))))
