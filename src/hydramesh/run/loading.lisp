(defpackage #:hydramesh/run/loading
  (:use #:cl)
  (:import-from #:hydramesh/bounded-file #:read-bounded #:unreadable-file #:unreadable-file-reason)
  (:import-from #:hydramesh/domain/definitions #:*definitions* #:bad-definition)
  (:import-from #:hydramesh/run/package)
  (:import-from #:hydramesh/service/close-match #:close-match)
  (:import-from #:hydramesh/shown #:printable)
  (:export #:load-programs #:bad-program)
  (:documentation "Reads and compiles the files of programs. They are code of whoever runs them, and may do
what he may; what is checked is that they are whole, so that a typing error is told before anything runs."))
(in-package #:hydramesh/run/loading)

(defconstant +most-bytes+ (ash 4 20) "Bytes of a program's file.")

(deftype undefined-name () '(or unbound-variable undefined-function))

(define-condition bad-program (error)
  ((file :initarg :file)
   (line :initarg :line :initform nil)
   (reason :initarg :reason))
  (:report (lambda (condition stream)
             (with-slots (file line reason) condition
               (format stream "~A~@[:~D~]: ~A" (printable file) line reason))))
  (:documentation "A program cannot be run. What is printed names the file, the line, and what is wrong."))

(defun text-of (file)
  (handler-case (without-mark (sb-ext:octets-to-string (read-bounded file +most-bytes+) :external-format :utf-8))
    (unreadable-file (condition)
      (error 'bad-program :file file
                          :reason (format nil "it cannot be read: ~A" (unreadable-file-reason condition))))
    (sb-int:character-decoding-error ()
      (error 'bad-program :file file :reason "it is not UTF-8"))))

(defun without-mark (text)
  "Return TEXT without the mark with which some editors begin a file of UTF-8."
  (string-left-trim '(#\zero_width_no-break_space) text))

(defun line-at (text position)
  (1+ (count #\Newline text :end (min position (length text)))))

(defun shown-in-one-line (condition)
  (let ((text (let ((*print-pretty* nil) (*print-length* 8) (*print-level* 4) (*print-case* :downcase))
                (princ-to-string condition))))
    (substitute #\Space #\Newline (subseq text 0 (min 400 (length text))))))

(defun read-next (file text stream)
  "Return the next form of STREAM, which reads TEXT, and the line on which it begins; STREAM itself at the
end."
  (let ((start (loop for character = (peek-char t stream nil)
                     while (eql character #\;)
                     do (read-line stream nil)
                     finally (return (file-position stream)))))
    (handler-case (values (read stream nil stream) (line-at text start))
      (end-of-file ()
        (error 'bad-program :file file :line (line-at text start)
                            :reason "a form begins here and does not end; a parenthesis or a \" is missing"))
      (error (condition)
        (error 'bad-program :file file :line (line-at text (file-position stream))
                            :reason (let ((reason (shown-in-one-line condition)))
                                      (string-trim " " (subseq reason 0 (search " Stream: #<" reason)))))))))

(defun undefined-in (condition)
  "Return the symbol that CONDITION, a compiler's warning, says is undefined, and what kind of thing; or NIL."
  (when (typep condition 'simple-condition)
    (let ((arguments (simple-condition-format-arguments condition)))
      (and (member (first arguments) '(:function :variable))
           (values (if (consp (second arguments)) (second (second arguments)) (second arguments))
                   (first arguments))))))

(defun compiled (file line form note)
  "Return the function that FORM, which begins on LINE, is compiled to. NOTE is called with what is not
defined yet."
  (handler-bind ((warning (lambda (warning)
                            (multiple-value-bind (name kind) (undefined-in warning)
                              (if name
                                  (funcall note name kind line)
                                  (unless (typep warning 'style-warning)
                                    (error 'bad-program :file file :line line
                                                        :reason (shown-in-one-line warning)))))
                            (muffle-warning warning)))
                 (sb-ext:compiler-note #'muffle-warning))
    (let ((*error-output* (make-broadcast-stream)))
      ;; What is undefined is told at the end of a unit.
      (with-compilation-unit (:override t)
        (compile nil `(lambda () ,form))))))

(defun evaluate (file line form note)
  "Compile FORM, which begins on LINE, and call what comes of it."
  (handler-case (funcall (compiled file line form note))
    (undefined-name (condition)
      (error 'bad-program :file file :line line :reason (unknown-name form condition)))
    (bad-program (condition) (error condition))
    (sb-int:compiled-program-error (condition)
      (error 'bad-program :file file :line line :reason (cause-of condition)))
    (serious-condition (condition)
      (error 'bad-program :file file :line line :reason (shown-in-one-line condition)))))

(defun unknown-name (form condition)
  "Return what to say when CONDITION stopped FORM. Of a macro that does not exist the arguments are looked at first."
  (let ((operator (and (consp form) (symbolp (first form)) (not (fboundp (first form))) (first form))))
    (if (null operator)
        (shown-in-one-line condition)
        (let ((close (close-match (string-downcase operator) '("defgame" "defaudio-stream" "defsensor"))))
          (format nil "~(~A~) is not defined~@[; did you mean ~A?~]" operator close)))))

(defun cause-of (condition)
  "Return what went wrong when a form was expanded, which SBCL tells in an error of the form itself."
  (let* ((text (string-trim '(#\Space #\Newline)
                            (princ-to-string (sb-kernel::program-error-message condition))))
         (told (search "to intercept." text)))
    ;; What SBCL says before tells of SBCL.
    (substitute #\Space #\Newline
                (string-trim '(#\Space #\Newline) (if told (subseq text (+ told 13)) text)))))

(defun load-program (file)
  (let* ((text (text-of file))
         (*package* (find-package '#:hydramesh/program))
         (*read-default-float-format* 'double-float)
         (undefined '()))
    (with-input-from-string (stream text)
      (loop
        (multiple-value-bind (form line) (read-next file text stream)
          (when (eq form stream)
            (return))
          (evaluate file line form
                    (lambda (name kind line) (push (list name kind line) undefined))))))
    ;; What a later form defines is not missing.
    (loop for (name kind line) in (reverse undefined)
          do (unless (if (eq kind :function) (fboundp name) (boundp name))
               (error 'bad-program :file file :line line
                                   :reason (format nil "~(~A ~A~) is not defined" kind name))))))

(defun defined-functions ()
  "Return what programs have defined, as (name . function)."
  (loop with package = (find-package '#:hydramesh/program)
        for name being the present-symbols of package
        when (and (eq package (symbol-package name)) (fboundp name))
          collect (cons name (fdefinition name))))

(defun keep-apart (file functions definitions)
  "Refuse FILE if it has replaced one of FUNCTIONS or DEFINITIONS, of the files before it: all are one program."
  (flet ((refuse (what name)
           (error 'bad-program :file file
                               :reason (format nil "it defines the ~A ~(~A~), as a file before it does; name one of them ~
                                                    otherwise" what name))))
    (loop for (name . function) in functions
          do (unless (and (fboundp name) (eq function (fdefinition name)))
               (refuse "function" name)))
    (loop for definition in definitions
          for (kind name) = definition
          do (unless (member definition *definitions*)
               (refuse (ecase kind (:game "game") (:audio "audio stream") (:iot "sensor")) name)))))

(defun load-programs (files)
  "Read and run FILES, names of them; return the definitions in them, in order. Signal BAD-PROGRAM."
  (let ((*definitions* '()) (others (defined-functions)))
    (dolist (file files)
      (let ((before *definitions*) (functions (set-difference (defined-functions) others :test #'equal)))
        (load-program file)
        (keep-apart file functions before)
        (when (eq before *definitions*)
          (error 'bad-program
                 :file file
                 :reason "it defines nothing to run; write a defgame, defaudio-stream or defsensor"))))
    (reverse (mapcar #'third *definitions*))))
