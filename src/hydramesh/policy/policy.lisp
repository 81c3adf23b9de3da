(defpackage #:hydramesh/policy/policy
  (:use #:cl)
  (:import-from #:hydramesh/bounded-file #:read-bounded #:unreadable-file #:unreadable-file-reason)
  (:import-from #:hydramesh/policy/alike #:distinctions #:distinctions-in #:keeping-nodes)
  (:import-from #:hydramesh/policy/effects
                #:effect #:effect-in #:effect-kind #:effect-names #:effect-for #:effect-index
                #:about-task-p)
  (:import-from #:hydramesh/policy/expressions #:arguments #:expected #:head-word #:wrong-p #:*prices*)
  (:import-from #:hydramesh/policy/limits #:+file+ #:+name+ #:+rules+ #:+prices+ #:+reservations+)
  (:import-from #:hydramesh/policy/mistakes #:note #:noting-mistakes #:suggestion)
  (:import-from #:hydramesh/policy/nodes #:node-of #:node-on #:on-worker-p #:both)
  (:import-from #:hydramesh/policy/passing #:passing-p)
  (:import-from #:hydramesh/policy/prices #:price-in)
  (:import-from #:hydramesh/policy/reader
                #:form #:form-kind #:form-value #:form-position #:read-forms #:decoded)
  (:import-from #:hydramesh/sha256 #:sha256-hex)
  (:export #:placement-policy #:policy-name #:policy-digest #:policy-text #:policy-rules
           #:policy-rule-count #:policy-price-names #:policy-reservations #:policy-distinctions
           #:rule #:rule-name #:rule-line #:rule-task-test #:rule-worker-test #:rule-effects
           #:rule-conditional-p #:rule-passing-p #:policy-rule
           #:read-policy #:load-policy)
  (:documentation "A policy: what a text says of where tasks go, checked and ready to decide by."))
(in-package #:hydramesh/policy/policy)

(defstruct (rule (:copier nil))
  "NAME is what explanations call it; LINE is where it begins. Its effects hold where both tests are true, of
which TASK-TEST does not depend on the worker; NIL is always true. PASSING-P says that it may say something else
later of the same task and worker. KEEPING are the nodes by which it keeps tasks from
workers."
  (name "" :type string :read-only t)
  (line 1 :type fixnum :read-only t)
  (task-test nil :type (or null function) :read-only t)
  (worker-test nil :type (or null function) :read-only t)
  (effects '() :type list :read-only t)
  (passing-p nil :read-only t)
  (keeping '() :type list :read-only t))

(defun rule-conditional-p (rule)
  "Return whether RULE says for which tasks or when it holds."
  (and (rule-task-test rule) t))

(defstruct (placement-policy (:conc-name policy-) (:copier nil))
  "DIGEST is the SHA-256 of TEXT, in hexadecimal. RULES are in the order in which they were written. The
effects that reserve something are RESERVATIONS, in the order of their indices. Tasks that DISTINCTIONS cannot
tell apart can wait for each other."
  (name "" :type string :read-only t)
  (digest "" :type string :read-only t)
  (text "" :type string :read-only t)
  (rules #() :type simple-vector :read-only t)
  (price-names '() :type list :read-only t)
  (reservations '() :type list :read-only t)
  (distinctions nil :type (or null distinctions) :read-only t))

(defun policy-rule-count (policy)
  "Return the number of rules in POLICY."
  (length (policy-rules policy)))

(defun policy-rule (policy name)
  "Return the rule of POLICY with that NAME, or NIL."
  (find name (policy-rules policy) :key #'rule-name :test #'string=))

;;; Reading

(defun load-policy (path)
  "Return the policy in the file PATH, a string. Signal POLICY-ERRORS if there is none, or it cannot be read."
  (let ((octets (handler-case (read-bounded path +file+)
                  (unreadable-file (condition)
                    (noting-mistakes (path "")
                      (note 0 "name a file with a policy" "it cannot be read: ~A"
                            (unreadable-file-reason condition)))))))
    (read-policy (decoded octets) path)))

(defun read-policy (text name)
  "Return the policy that TEXT is. Signal POLICY-ERRORS, in which the text is called NAME, if it is none."
  (let ((text (coerce text '(simple-array character (*)))))
    (noting-mistakes (name text)
      (if (> (length text) +file+)
          (note 0 "write fewer, shorter rules" "a policy has at most ~D KiB" (ash +file+ -10))
          (policy-in (read-forms text) text)))))

(defun policy-in (forms text)
  (let ((form (first forms)))
    (cond ((null form)
           (note 0 "write (policy \"its name\" (rule \"its name\" …) …)" "there is no policy"))
          ((wrong-p form) nil)
          ((not (equal (head-word form) "policy"))
           (note (form-position form) "write (policy \"its name\" (rule \"its name\" …) …)"
                 "this is not a policy"))
          (t
           (when (and (rest forms) (not (wrong-p (second forms))))
             (note (form-position (second forms)) "move it into the parentheses of the policy"
                   "this comes after the policy's end"))
           (policy-of form text)))))

(defun name-in (form what)
  "Return the name that FORM, a list, has behind its first word; NIL if there is a mistake."
  (let ((name (second (form-value form))))
    (cond ((null name)
           (note (form-position form) (format nil "write (~A \"its name\" …)" what) "this ~A has no name"
                 what))
          ((eq (form-kind name) :wrong) nil)
          ((not (eq (form-kind name) :text))
           (note (form-position name) (format nil "write (~A \"its name\" …)" what)
                 "a ~A begins with its name" what))
          ((not (<= 1 (length (form-value name)) +name+))
           (note (form-position name) (format nil "write one of 1 to ~D characters" +name+)
                 "this name is too ~:[long~;short~]" (string= (form-value name) "")))
          (t (form-value name)))))

(defun of-kind (kind clauses)
  (remove kind clauses :key #'head-word :test-not #'equal))

(defun policy-of (form text)
  (let* ((name (name-in form "policy"))
         (clauses (cddr (form-value form)))
         (prices (of-kind "price" clauses))
         (rules (of-kind "rule" clauses)))
    (dolist (clause clauses)
      (unless (or (wrong-p clause)
                  (member (head-word clause) '("price" "rule") :test #'equal))
        (note (form-position clause)
              (if (head-word clause)
                  (suggestion (head-word clause) '("rule" "price") "a policy has")
                  "write (rule \"its name\" …)")
              "this is no part of a policy")))
    (too-many prices +prices+ "tables of prices")
    (too-many rules +rules+ "rules")
    (let* ((*prices* (read-prices prices))
           (reservations '())
           (read (read-rules rules text
                             (lambda (position)
                               (prog1 (length reservations)
                                 (push position reservations))))))
      (when (> (length reservations) +reservations+)
        (note (first reservations) "say it in fewer rules" "a policy has at most ~D reservations"
              +reservations+))
      (make-placement-policy
       :name (or name "")
       :digest (sha256-hex (sb-ext:string-to-octets text :external-format '(:utf-8 :replacement #\?)))
       :text text
       :rules (coerce read 'simple-vector)
       :price-names (mapcar #'car *prices*)
       :distinctions (distinctions-in (loop for rule in read append (rule-keeping rule)))
       :reservations (sort (loop for rule in read
                                 append (remove nil (rule-effects rule) :key #'effect-index))
                           #'< :key #'effect-index)))))

(defun too-many (forms most what)
  (let ((first (nth most forms)))
    (when first
      (note (form-position first) "say it with fewer" "a policy has at most ~D ~A" most what))))

(defun read-prices (forms)
  (let ((prices '()))
    (dolist (form forms (nreverse prices))
      (multiple-value-bind (name node) (price-in form)
        (cond ((null name))
              ((assoc name prices :test #'string=)
               (note (form-position form) "give it another name" "there are two prices ~A" name))
              (t (push (cons name node) prices)))))))

;;; Rules

(defun read-rules (forms text next-index)
  (let ((names '()))
    (loop for form in forms
          repeat +rules+
          for rule = (rule-in form text next-index)
          when rule
            do (if (member (rule-name rule) names :test #'string=)
                   (note (form-position form) "give each a name of its own; explanations use them"
                         "there are two rules ~S" (rule-name rule))
                   (push (rule-name rule) names))
            and collect rule)))

(defun rule-in (form text next-index)
  "Return the rule in FORM. If it has a mistake, that was noted, and it may not be used."
  (let* ((name (name-in form "rule"))
         (parts (cddr (form-value form)))
         (whens (of-kind "when" parts))
         (conditions (and whens (conditions (first whens))))
         (effects (loop for part in parts
                        unless (equal (head-word part) "when")
                          collect (effect-in part next-index))))
    (when (rest whens)
      (note (form-position (second whens)) "write all conditions in one (when …)"
            "this rule has two (when …)"))
    (when (and whens (not (eq (first whens) (first parts))))
      (note (form-position (first whens)) "write it right behind the rule's name"
            "(when …) comes before what a rule does"))
    (when (null effects)
      (note (form-position form)
            (format nil "write what it does: ~{~A~^, ~}" (effect-names)) "this rule does nothing"))
    (let ((of-worker (remove-if-not #'on-worker-p conditions :key #'node-on))
          (of-task (remove-if #'on-worker-p conditions :key #'node-on)))
      (loop for effect in effects
            for part in (remove "when" parts :key #'head-word :test #'equal)
            do (when (and effect of-worker (about-task-p effect))
                 (note (form-position part) "let its (when …) be about the task and the time alone"
                       "~A is about a task, whatever its worker" (head-word part))))
      (make-rule :name (or name "")
                 :line (1+ (count #\Newline text :end (form-position form)))
                 :task-test (function-of of-task)
                 :worker-test (function-of of-worker)
                 :effects (remove nil effects)
                 :passing-p (passing-p form)
                 :keeping (keeping-nodes conditions (remove nil effects))))))

(defun function-of (conditions)
  (let ((node (both conditions)))
    (and node (node-of node))))

(defun conditions (form)
  "Return the nodes of what FORM, (when …), says, where (and …) is taken apart."
  (let ((parts (rest (form-value form))))
    (when (null parts)
      (note (form-position form) "write a condition, as in (when (= task.kind :text))"
            "(when …) has no condition"))
    (loop for part in (loop for part in (arguments parts)
                            append (taken-apart part))
          for node = (expected part :truth)
          when node collect node)))

(defun taken-apart (form)
  (if (and (equal (head-word form) "and") (rest (form-value form)))
      (loop for part in (arguments (rest (form-value form))) append (taken-apart part))
      (list form)))
