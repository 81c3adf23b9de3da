(defpackage #:hydramesh/tests/plugin/defining
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals #:finishes)
  (:import-from #:hydramesh/definitions #:bad-definition #:bad-definition-field #:bad-definition-form)
  (:import-from #:hydramesh/plugin/define #:define-plugin)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "What the compiler says of a mistake in the definition of a plugin."))
(in-package #:hydramesh/tests/plugin/defining)

(fiveam:def-suite defining :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite defining)

(defun mistake (form)
  "Return what is said of FORM when it is expanded, as text and condition; NIL if that is nothing."
  (handler-case (progn (macroexpand-1 form) nil)
    (bad-definition (condition) (values (princ-to-string condition) condition))))

(defun plugin (&rest fields)
  "Return the definition of a plugin with FIELDS, and what it needs unless they have it."
  `(define-plugin sample
     ,@(unless (find :documentation fields :key (lambda (field) (if (consp field) (first field))))
         '((:documentation "A sample.")))
     ,@(unless (find :version fields :key (lambda (field) (if (consp field) (first field))))
         '((:version "1.0.0")))
     ,@fields))

(test what-is-right-expands
  (is (null (mistake (plugin))))
  (is (null (mistake (plugin '(:version "2.0.1-rc1") '(:start () 1) '(:stop (it) it) '(:report (it) "fine")
                             '(:wanted (settings) settings) '(:transport (it mesh settings) nil)
                             '(:store "one" (it path writing) nil) '(:store "two" (it path writing) nil))))))

(test a-mistake-is-told-with-form-field-and-what-would-be-right
  (loop for (field . parts)
          in '(((:verson "1") ":verson" "no such field" "did you mean :version?")
               ((:colour 1) ":colour" "no such field" "it has :documentation")
               ((:version) ":version" "one string, not 0 values" "write (:version \"1.0.0\")")
               ((:version 1.0) ":version" "1.0 is no string")
               ((:version "one") "\"one\" is no version")
               ((:version "1..2") "is no version")
               ((:documentation "a
b") ":documentation" "one line")
               ((:start) ":start" "no parameters" "write (:start () form...)")
               ((:start (settings) 1) ":start" "it takes zero parameters, not 1")
               ((:start ()) ":start" "nothing is done in it")
               ((:stop () 1) ":stop" "it takes one parameter, not 0" "write (:stop (started) form...)")
               ((:stop (&rest all) all) "more than names")
               ((:stop started 1) "no list of parameters")
               ((:transport (mesh) 1) ":transport" "it takes three parameters, not 1")
               ((:store tape (started path writing) 1) ":store" "tape is no name")
               ((:store "Tape" (started path writing) 1) "\"Tape\" is no name")
               ((:store "sqlite" (started path writing) 1) "HydraMesh's own" "another name")
               ((:store "tape" (path) 1) ":store" "it takes three parameters")
               (:version ":version is no field" "begins with a keyword")
               ("1.0.0" "\"1.0.0\" is no field"))
        do (let ((told (mistake (plugin field))))
             (dolist (part (cons "define-plugin sample" parts))
               (is (and told (search part told)) "~S: ~A, without ~A" field told part)))))

(test what-is-missing-or-there-twice-is-told
  (is (search ":version: it is missing" (mistake '(define-plugin sample (:documentation "A sample.")))))
  (is (search ":documentation: it is missing" (mistake '(define-plugin sample (:version "1.0.0")))))
  (is (search ":stop: it is there twice" (mistake (plugin '(:stop (it) it) '(:stop (it) it)))))
  (is (search "\"tape\" is there twice"
              (mistake (plugin '(:store "tape" (a b c) 1) '(:store "tape" (a b c) 1))))))

(test a-name-that-cannot-be-shown-is-refused
  (dolist (name (list "text" 7 nil (make-symbol "WITH SPACE")
                      (make-symbol (make-string 50 :initial-element #\A))))
    (multiple-value-bind (told condition) (mistake `(define-plugin ,name (:version "1.0.0")))
      (is (search "no name of a plugin" told))
      (is (< (length told) 400))
      (is (string= "define-plugin" (bad-definition-form condition)))
      (is (null (bad-definition-field condition))))))

(test the-compiler-stops-at-a-mistake
  (let ((*error-output* (make-broadcast-stream)))
    (is (eq t (nth-value 2 (compile nil `(lambda () ,(plugin '(:verson "1")))))))))
