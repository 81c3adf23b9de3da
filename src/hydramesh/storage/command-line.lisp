(defpackage #:hydramesh/storage/command-line
  (:use #:cl)
  (:import-from #:hydramesh/service/flags #:help)
  (:import-from #:hydramesh/settings #:load-settings #:settings-error #:settings-state-dir #:settings-storage)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:hydramesh/storage/limits #:+hours-days+)
  (:import-from #:hydramesh/storage/opening #:storage-path)
  (:import-from #:hydramesh/storage/store #:storage-failure)
  (:export #:bad-usage #:refuse #:parse-arguments #:span-in #:recorded-at #:run-reading)
  (:documentation "What the commands that read a head's records have alike in their arguments."))
(in-package #:hydramesh/storage/command-line)

(define-condition bad-usage (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "The arguments are not understood."))

(defun refuse (control &rest arguments)
  "Signal BAD-USAGE, for the reason that CONTROL and ARGUMENTS make as in FORMAT."
  (error 'bad-usage :reason (apply #'format nil control arguments)))

(defun take-value (flag argument arguments)
  "Return what is given to FLAG if ARGUMENT is that, else NIL; and those of ARGUMENTS, which follow it, that
are left. Signal BAD-USAGE if nothing is given."
  (let ((equals (position #\= argument)))
    (cond ((string/= flag (subseq argument 0 equals)) (values nil arguments))
          (equals (values (subseq argument (1+ equals)) arguments))
          (arguments (values (first arguments) (rest arguments)))
          (t (refuse "argument ~A: expected one argument" flag)))))

(defun parse-arguments (function arguments)
  "Call FUNCTION with each of ARGUMENTS, and with a function that returns what is given to a flag, if the argument
is that, else NIL. It returns whether it knows the argument. Return those that it does not know: the flags of
settings, and what is given to them. Signal BAD-USAGE."
  (let ((rest '()))
    (loop while arguments
          do (let ((argument (pop arguments)))
               (unless (funcall function argument
                                (lambda (flag)
                                  (multiple-value-bind (value left) (take-value flag argument arguments)
                                    (setf arguments left)
                                    value)))
                 (push argument rest)
                 (when (and arguments (eql 0 (search "-" argument)) (not (find #\= argument)))
                   (push (pop arguments) rest)))))
    (nreverse rest)))

(defparameter +units+
  '(("s" . 1) ("m" . 60) ("min" . 60) ("h" . 3600) ("d" . 86400) ("w" . 604800))
  "Seconds in the units of a span of time.")

(defun span-in (text)
  "Return the seconds that TEXT, given to --since, means: a number and a unit. Signal BAD-USAGE."
  (let* ((end (or (position-if-not #'digit-char-p text) (length text)))
         (unit (cdr (assoc (subseq text end) +units+ :test #'string=)))
         (seconds (and unit (< 0 end 8) (* unit (parse-integer text :end end)))))
    (unless (and seconds (<= 1 seconds (* 86400 +hours-days+)))
      (refuse "--since ~A is not valid: it must be a number and s, min (or m), h, d or w, as 90min, of two ~
               years at most"
              (printable text)))
    seconds))

(defun recorded-at (arguments environment purpose)
  "Return the path of the store that the settings in ARGUMENTS and ENVIRONMENT name, and its kind.
PURPOSE is what a record is for, as \"show\". Signal BAD-USAGE if there is none, or SETTINGS-ERROR."
  (let ((settings (load-settings arguments environment)))
    (when (string= (settings-storage settings) "none")
      (refuse "storage = \"none\" keeps nothing to ~A" purpose))
    (when (string= (settings-state-dir settings) "")
      (refuse "there is no folder to look in: give --state-dir"))
    (values (storage-path (settings-state-dir settings) (settings-storage settings))
            (settings-storage settings))))

(defun run-reading (name parse print-help path print)
  "Run the command NAME, which prints what a store has, and return the exit status. PARSE returns options, or NIL
if help is asked for; PATH of options is the store's, and PRINT prints what they ask for to a stream, as
PRINT-HELP does the help. Signal STREAM-ERROR if it cannot be printed."
  (let ((stream (sb-sys:make-fd-stream 1 :output t :input nil :buffering :full
                                         :external-format '(:utf-8 :replacement #\?))))
    (flet ((complain (control &rest arguments)
             (format *error-output* "hydramesh ~A: ~?~%" name control arguments)
             (finish-output *error-output*)))
      (handler-case
          (let ((options (funcall parse)))
            (if options
                (handler-case (funcall print options stream)
                  (storage-failure (condition)
                    (complain "~A: ~A" (printable (funcall path options)) condition)
                    (return-from run-reading 1)))
                (funcall print-help stream))
            (finish-output stream)
            0)
        (help ()
          (funcall print-help stream)
          (finish-output stream)
          0)
        ((or bad-usage settings-error) (condition)
          (complain "~A" condition)
          2)))))
