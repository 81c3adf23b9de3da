(defpackage #:hydramesh/head/in-force
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds #:seconds #:wall-clock)
  (:import-from #:hydramesh/head/job #:job-kind #:job-model #:job-number #:job-plan)
  (:import-from #:hydramesh/head/policy-views #:task-view #:worker-view)
  (:import-from #:hydramesh/head/worker #:worker-models #:worker-weight)
  (:import-from #:hydramesh/policy/alike #:class-of-task #:distinctions-waiting-p)
  (:import-from #:hydramesh/policy/effects #:hedge-after #:hedge-allowed #:hedge-lateness)
  (:import-from #:hydramesh/policy/plan
                #:judge #:judge-verbose #:plan #:plan-hedge #:plan-policy #:plan-task #:plan-view)
  (:import-from #:hydramesh/policy/policy
                #:placement-policy #:policy-distinctions #:policy-name #:policy-rule #:rule-passing-p)
  (:import-from #:hydramesh/policy/views #:situation #:situation-at #:situation-waiting #:situation-workers)
  (:import-from #:hydramesh/service/logs #:log-fault)
  (:import-from #:hydramesh/work #:work-kind-loads)
  (:export #:in-force #:make-in-force #:in-force-policy #:in-force-since #:in-force-refused
           #:in-force-replace #:in-force-set-clock #:consider-policy #:permitted-p #:permitted-later-p #:judged
           #:class-of-job #:model-on #:allowance)
  (:documentation "The policy in force, asked about one task and one worker at a time.

A fault in one is ours, as what it says was checked when it was loaded. It is logged once, and where there is
one the worker is excluded: what a policy is to keep apart stays apart."))
(in-package #:hydramesh/head/in-force)

(defconstant +situation+ 1000000 "Microseconds for which the time of day is taken to be the same.")

(defstruct (in-force (:copier nil))
  "POLICY decides since SINCE, microseconds since the Epoch; NIL if none does. REFUSED says what is wrong with
the one that should have replaced it, \"\" if nothing is. SITUATION is as of NOTED-AT. FAULTY says that a fault
in the policy was logged."
  (policy nil :type (or null placement-policy))
  (since 0 :type microseconds)
  (refused "" :type string)
  (situation nil :type (or null situation))
  (noted-at 0 :type microseconds)
  (faulty nil))

(defun in-force-replace (in-force policy)
  "Let POLICY decide from now on, or none if it is NIL."
  (setf (in-force-policy in-force) policy
        (in-force-since in-force) (wall-clock)
        (in-force-refused in-force) ""
        (in-force-situation in-force) nil
        (in-force-faulty in-force) nil))

(defmacro excluding-faults ((in-force) &body body)
  "Return what BODY does, NIL if there is a fault in it."
  (let ((condition (gensym)))
    `(handler-case (progn ,@body)
       (error (,condition)
         (note-fault ,in-force ,condition)))))

(defun note-fault (in-force condition)
  (unless (in-force-faulty in-force)
    (setf (in-force-faulty in-force) t)
    (log-fault (format nil "a fault in the policy ~S; it excludes what it cannot judge"
                       (policy-name (in-force-policy in-force)))
               condition))
  nil)

(defun situation-now (in-force now waiting workers)
  "Return the situation with WAITING tasks and that number of WORKERS."
  (when (or (null (in-force-situation in-force))
            (>= (- now (in-force-noted-at in-force)) +situation+))
    (setf (in-force-situation in-force) (situation-at (floor (wall-clock) 1000000))
          (in-force-noted-at in-force) now))
  (let ((situation (in-force-situation in-force)))
    (setf (situation-waiting situation) waiting
          (situation-workers situation) workers)
    situation))

(defun in-force-set-clock (in-force seconds now)
  "Let the local time be what it is SECONDS after the Epoch, as of NOW."
  (setf (in-force-situation in-force) (situation-at seconds)
        (in-force-noted-at in-force) now))

(defun consider-policy (in-force job now waiting workers)
  "Let what the policy says of JOB as of NOW be its plan: NIL if there is no policy, or the task manages a model
on the worker that it names, :FAULT if there is a fault. There are so many tasks WAITING, and so many WORKERS."
  (let ((policy (in-force-policy in-force)))
    (setf (job-plan job)
          (and policy
               (work-kind-loads (job-kind job))
               (or (excluding-faults (in-force)
                     (plan-task policy (task-view job now) (situation-now in-force now waiting workers)))
                   :fault)))))

(defun model-on (worker job)
  "Return the WORKER-MODEL of what JOB needs on WORKER, NIL if that does not have it."
  (values (gethash (job-model job) (worker-models worker))))

(declaim (inline permitted-p))
(defun permitted-p (in-force worker job model)
  "Return whether the policy lets JOB, with the plan that it has, run on WORKER with MODEL; note its weight."
  (or (null (job-plan job))
      (weighed-p in-force worker job model)))

(defun weighed-p (in-force worker job model)
  (let ((weight (excluding-faults (in-force)
                  (and (typep (job-plan job) 'plan)
                       (judge (job-plan job) (worker-view worker model))))))
    (when weight
      (setf (worker-weight worker) weight)
      t)))

(defun permitted-later-p (in-force worker job model)
  "Return whether the policy lets JOB run on WORKER with MODEL, or may do so at another time or load."
  (or (permitted-p in-force worker job model)
      (multiple-value-bind (weight rules) (judged in-force worker job)
        (declare (ignore weight))
        (let ((excluding (remove nil rules :key #'cdr :test-not #'eq)))
          (and excluding
               (loop for (name) in excluding
                     always (rule-passing-p (policy-rule (in-force-policy in-force) name))))))))

(defun class-of-job (in-force job)
  "Return what is EQUAL for jobs that have to wait when the policy lets one of them wait."
  (let ((plan (job-plan job)))
    (and (typep plan 'plan)
         (excluding-faults (in-force)
           (let* ((distinctions (policy-distinctions (plan-policy plan)))
                  (class (class-of-task distinctions (plan-view plan))))
             (if (distinctions-waiting-p distinctions)
                 (cons (job-number job) class)
                 class))))))

(defun judged (in-force worker job)
  "Return the weight of WORKER for JOB, with the plan that it has, NIL if it is excluded; and the rules that say
so, see JUDGE-VERBOSE."
  (if (null (job-plan job))
      (values 1d0 '())
      (let ((judgement (excluding-faults (in-force)
                         (and (typep (job-plan job) 'plan)
                              (multiple-value-list
                               (judge-verbose (job-plan job) (worker-view worker (model-on worker job))))))))
        (values-list (or judgement (list nil '()))))))

(defun allowance (job)
  "Return what the plan of JOB lays down for when it is late, see hydramesh/head/hedging. With a fault in it, the
job runs on no more workers than it has to."
  (let ((plan (job-plan job)))
    (case plan
      ((nil) nil)
      (:fault :never)
      (t
       (let ((hedge (plan-hedge plan)))
         (cond ((null hedge) nil)
               ((not (hedge-allowed hedge)) :never)
               ((hedge-after hedge) (seconds (hedge-after hedge)))
               (t (hedge-lateness hedge))))))))
