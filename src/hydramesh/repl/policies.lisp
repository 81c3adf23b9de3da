(defpackage #:hydramesh/repl/policies
  (:use #:cl)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/dispatcher #:dispatcher-workers)
  (:import-from #:hydramesh/head/in-force #:in-force-policy #:in-force-refused)
  (:import-from #:hydramesh/head/registry #:registry-in-force)
  (:import-from #:hydramesh/policy-file #:put-in-force)
  (:import-from #:hydramesh/policy/check #:summary-lines)
  (:import-from #:hydramesh/policy/policy)
  (:import-from #:hydramesh/repl/console #:look)
  (:export #:policy #:load-policy)
  (:documentation "What a session of the REPL can ask of the policy in force, and do to it."))
(in-package #:hydramesh/repl/policies)

(defun policy ()
  "Print the policy in force, and what is wrong with the one that should have replaced it."
  (multiple-value-bind (policy refused)
      (look (lambda (core now)
              (declare (ignore now))
              (let ((in-force (registry-in-force (dispatcher-workers (core-dispatcher core)))))
                (values (in-force-policy in-force) (in-force-refused in-force)))))
    (if policy
        (format t "~{~A~%~}" (summary-lines policy))
        (format t "no policy is in force~%"))
    (unless (string= refused "")
      (format t "the next one was refused:~%~A~%" refused)))
  (values))

(defun load-policy (file)
  "Have the policy in FILE decide until the head reads its settings again. If it is wrong, the old one stays:
POLICY-ERRORS is signalled, which prints where."
  (check-type file string)
  (let ((policy (hydramesh/policy/policy:load-policy file)))
    (look (lambda (core now)
            (put-in-force (core-dispatcher core) policy now))))
  (policy))
