(defpackage #:hydramesh/service/logs
  (:use #:cl)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/shown #:shown #:shown-text #:+message+)
  (:export #:configure #:log-debug #:log-info #:log-warning #:log-error #:log-fault
           #:describe-condition)
  (:documentation "Structured logs on stderr, for people at a terminal and for the journal.

Under systemd each line starts with its priority (sd-daemon(3)) and carries no time of its own, since
the journal adds both; elsewhere it is coloured if stderr is a terminal. An entry is one line,
backtraces aside, whatever names or messages of other machines are in it. What cannot be written is
lost: a log nobody reads must not end the program."))
(in-package #:hydramesh/service/logs)

(defparameter +levels+ '(:debug :info :warning :error))

(defparameter +priorities+ '(:debug 7 :info 6 :warning 4 :error 3))

(defvar *level* :info "The least level that is written.")
(defvar *journal-p* nil "Whether the journal reads stderr.")
(defvar *colours-p* nil "Whether a person does, at a terminal.")

(defvar *lost* 0 "Entries that could not be written since the last one that was.")
(defvar *torn-p* nil "Whether what was written last is the beginning of one.")

(sb-ext:defglobal **lock** (sb-thread:make-mutex :name "log"))

(defun configure (level)
  "Write what is said from LEVEL up: \"debug\", \"info\", \"warning\" or \"error\"."
  (setf *level* (find level +levels+ :test #'string-equal)
        *journal-p* (and (sb-posix:getenv "JOURNAL_STREAM") t)
        *colours-p* (eql (sb-unix:unix-isatty 2) 1)))

;;; Values. A key is a keyword; its value a string, a number, T, NIL for none, or anything that PRINC
;;; shows.

(defun key-name (key)
  (substitute #\_ #\- (string-downcase key)))

(defun value-text (value)
  (typecase value
    (string (shown value +message+))
    (float (let ((*read-default-float-format* (type-of value)))
             (prin1-to-string value)))
    (integer (format nil "~D" value))
    (symbol (shown (string-downcase value) +message+))
    (t (shown (bounded-princ value) +message+))))

(defun bounded-princ (value)
  (let ((*print-length* 50) (*print-level* 3) (*print-array* nil) (*print-circle* nil)
        (*print-pretty* nil) (*print-readably* nil))
    (handler-case (princ-to-string value)
      (error () "what cannot be printed"))))

;;; For the journal: logfmt.

(defun write-escaped (text characters stream)
  "Write TEXT with a backslash before each of CHARACTERS."
  (loop for character across text
        do (when (find character characters)
             (write-char #\\ stream))
           (write-char character stream)))

(defun write-logfmt-value (text stream)
  (if (find-if (lambda (character) (find character " =\"")) text)
      (progn (write-char #\" stream)
             (write-escaped text "\\\"" stream)
             (write-char #\" stream))
      (write-string text stream)))

(defun journal-line (event fields stream)
  (write-string "event=" stream)
  (write-logfmt-value event stream)
  (loop for (key value) on fields by #'cddr
        do (format stream " ~A" (key-name key))
           (unless (eq value t)
             (write-char #\= stream)
             (when value
               (write-logfmt-value (value-text value) stream)))))

;;; For people

(defun colour (code stream)
  (when *colours-p*
    (format stream "~C[~Dm" (code-char 27) code)))

(defun write-quoted (text stream)
  "Write TEXT as Python's repr does."
  (let ((quote (if (and (find #\' text) (not (find #\" text))) #\" #\')))
    (write-char quote stream)
    (write-escaped text (if (char= quote #\') "\\'" "\\") stream)
    (write-char quote stream)))

(defun write-console-value (value stream)
  (let ((text (case value
                ((t) "True")
                ((nil) "None")
                (t (value-text value)))))
    (if (and (stringp value) (find-if (lambda (character) (find character " ='\"")) text))
        (write-quoted text stream)
        (write-string text stream))))

(defun write-time (stream)
  (multiple-value-bind (second minute hour) (get-decoded-time)
    (format stream "~2,'0D:~2,'0D:~2,'0D" hour minute second)))

(defun sorted-fields (fields)
  (sort (loop for (key value) on fields by #'cddr collect (cons (key-name key) value))
        #'string< :key #'car))

(defun console-line (level event fields stream)
  (colour 2 stream)
  (write-time stream)
  (colour 0 stream)
  (write-string " [" stream)
  (colour (ecase level ((:debug :info) 32) (:warning 33) (:error 31)) stream)
  (colour 1 stream)
  (format stream "~(~9A~)" level)
  (colour 0 stream)
  (write-string "] " stream)
  (colour 1 stream)
  (if fields
      (format stream "~30A" event)
      (write-string event stream))
  (colour 0 stream)
  (loop for (key . value) in (sorted-fields fields)
        do (write-char #\Space stream)
           (colour 36 stream)
           (write-string key stream)
           (colour 0 stream)
           (write-char #\= stream)
           (colour 35 stream)
           (write-console-value value stream)
           (colour 0 stream)))

;;; Out

(defconstant +at-once+ 4096 "Bytes that a pipe takes without a wait if it takes any: PIPE_BUF of Linux.")

(defparameter +patience+ 1/4 "Seconds that whoever reads the log may take, before it is as if nobody did.")

(defun write-part (octets start end)
  "Write OCTETS from START to END, at most +AT-ONCE+ of them; return how many were, or NIL if none can be."
  (loop
    ;; The log of a service is a pipe or a socket, and what reads it may hang.
    (unless (sb-sys:wait-until-fd-usable 2 :output (if (plusp *lost*) 0 +patience+) nil)
      (return nil))
    (multiple-value-bind (written errno)
        (sb-sys:with-pinned-objects (octets)
          (sb-unix:unix-write 2 octets start (- end start)))
      (cond (written (return written))
            ((/= errno sb-unix:eintr) (return nil))))))

(defun write-whole (octets)
  "Write OCTETS; return whether all of them were."
  (loop with start = 0
        while (< start (length octets))
        do (let ((written (write-part octets start (min (length octets) (+ start +at-once+)))))
             (cond (written (incf start written))
                   (t (when (plusp start)
                        (setf *torn-p* t))
                      (return nil))))
        finally (return t)))

(defun octets-of (text)
  (sb-ext:string-to-octets text :external-format '(:utf-8 :replacement #\?)))

(defun tell-of-the-lost ()
  "Say how many lines were lost, if that is possible now; return whether it was, or none were."
  (or (zerop *lost*)
      (let ((text (entry :warning "lines of this log were lost, since nobody read it" (list :lines *lost*)
                         nil)))
        (when (write-whole (octets-of (if *torn-p* (format nil "~%~A" text) text)))
          (setf *lost* 0
                *torn-p* nil)
          t))))

(defun write-all (octets)
  (sb-thread:with-recursive-lock (**lock**)
    (unless (and (tell-of-the-lost) (write-whole octets))
      (incf *lost*))))

(defun prioritized (text priority)
  (with-output-to-string (stream)
    (loop for start = 0 then (1+ end)
          for end = (position #\Newline text :start start)
          do (format stream "<~D>~A~%" priority (subseq text start end))
          while end)))

(defun entry (level event fields backtrace)
  (let* ((event (shown event +message+))
         (text (with-output-to-string (stream)
                 (if *journal-p*
                     (journal-line event fields stream)
                     (console-line level event fields stream))
                 (when backtrace
                   (format stream "~%~A" (string-right-trim '(#\Newline)
                                                            (shown-text backtrace)))))))
    (if *journal-p*
        (prioritized text (getf +priorities+ level))
        (format nil "~A~%" text))))

(defun say (level event fields &optional backtrace)
  (when (>= (position level +levels+) (position *level* +levels+))
    (write-all (octets-of (entry level event fields backtrace))))
  nil)

(defun log-debug (event &rest fields &key &allow-other-keys)
  "Say EVENT with FIELDS, keywords and their values, to those who look for the cause of something."
  (say :debug event fields))

(defun log-info (event &rest fields &key &allow-other-keys)
  "Say EVENT with FIELDS: what went as it should."
  (say :info event fields))

(defun log-warning (event &rest fields &key &allow-other-keys)
  "Say EVENT with FIELDS: somebody may want to do something about it."
  (say :warning event fields))

(defun log-error (event &rest fields &key &allow-other-keys)
  "Say EVENT with FIELDS: something does not work."
  (say :error event fields))

;;; Faults. What a frame or a condition holds may be a user's text or a key, so neither is printed.

(defparameter +frames+ 60 "Calls that a backtrace shows.")

(defun backtrace-text ()
  (with-output-to-string (stream)
    (loop for (name) in (sb-debug:list-backtrace :count +frames+)
          for number from 0
          do (format stream "  ~D: ~A~%" number (bounded-princ name)))))

(defun describe-condition (condition)
  "Return what CONDITION says, in a line; of a value of the wrong type only what it is."
  (shown (typecase condition
           (type-error
            (format nil "~A: a ~A where a ~A belongs" (type-of condition)
                    (bounded-princ (class-name (class-of (type-error-datum condition))))
                    (bounded-princ (type-error-expected-type condition))))
           (t (format nil "~A: ~A" (bounded-princ (type-of condition)) (bounded-princ condition))))
         +message+))

(defun log-fault (event condition &rest fields &key &allow-other-keys)
  "Say EVENT and FIELDS with CONDITION and the calls that led to it: something must be mended.
To be called by a handler, before the stack is unwound."
  (say :error event fields
       (format nil "~A~A" (backtrace-text) (describe-condition condition))))
