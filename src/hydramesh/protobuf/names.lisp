(defpackage #:hydramesh/protobuf/names
  (:use #:cl)
  (:import-from #:hydramesh/protobuf/descriptors
                #:message-type-p #:message-type-name #:enum-type-name)
  (:export #:type-symbol #:part-symbol #:constructor-symbol #:allocator-symbol #:constant-symbol
           #:function-symbol #:lisp-name)
  (:documentation "What the schema's names are in Lisp: ToolChoice is `tool-choice`, its field tool_call_id
`tool-choice-tool-call-id`. All are in the package that is the current one when the schema is compiled."))
(in-package #:hydramesh/protobuf/names)

(defun lisp-name (name)
  "Return what NAME, in camel or snake case, is in Lisp."
  (with-output-to-string (out)
    (loop for char across name
          for before = nil then this
          for this = char
          do (cond ((char= char #\_) (write-char #\- out))
                   (t (when (and before (upper-case-p char)
                                 (or (lower-case-p before) (digit-char-p before)))
                        (write-char #\- out))
                      (write-char (char-upcase char) out))))))

(defun joined (&rest names)
  "Return the symbol of NAMES, strings or symbols, joined by dashes."
  (intern (format nil "~{~a~^-~}" names)))

(defun type-symbol (type)
  "Return the name of a message or enum type; nested names are joined."
  (apply #'joined (mapcar #'lisp-name (if (message-type-p type)
                                          (message-type-name type)
                                          (enum-type-name type)))))

(defun part-symbol (type name)
  "Return the name of the accessor for what has NAME in messages of TYPE."
  (joined (type-symbol type) (lisp-name name)))

(defun constructor-symbol (type)
  "Return the name of the function that makes a message from keyword arguments."
  (joined 'make (type-symbol type)))

(defun allocator-symbol (type)
  "Return the name of the function that makes an empty message."
  (joined '%make (type-symbol type)))

(defun function-symbol (what type)
  "Return the name of the function that does WHAT to messages of TYPE."
  (joined (format nil "%~a" what) (type-symbol type)))

(defun constant-symbol (enum value)
  "Return the name of the constant for VALUE, a name, of ENUM; of a nested one, with the outer name."
  (intern (format nil "+~{~a-~}~a+"
                  (mapcar #'lisp-name (butlast (enum-type-name enum)))
                  (lisp-name value))))
