(defpackage #:hydramesh/policy/command
  (:use #:cl)
  (:import-from #:hydramesh/policy/check #:check #:+check-help+)
  (:import-from #:hydramesh/policy/explain #:explain-main)
  (:import-from #:hydramesh/policy/mistakes #:suggestion)
  (:import-from #:hydramesh/replay/command #:replay-main)
  (:import-from #:hydramesh/settings #:load-settings #:settings-error #:settings-hedge-share)
  (:import-from #:hydramesh/shown #:printable)
  (:export #:policy-main)
  (:documentation "`hydramesh policy`: what can be done with a policy outside a head."))
(in-package #:hydramesh/policy/command)

(defstruct (subcommand (:copier nil))
  "NAME is its word, ABOUT a line of help. FUNCTION takes the arguments behind the word, strings, the
environment, an alist, and two streams, for what it prints and for what it complains of; it returns the exit
status."
  (name "" :type string :read-only t)
  (about "" :type string :read-only t)
  (function nil :type function :read-only t))

(defun check-files (arguments environment stream errors)
  (multiple-value-bind (files flags) (files-and-flags arguments)
    (cond ((intersection '("-h" "--help") flags :test #'string=)
           (write-string +check-help+ stream)
           0)
          (t
           (handler-case (and flags (settings-hedge-share (load-settings flags environment)))
             (settings-error (condition)
               (complain errors "check: ~A" condition)
               2)
             (:no-error (hedge-share)
               (cond (files (check files hedge-share stream errors))
                     (t
                      (complain errors "check: name a file")
                      2))))))))

(defun files-and-flags (arguments)
  "Return those of ARGUMENTS that name files, and those that are flags of settings, with their values."
  (let ((files '()) (flags '()))
    (loop while arguments
          do (let ((argument (pop arguments)))
               (cond ((not (flag-p argument)) (push argument files))
                     (t
                      (push argument flags)
                      (when (and arguments
                                 (not (find #\= argument))
                                 (not (member argument '("-h" "--help") :test #'string=)))
                        (push (pop arguments) flags))))))
    (values (nreverse files) (nreverse flags))))

(defun flag-p (argument)
  (and (> (length argument) 1) (char= (char argument 0) #\-)))

(defparameter +subcommands+
  (list (make-subcommand :name "check" :about "whether files are policies, and what is wrong with them"
                         :function #'check-files)
        (make-subcommand :name "explain" :about "which rule sends a task to which worker, and why not to others"
                         :function #'explain-main)
        (make-subcommand :name "replay" :about "what would have become of recorded tasks under another policy"
                         :function #'replay-main))
  "What `hydramesh policy` can do.")

(defun complain (errors control &rest arguments)
  (format errors "hydramesh policy: ~?~%" control arguments))

(defun print-help (stream)
  (format stream "usage: hydramesh policy COMMAND ...

A policy says in rules where a head sends tasks; docs/policies.md tells how to write one.

commands:
~{~{  ~10A~A~}~%~}
Each has --help.
"
          (loop for subcommand in +subcommands+
                collect (list (subcommand-name subcommand) (subcommand-about subcommand)))))

(defun policy-main (arguments environment)
  "Do what ARGUMENTS, strings, ask for in ENVIRONMENT, an alist; return the exit status.
Signal STREAM-ERROR if it cannot be printed."
  (let* ((word (first arguments))
         (subcommand (find word +subcommands+ :key #'subcommand-name :test #'equal))
         (stream *standard-output*)
         (errors *error-output*))
    (prog1
        (cond (subcommand
               (funcall (subcommand-function subcommand) (rest arguments) environment stream errors))
              ((member word '("-h" "--help") :test #'equal)
               (print-help stream)
               0)
              (t
               (let ((names (mapcar #'subcommand-name +subcommands+)))
                 (complain errors "~:[there is no command ~A~;name a command~*~]; ~A"
                           (null word) (and word (printable word))
                           (suggestion (or word "") names "they are")))
               2))
      (finish-output errors)
      (finish-output stream))))
