(defpackage #:hydramesh/replay/options
  (:use #:cl)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:hydramesh/storage/command-line #:parse-arguments #:recorded-at #:refuse #:span-in)
  (:export #:options #:options-file #:options-in-force #:options-span #:options-json #:options-seed
           #:options-path #:options-storage #:parse #:+replay-help+)
  (:documentation "What `hydramesh policy replay` is asked for."))
(in-package #:hydramesh/replay/options)

(defparameter +replay-help+ "usage: hydramesh policy replay FILE [--since SPAN] [--in-force FILE] [--json]
                               [--seed NUMBER] [--SETTING VALUE]...

Runs the tasks that a head has recorded through the policy in FILE, in a simulation of the head and its
workers. Before that the simulation repeats what really happened, and its error is printed.

options:
  -h, --help            show this help message and exit
  --since SPAN          how far back; a day is kept: a number and s, min, h, d or w, as 30min (default: 1h)
  --in-force FILE       the policy that was in force then (default: none was)
  --json                print JSON
  --seed NUMBER         what is drawn from, where a task runs on another worker than it did (default: 0)
  --state-dir VALUE     folder in which the head records; a service's is /var/lib/daiic-hydramesh
  --storage VALUE       sqlite or streamdb (default: sqlite)

Exit status: 0 if it was replayed, 1 if a policy is wrong or there is nothing to replay, 2 if the
arguments are not understood.
")

(defstruct (options (:copier nil))
  "SPAN is in seconds; PATH and STORAGE are the store's."
  (file nil)
  (in-force nil)
  (span 3600)
  (json nil)
  (seed 0)
  (path "")
  (storage ""))

(defun seed-in (text)
  (unless (and (<= 1 (length text) 18) (every #'digit-char-p text))
    (refuse "--seed ~A is not valid: it must be a whole number, of 18 digits at most" (printable text)))
  (parse-integer text))

(defun parse (arguments environment)
  "Return the options in ARGUMENTS, strings, or NIL if help is asked for; what is a setting's is left to
those. Signal BAD-USAGE or SETTINGS-ERROR."
  (let* ((options (make-options))
         (settings (parse-arguments (lambda (argument given)
                                      (when (member argument '("-h" "--help") :test #'string=)
                                        (return-from parse nil))
                                      (take-option argument given options))
                                    arguments)))
    (unless (options-file options)
      (refuse "name a file with a policy"))
    (setf (values (options-path options) (options-storage options))
          (recorded-at settings environment "replay"))
    options))

(defun take-option (argument given options)
  "Put ARGUMENT, of which GIVEN is as in PARSE-ARGUMENTS, in OPTIONS; return whether it belongs there."
  (let (found)
    (flet ((given-p (flag)
             (setf found (funcall given flag))))
      (cond ((string= argument "--json") (setf (options-json options) t))
            ((given-p "--since") (setf (options-span options) (span-in found)))
            ((given-p "--in-force") (setf (options-in-force options) found))
            ((given-p "--seed") (setf (options-seed options) (seed-in found)))
            ((and (> (length argument) 1) (char= (char argument 0) #\-)) nil)
            ((options-file options)
             (refuse "there are two files, ~A and ~A: name one" (printable (options-file options))
                     (printable argument)))
            (t (setf (options-file options) argument))))))
