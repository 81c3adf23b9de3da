(defpackage #:hydramesh/service/flags
  (:use #:cl)
  (:import-from #:hydramesh/service/setting
                #:setting-flag #:setting-description #:setting-default #:settings-error
                #:+environment-prefix+)
  (:import-from #:hydramesh/service/setting-kinds #:shown-value)
  (:import-from #:hydramesh/shown #:printable)
  (:export #:parse-flags #:help)
  (:documentation "The flags of a daemon, one for each setting, and the help about them."))
(in-package #:hydramesh/service/flags)

(define-condition help (condition)
  ((text :initarg :text))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'text) stream)))
  (:documentation "The arguments ask for help; what is printed gives it."))

(define-condition bad-flags (settings-error) ()
  (:documentation "The arguments are not understood."))

(defun parse-flags (settings program about arguments)
  "Return the keys and texts that ARGUMENTS give, an alist in which the last of a key comes first;
\"config\" is one. A flag may be cut short where that leaves one. Signal HELP or BAD-FLAGS."
  (let ((known (list* "--help" "--config" (mapcar #'setting-flag settings)))
        (found '())
        (strange '()))
    (loop while arguments
          do (let* ((argument (pop arguments))
                    (equals (position #\= argument))
                    (flag (and (flag-p argument)
                               (whole-flag (subseq argument 0 equals) known))))
               (cond ((null flag) (push argument strange))
                     ((string= flag "--help")
                      (if equals
                          (refuse "argument -h/--help: ignored explicit argument")
                          (error-help settings program about)))
                     (equals
                      (push (cons (key-of flag) (subseq argument (1+ equals))) found))
                     ((or (null arguments) (flag-p (first arguments)))
                      (refuse "argument ~A: expected one argument" flag))
                     (t (push (cons (key-of flag) (pop arguments)) found)))))
    (when strange
      (refuse "unrecognized arguments: ~A"
              (printable (format nil "~{~A~^ ~}" (reverse strange)))))
    found))

(defun refuse (control &rest arguments)
  (error 'bad-flags :reason (apply #'format nil control arguments)))

(defun key-of (flag)
  (substitute #\_ #\- (subseq flag 2)))

(defun flag-p (argument)
  "Return whether ARGUMENT is a flag and not a value, which a negative number or a text with spaces is."
  (and (> (length argument) 1)
       (char= (char argument 0) #\-)
       (not (every (lambda (character) (or (digit-char-p character) (char= character #\.)))
                   (subseq argument 1)))
       (not (find #\Space (subseq argument 0 (position #\= argument))))))

(defun whole-flag (written known)
  "Return the one of the KNOWN flags that was WRITTEN, whole or its beginning; NIL if none was."
  (cond ((string= written "-h") "--help")
        ((find written known :test #'string=))
        ((< (length written) 3) nil)
        (t (let ((begun (remove-if-not (lambda (flag)
                                         (eql (mismatch written flag) (length written)))
                                       known)))
             (when (rest begun)
               (refuse "ambiguous option: ~A could match ~{~A~^, ~}" (printable written) begun))
             (first begun)))))

;;; Help

(defparameter +width+ 78)
(defparameter +column+ 24)

(defun wrapped (text width)
  "Return the lines of TEXT, of WIDTH characters where its words allow."
  (let ((lines '()) (line ""))
    (loop for start = 0 then (1+ end)
          for end = (position #\Space text :start start)
          do (let ((word (subseq text start end)))
               (cond ((string= line "") (setf line word))
                     ((<= (+ (length line) 1 (length word)) width)
                      (setf line (format nil "~A ~A" line word)))
                     (t (push line lines)
                        (setf line word))))
          while end)
    (nreverse (cons line lines))))

(defun describe-flag (invocation help stream)
  (let ((lines (wrapped help (- +width+ +column+)))
        (start (format nil "  ~A" invocation)))
    (if (<= (+ (length start) 2) +column+)
        (format stream "~VA~A~%" +column+ start (pop lines))
        (format stream "~A~%" start))
    (dolist (line lines)
      (format stream "~VT~A~%" +column+ line))))

(defun default-note (default)
  (if (equal default "")
      ""
      (format nil " (default: ~A)" (shown-value default))))

(defun error-help (settings program about)
  (error
   'help
   :text
   (with-output-to-string (stream)
     (format stream "usage: ~A [-h] [--config FILE] [--SETTING VALUE]...~2%~A~2%options:~%"
             program about)
     (describe-flag "-h, --help" "show this help message and exit" stream)
     (describe-flag "--config FILE" "TOML file with settings" stream)
     (dolist (setting settings)
       (describe-flag (format nil "~A VALUE" (setting-flag setting))
                      (concatenate 'string (setting-description setting)
                                   (default-note (setting-default setting)))
                      stream))
     (format stream "~%Every setting is also a key of the file and a variable ~A<KEY>.~%"
             +environment-prefix+))))
