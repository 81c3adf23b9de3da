(defpackage #:hydramesh/repl/session
  (:use #:cl)
  (:import-from #:hydramesh/foreign/stack #:guard-stack-again)
  (:import-from #:hydramesh/repl/bounds #:within-time #:with-bounded-output)
  (:import-from #:hydramesh/repl/commands #:quit)
  (:import-from #:hydramesh/repl/console #:console #:*console* #:*core* #:console-core)
  (:import-from #:hydramesh/service/logs #:log-fault)
  (:import-from #:hydramesh/shown #:shown-text)
  (:export #:converse #:+at-a-terminal+ #:+not-at-a-terminal+ #:+end+)
  (:documentation "A session of the REPL: read, evaluate, print.

What is evaluated runs in the session's own thread, and gets to the head through hydramesh/repl/console. An
error is printed. At a terminal its restarts are offered then, and a number takes one; else the next form
is read."))
(in-package #:hydramesh/repl/session)

(defconstant +most-seconds+ 60 "That a form may take.")

(defconstant +most-characters+ 262144 "That a form may print.")

(defconstant +most-levels+ 9 "Errors that may be open at a time.")

;; A client may begin with one of these lines, which to Lisp are comments.
(defparameter +at-a-terminal+ ";terminal")
(defparameter +not-at-a-terminal+ ";pipe")

(defparameter +end+ (code-char 0)
  "Ends what a session says; then comes 0, or 1 if a form failed.")

(defstruct session
  "STREAM goes to the client, TERMINAL says whether a person sits there. FAILED is true once a form was
not evaluated to its end; OUTPUT is where the present one prints."
  (stream nil :read-only t)
  (terminal t)
  (failed nil)
  (output nil)
  (outermost nil))

(defun converse (stream console)
  "Evaluate what comes from STREAM and answer there, until either ends. CONSOLE is the head."
  ;; A handler would find the errors of what is evaluated too.
  (catch 'ended
    (let ((session (make-session :stream stream))
          (sb-ext:*invoke-debugger-hook* #'end))
      (greet session)
      (progv '(*package* *readtable* *read-eval* *print-length* *print-level* *print-circle* *print-pretty*
               *print-right-margin* *print-readably* *random-state* * ** *** + ++ +++ / // /// -)
          (list (find-package '#:hydramesh-user) (copy-readtable nil) t 100 8 t t 100 nil
                (make-random-state t) nil nil nil nil nil nil nil nil nil nil)
        (let ((*console* console) (*core* (console-core console)))
          (catch 'quit
            (turns session 0))))
      (format stream "~C~D" +end+ (if (session-failed session) 1 0))
      (finish-output stream))))

(defun leave-session (exit &rest arguments)
  "Do as EXIT with ARGUMENTS, but in a session end only that."
  (if *console*
      (throw 'quit nil)
      (apply exit arguments)))

;; Whoever is used to SBCL leaves a session with (sb-ext:exit); all tasks would end with it.
(sb-int:encapsulate 'sb-ext:exit 'leave-session #'leave-session)

(defun end (condition hook)
  "End the session because of CONDITION, which no form has caused."
  (declare (ignore hook))
  (unless (typep condition 'stream-error) ; the client is gone
    (log-fault "a fault in the REPL; please report this" condition))
  (throw 'ended nil))

(defun greet (session)
  (let ((stream (session-stream session)))
    (when (eql (peek-char nil stream nil nil) #\;)
      (let ((line (string-right-trim '(#\Return) (read-line stream nil ""))))
        (when (string= line +not-at-a-terminal+)
          (setf (session-terminal session) nil))))
    (when (session-terminal session)
      (say session (format nil "HydraMesh. (help) lists what there is, (quit) ends this session.~%")))))

(defun say (session text)
  (write-string text (session-stream session))
  (finish-output (session-stream session)))

;;; Turns

(defun turns (session level &optional restarts)
  "Read and evaluate until the input ends. At a LEVEL above 0, RESTARTS may be taken by their numbers."
  (loop
    (when (session-terminal session)
      (say session (format nil "~:[~*~;[~D] ~]hydramesh> " (plusp level) level)))
    (let ((form (next-form session)))
      (cond ((and (integerp form) (< -1 form (length restarts)))
             (let ((*query-io* (two-ways session)))
               (invoke-restart-interactively (nth form restarts))))
            (t (evaluate session form level))))))

(defun next-form (session)
  "Return the next form. At the end of the input, and if what came can be read no further, leave."
  (let ((stream (session-stream session)))
    (loop
      (handler-case
          (let ((form (read stream nil stream)))
            (when (eq form stream)
              (throw 'quit nil))
            (return form))
        (end-of-file ()
          (fail session "the last form does not end")
          (throw 'quit nil))
        ((and stream-error (not reader-error)) ()
          (throw 'ended nil))
        (error (condition)
          (fail session (text-of condition))
          (read-line stream nil))
        (storage-condition (condition)
          (guard-stack-again condition)
          (fail session "the form is nested too deeply, or too large")
          (throw 'quit nil))))))

(defun fail (session text)
  (setf (session-failed session) t)
  (say session (format nil ";; ~A~%" (shown-text text 2000))))

(defun text-of (condition)
  "Return what CONDITION says, in a line."
  (let ((text (handler-case
                  (if (and (typep condition 'reader-error) (typep condition 'simple-condition))
                      (apply #'format nil (simple-condition-format-control condition)
                             (simple-condition-format-arguments condition)) ; not the stream
                      (princ-to-string condition))
                (error () "what it says cannot be printed"))))
    (format nil "~{~A~^ ~}" (remove "" (uiop:split-string text :separator '(#\Space #\Newline #\Tab))
                                    :test #'string=))))

;;; Evaluating

(defun two-ways (session)
  (make-two-way-stream (session-stream session) (or (session-output session) (session-stream session))))

(defun evaluate (session form level)
  "Evaluate FORM and print its values, or what went wrong."
  (multiple-value-bind (done cut)
      (with-bounded-output (output +most-characters+ (lambda (text) (say session text)))
        (let* ((before (session-output session))
               (streams (make-two-way-stream (session-stream session) output))
               (*standard-output* output) (*error-output* output) (*trace-output* output)
               (*standard-input* (session-stream session))
               (*query-io* streams) (*debug-io* streams) (*terminal-io* streams))
          (setf (session-output session) output)
          (unwind-protect (evaluate-bounded session form level)
            (setf (session-output session) before))))
    (declare (ignore done))
    (when cut
      (setf (session-failed session) t))))

(defun evaluate-bounded (session form level)
  (catch 'next-form
    (handler-case
        (within-time +most-seconds+
                     (lambda (lift)
                       (with-simple-restart (abort "Leave this form~:[~;, back to [~:*~D]~]."
                                                  (and (plusp level) level))
                         (unless (session-outermost session)
                           (setf (session-outermost session) (find-restart 'abort)))
                         (unwind-protect
                              (let ((sb-ext:*invoke-debugger-hook*
                                      (lambda (condition hook)
                                        (declare (ignore hook))
                                        (funcall lift)
                                        (offer session condition level))))
                                (print-values (multiple-value-list (eval (noted form)))))
                           (when (zerop level)
                             (setf (session-outermost session) nil)))))
                     (lambda ()
                       (complain session "it took more than ~D s" +most-seconds+)))
      ;; Nothing may be called where the stack has ended; so the stack is left first.
      (storage-condition (condition)
        (guard-stack-again condition)
        (complain session "~A: it took too much memory" (type-of condition))))))

(defun noted (form)
  (setf - form))

(defun print-values (values)
  (setf *** ** ** * * (first values)
        /// // // / / values
        +++ ++ ++ + + -)
  (dolist (value values)
    (fresh-line)
    (prin1 value))
  (fresh-line))

(defun complain (session format &rest arguments)
  (setf (session-failed session) t)
  (fresh-line)
  (format t ";; ~?~%" format arguments))

;;; Errors

(defun offer (session condition level)
  "Print CONDITION. At a terminal let one of its restarts be chosen; else go on with the next form."
  (complain session "~A: ~A" (type-of condition) (text-of condition))
  (let ((restarts (ours session condition)))
    (cond ((not (session-terminal session))
           (throw 'next-form nil))
          ((>= (1+ level) +most-levels+)
           (complain session "that is too many errors at a time")
           (invoke-restart (session-outermost session)))
          (t
           (loop for restart in restarts
                 for number from 0
                 do (format t ";; ~D: [~A] ~A~%" number (restart-name restart) restart))
           (finish-output)
           (turns session (1+ level) restarts)))))

(defun ours (session condition)
  "Return the restarts for CONDITION, those of the session's thread itself left out."
  (let* ((all (compute-restarts condition))
         (outermost (position (session-outermost session) all)))
    (subseq all 0 (if outermost (1+ outermost) 0))))
