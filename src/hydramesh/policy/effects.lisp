(defpackage #:hydramesh/policy/effects
  (:use #:cl)
  (:import-from #:hydramesh/policy/arithmetic)
  (:import-from #:hydramesh/policy/conditions)
  (:import-from #:hydramesh/policy/expressions #:arguments #:expected #:head-word #:wrong-p)
  (:import-from #:hydramesh/policy/limits #:+most-factor+)
  (:import-from #:hydramesh/policy/mistakes #:note #:suggestion)
  (:import-from #:hydramesh/policy/nodes
                #:node #:node-of #:node-on #:node-constant #:on-worker-p #:bounded)
  (:import-from #:hydramesh/policy/reader #:form #:form-kind #:form-value #:form-position)
  (:import-from #:hydramesh/policy/types #:number-type)
  (:import-from #:hydramesh/policy/views
                #:policy-worker-slots #:policy-worker-free-slots #:policy-worker-inside)
  (:export #:effect #:effect-kind #:effect-of #:effect-about #:effect-for #:effect-index #:effect-conditions
           #:hedge #:hedge-allowed #:hedge-after #:hedge-lateness
           #:fallback #:fallback-model #:fallback-after
           #:effect-in #:effect-names #:about-task-p)
  (:documentation "What the rules of a policy do."))
(in-package #:hydramesh/policy/effects)

(defstruct (effect (:copier nil))
  "KIND is its word, a keyword. Of one on workers, OF is a function of views of a task, a worker and the
moment; it returns by what the worker's weight is multiplied, or NIL if the worker is excluded. ABOUT is the
HEDGE or the FALLBACK of one on the task. FOR is the condition of those that a reservation is for, and INDEX
its number among the reservations. CONDITIONS are the nodes of what excludes workers."
  (kind nil :type symbol :read-only t)
  (of nil :type (or null function) :read-only t)
  (about nil :read-only t)
  (for nil :type (or null function) :read-only t)
  (index nil :type (or null fixnum) :read-only t)
  (conditions '() :type list :read-only t))

(defstruct (hedge (:copier nil))
  "Whether a task may run on a second worker too, as it is late: AFTER so many seconds, or at LATENESS times
what it should have taken, or if both are NIL when the head thinks so."
  (allowed t :read-only t)
  (after nil :type (or null double-float) :read-only t)
  (lateness nil :type (or null double-float) :read-only t))

(defstruct (fallback (:copier nil))
  "A MODEL that a task may get if no worker could begin with its own AFTER so many seconds."
  (model "" :type string :read-only t)
  (after 0d0 :type double-float :read-only t))

(defun about-task-p (effect)
  "Return whether EFFECT says something of a task, not of workers."
  (null (effect-of effect)))

;;; The words

(defparameter +usages+
  '(("prefer" . "(prefer (has worker.tags :solar) 3)")
    ("avoid" . "(avoid (has worker.tags :spot) 2)")
    ("weight" . "(weight (/ 0.30 EUR/kWh price.power))")
    ("require" . "(require (= worker.backend :cuda))")
    ("exclude" . "(exclude (> worker.load 8))")
    ("reserve" . "(reserve (= worker.name \"desk-1\") (for (= task.client \"accounts\")))")
    ("fallback" . "(fallback \"small-model\" (after 5 s))")
    ("hedge" . "(hedge (after 2 s))"))
  "What a rule may do, and an example of each.")

(defun effect-names ()
  "Return the words with which a rule's effects begin."
  (mapcar #'car +usages+))

(defun usage (name)
  (format nil "write it as in ~A" (cdr (assoc name +usages+ :test #'string=))))

(defun effect-in (form next-index)
  "Return the effect that FORM says, NIL if there is a mistake. NEXT-INDEX is a function that numbers
reservations."
  (let ((name (head-word form)))
    (if (null (assoc name +usages+ :test #'equal))
        (unless (wrong-p form)
          (note (form-position form)
                (if name
                    (suggestion name (list* "when" (effect-names)) "a rule can")
                    (usage "prefer"))
                (if name "a rule cannot (~A …)" "this does nothing") name))
        (let ((parts (arguments (rest (form-value form)))))
          (flet ((is (word) (string= name word)))
            (cond ((is "prefer") (preference :prefer form parts #'identity))
                  ((is "avoid") (preference :avoid form parts (lambda (factor) (/ 1d0 factor))))
                  ((is "weight") (weight form parts))
                  ((is "require") (only-if :require form parts nil))
                  ((is "exclude") (only-if :exclude form parts t))
                  ((is "reserve") (reservation form parts next-index))
                  ((is "fallback") (fallback-in form parts))
                  (t (hedge-in form parts))))))))

(defun miscounted (form)
  (let ((name (head-word form)))
    (note (form-position form) (usage name) "this is not how to write ~A" name)))

;;; Weights

(defun factor-in (form)
  "Return the node of the number by which a weight is multiplied; NIL if there is a mistake."
  (let* ((node (expected form (number-type :plain)))
         (constant (and node (node-constant node))))
    (if (and constant (not (<= (/ 1d0 +most-factor+) constant +most-factor+)))
        (note (form-position form) (format nil "write a number from 0.001 to ~D" +most-factor+)
              "a weight cannot be multiplied by this")
        node)))

(defun within (number)
  "Return NUMBER within the bounds of a factor."
  (declare (type double-float number))
  (cond ((> number +most-factor+) (float +most-factor+ 1d0))
        ((>= number (/ 1d0 +most-factor+)) number)
        (t (/ 1d0 +most-factor+))))

(defun preference (kind form parts change)
  "Return the effect of PARTS, a condition and maybe a number, 2 if there is none, to which CHANGE is made."
  (if (not (<= 1 (length parts) 2))
      (miscounted form)
      (let* ((node (expected (first parts) :truth))
             (given (if (rest parts) (factor-in (second parts)) t))
             (constant (cond ((eq given t) 2d0)
                             (given (node-constant given)))))
        (when (and node given)
          (let ((test (node-of node)))
            (declare (type function test))
            (if constant
                (let ((factor (funcall change constant)))
                  (make-effect :kind kind
                               :of (lambda (task worker moment)
                                     (if (funcall test task worker moment) factor 1d0))))
                (let ((number (node-of given)))
                  (declare (type function number))
                  (make-effect :kind kind
                               :of (lambda (task worker moment)
                                     (if (funcall test task worker moment)
                                         (within (funcall change (within (funcall number task worker
                                                                                  moment))))
                                         1d0))))))))))

(defun weight (form parts)
  (if (/= (length parts) 1)
      (miscounted form)
      (let* ((node (factor-in (first parts)))
             (number (and node (node-of node))))
        (when node
          (make-effect :kind :weight
                       :of (if (node-constant node)
                               number
                               (lambda (task worker moment)
                                 (within (funcall (the function number) task worker moment)))))))))

;;; Hard rules

(defun only-if (kind form parts excluded)
  "Return the effect that workers are excluded of which the condition in PARTS is EXCLUDED; all are if there
is no condition."
  (cond ((and excluded (null parts))
         (make-effect :kind kind :of (constantly nil)))
        ((/= (length parts) 1) (miscounted form))
        (t
         (let* ((node (expected (first parts) :truth))
                (test (and node (node-of node))))
           (when node
             (make-effect :kind kind
                          :conditions (list node)
                          :of (if excluded
                                  (lambda (task worker moment)
                                    (if (funcall (the function test) task worker moment) nil 1d0))
                                  (lambda (task worker moment)
                                    (if (funcall (the function test) task worker moment) 1d0 nil)))))))))

(defun clauses (form parts known)
  "Return an alist of the first words of PARTS, lists that begin with one of the KNOWN words, and their
parts; :WRONG if there is a mistake."
  (let ((found '()) (wrong nil))
    (dolist (part parts (if wrong :wrong (nreverse found)))
      (let ((name (head-word part)))
        (cond ((wrong-p part) (setf wrong t))
              ((not (member name known :test #'equal))
               (note (form-position part)
                     (if name (suggestion name known "it has") (usage (head-word form)))
                     "this is no part of ~A" (head-word form))
               (setf wrong t))
              ((assoc name found :test #'string=)
               (note (form-position part) "take one of them out" "this is the second (~A …)" name)
               (setf wrong t))
              (t (push (cons name (arguments (rest (form-value part)))) found)))))))

(defun reservation (form parts next-index)
  (let* ((worker (and parts (expected (first parts) :truth)))
         (clauses (clauses form (rest parts) '("for" "share" "others"))))
    (flet ((part (name)
             (cdr (assoc name clauses :test #'string=))))
      (cond ((null parts) (miscounted form))
            ((eq clauses :wrong) nil)
            ((or (/= (length (part "for")) 1)
                 (and (assoc "share" clauses :test #'string=) (/= (length (part "share")) 1))
                 (and (assoc "others" clauses :test #'string=) (/= (length (part "others")) 1)))
             (miscounted form))
            (t
             (let ((for (about-the-task (first (part "for"))))
                   (share (if (part "share") (share (first (part "share"))) 1d0))
                   (others (if (part "others") (expected (first (part "others")) :truth) t)))
               (when (and worker for share others)
                 (reserve worker for share (if (eq others t) nil others)
                          (funcall next-index (form-position form))))))))))

(defun about-the-task (form)
  (let ((node (expected form :truth)))
    (if (and node (on-worker-p (node-on node)))
        (note (form-position form) "say of which tasks it is, as in (for (= task.client \"accounts\"))"
              "a reservation is for tasks, whatever the worker")
        node)))

(defun share (form)
  (let* ((node (expected form (number-type :plain)))
         (constant (and node (node-constant node))))
    (cond ((null node) nil)
          ((and constant (< 0 constant) (<= constant 1)) constant)
          (t (note (form-position form) "write a share of the slots, such as 50 %"
                   "a share is more than 0 % and at most 100 %")))))

(defun reserve (worker for share others index)
  "Return the effect of a reservation of SHARE; WORKER, FOR and OTHERS are nodes, the last one may be NIL."
  (make-effect
   :kind :reserve :for (node-of for) :index index
   :conditions (remove nil (list worker for others))
   :of (reserving (node-of worker) (node-of for) share (and others (node-of others)) index)))

(defun reserving (worker for share others index)
  (declare (type function worker for) (type (or null function) others) (type double-float share)
           (type fixnum index))
  (lambda (task view moment)
    (cond ((not (funcall worker task view moment)) 1d0)
          ((funcall for task nil moment) 1d0)
          ((and others (funcall others task view moment)) 1d0)
          (t
           ;; Others have what is left when those for whom it is have all that is reserved.
           (let* ((inside (policy-worker-inside view))
                  (there (if inside (aref inside index) 0))
                  (kept (max 0 (- (fceiling (* share (policy-worker-slots view))) there))))
             (if (> (policy-worker-free-slots view) kept) 1d0 nil))))))

;;; Of the task

(defun span (form parts)
  "Return the seconds in PARTS, the rest of (after …); NIL if there is a mistake."
  (let* ((node (and (= (length parts) 1) (expected (first parts) (number-type :time))))
         (seconds (and node (node-constant node))))
    (cond ((/= (length parts) 1) (miscounted form))
          ((null node) nil)
          ((and seconds (<= 0 seconds 86400)) seconds)
          (t (note (form-position (first parts)) "write a span of time of a day at most, such as 5 s"
                   "this is not how long to wait")))))

(defun fallback-in (form parts)
  (let ((clauses (clauses form (rest parts) '("after"))))
    (cond ((eq clauses :wrong) nil)
          ((or (null parts) (not (eq (form-kind (first parts)) :text))
               (string= (form-value (first parts)) ""))
           (miscounted form))
          (t
           (let ((after (if clauses (span form (cdr (first clauses))) 0d0)))
             (when after
               (make-effect :kind :fallback
                            :about (make-fallback :model (form-value (first parts)) :after after))))))))

(defun hedge-in (form parts)
  (let ((part (first parts)))
    (cond ((null parts) (make-effect :kind :hedge :about (make-hedge)))
          ((rest parts) (miscounted form))
          ((and (eq (form-kind part) :word) (string= (form-value part) "never"))
           (make-effect :kind :hedge :about (make-hedge :allowed nil)))
          ((equal (head-word part) "after")
           (hedge-after-in form (arguments (rest (form-value part)))))
          (t (miscounted form)))))

(defun percent-p (form)
  (and (eq (form-kind form) :quantity)
       (string= "%" (form-value (cdr (form-value form))))))

(defun hedge-after-in (form parts)
  (if (and (= (length parts) 1) (percent-p (first parts)))
      (let ((lateness (node-constant (expected (first parts) (number-type :plain)))))
        (if (<= 1 lateness 100)
            (make-effect :kind :hedge :about (make-hedge :lateness lateness))
            (note (form-position (first parts)) "write how late it has to be, such as 150 %"
                  "a task is late at 100 % to 10000 % of what it should have taken")))
      (let ((seconds (span form parts)))
        (when seconds
          (make-effect :kind :hedge :about (make-hedge :after seconds))))))
