(defpackage #:hydramesh/protobuf/define
  (:use #:cl)
  (:import-from #:hydramesh/protobuf/wire #:index)
  (:import-from #:hydramesh/protobuf/descriptors
                #:read-descriptors #:make-message-type #:message-type-p #:message-type-name
                #:message-type-full-name #:message-type-fields #:field #:make-field #:field-name
                #:field-json-name #:field-number #:field-kind #:field-label #:field-type
                #:field-oneof #:field-key #:field-value #:enum-type-full-name #:enum-type-values
                #:make-enum-type)
  (:import-from #:hydramesh/protobuf/names
                #:type-symbol #:part-symbol #:constructor-symbol #:allocator-symbol #:constant-symbol
                #:function-symbol #:lisp-name)
  (:import-from #:hydramesh/protobuf/values #:lisp-type #:default-form)
  (:import-from #:hydramesh/protobuf/packed #:element-type #:numbers)
  (:import-from #:hydramesh/protobuf/encoders
                #:size-definition #:write-definition #:numbers-p #:case-place #:value-place
                #:member-keyword)
  (:import-from #:hydramesh/protobuf/decoders #:decode-definition)
  (:import-from #:hydramesh/protobuf/mergers #:merge-definition)
  (:import-from #:hydramesh/protobuf/codec
                #:message #:make-codec #:register #:codec-named #:codec-type)
  (:export #:define-messages #:enum-name #:enum-number #:type-named)
  (:documentation "Makes Lisp types of a schema, when it is compiled.

What they are like is written in hydramesh/schema, where that is done."))
(in-package #:hydramesh/protobuf/define)

(defun type-named (name)
  "Return what is known of the messages or the enum whose type is NAME."
  (or (get name 'enum)
      (codec-type (codec-named name))))

(defun enum-name (name number)
  "Return what NUMBER is called in the enum NAME, or NIL."
  (car (rassoc number (enum-type-values (get name 'enum)))))

(defun enum-number (name text)
  "Return the number of what is called TEXT in the enum NAME, or NIL."
  (cdr (assoc text (enum-type-values (get name 'enum)) :test #'string=)))

;;; Structures

(defun slot-type (field)
  "Return the type of the slot for FIELD, which is no member of a oneof."
  (let ((type (if (eq (field-kind field) :message)
                  (type-symbol (field-type field))
                  (lisp-type (field-kind field)))))
    (cond ((numbers-p field) `(simple-array ,(element-type (field-kind field)) (*)))
          ((member (field-label field) '(:repeated :map)) 'list)
          ((eq (field-label field) :optional) `(or null ,type))
          (t type))))

(defun slot-default (field)
  "Return a form for what FIELD is when it is not set."
  (cond ((numbers-p field)
         `(load-time-value (make-array 0 :element-type ',(element-type (field-kind field))) t))
        ((eq (field-label field) :implicit) (default-form (field-kind field)))))

(defun oneofs (type)
  "Return the names of the oneofs in TYPE."
  (remove-duplicates (loop for field in (message-type-fields type)
                           when (eq (field-label field) :member)
                             collect (field-oneof field))
                     :test #'string= :from-end t))

(defun members (type oneof)
  "Return the fields of TYPE that are in ONEOF."
  (loop for field in (message-type-fields type)
        when (and (eq (field-label field) :member) (string= (field-oneof field) oneof))
          collect field))

(defun structure-definition (type)
  "Return the definition of the structure for TYPE."
  (let ((name (type-symbol type)))
    `(defstruct (,name (:include message) (:copier nil) (:constructor ,(allocator-symbol type) ()))
       ,(format nil "The message ~a of the schema." (message-type-full-name type))
       ,@(loop for field in (message-type-fields type)
               unless (eq (field-label field) :member)
                 collect `(,(intern (lisp-name (field-name field))) ,(slot-default field)
                           :type ,(slot-type field)))
       ,@(loop for oneof in (oneofs type)
               collect `(,(intern (lisp-name (format nil "%~a" oneof))) nil :type symbol)
               collect `(,(intern (lisp-name (format nil "%~a-value" oneof))) nil)))))

(defun member-type (field)
  "Return the type of FIELD when it is chosen."
  (if (eq (field-kind field) :message)
      (type-symbol (field-type field))
      (lisp-type (field-kind field))))

(defun oneof-accessors (type oneof)
  "Return definitions of the functions that read and set ONEOF and its members."
  (let ((chosen `(,(case-place type oneof) message))
        (value `(,(value-place type oneof) message))
        (which (part-symbol type oneof))
        (struct (type-symbol type)))
    `((declaim (inline ,which))
      (defun ,which (message)
        ,(format nil "Return the keyword of the member of ~a that is chosen, or NIL." oneof)
        ,chosen)
      (defun (setf ,which) (member message)
        ,(format nil "Choose a member of ~a, which gets its default, or with NIL none." oneof)
        (declare (type ,struct message))
        (setf ,value (ecase member
                       ((nil) nil)
                       ,@(loop for field in (members type oneof)
                               collect `(,(member-keyword field)
                                         ,(if (eq (field-kind field) :message)
                                              `(,(allocator-symbol (field-type field)))
                                              (default-form (field-kind field))))))
              ,chosen member))
      ,@(loop for field in (members type oneof)
              for accessor = (part-symbol type (field-name field))
              for keyword = (member-keyword field)
              ;; The reader is not inline: where NIL cannot be, SBCL would warn of its branch.
              append `((declaim (inline (setf ,accessor))
                                (ftype (function (t) (values (or null ,(member-type field)) &optional))
                                       ,accessor))
                       (defun ,accessor (message)
                         (declare (type ,struct message))
                         (if (eq ,chosen ,keyword)
                             (the ,(member-type field) ,value)
                             nil))
                       (defun (setf ,accessor) (value message)
                         (declare (type ,struct message) (type (or null ,(member-type field)) value))
                         (cond (value (setf ,chosen ,keyword
                                            ,value value))
                               ((eq ,chosen ,keyword) (setf ,chosen nil
                                                            ,value nil)))
                         value))))))

(defun constructor (type)
  "Return the definition of the function that makes a message of TYPE."
  (let ((parameters (loop for field in (message-type-fields type)
                          collect (intern (lisp-name (field-name field))))))
    `(defun ,(constructor-symbol type)
         (&key ,@(loop for field in (message-type-fields type)
                       for parameter in parameters
                       collect (if (eq (field-label field) :implicit)
                                   `(,parameter ,(default-form (field-kind field)))
                                   parameter)))
       ,(format nil "Return a new ~a. Repeated numbers may be any sequence."
                (first (last (message-type-name type))))
       (let ((message (,(allocator-symbol type))))
         ,@(loop for field in (message-type-fields type)
                 for parameter in parameters
                 for place = `(,(part-symbol type (field-name field)) message)
                 collect (cond ((numbers-p field)
                                `(when ,parameter
                                   (setf ,place (numbers ,(field-kind field) ,parameter))))
                               ((eq (field-label field) :implicit) `(setf ,place ,parameter))
                               (t `(when ,parameter (setf ,place ,parameter)))))
         message))))

;;; What is known at run time

(defun field-form (type field)
  "Return a form that makes a description of FIELD with functions to read and set it."
  (let ((accessor (part-symbol type (field-name field))))
    `(make-field :name ,(field-name field) :json-name ,(field-json-name field)
                 :number ,(field-number field) :kind ,(field-kind field) :label ,(field-label field)
                 :type ',(and (field-type field) (type-symbol (field-type field)))
                 :oneof ,(field-oneof field)
                 ,@(when (eq (field-label field) :member)
                     `(:keyword ,(member-keyword field)
                       :chosen #',(part-symbol type (field-oneof field))
                       :choose #'(setf ,(part-symbol type (field-oneof field)))))
                 ,@(when (eq (field-label field) :map)
                     `(:key ,(inner-field-form (field-key field))
                       :value ,(inner-field-form (field-value field))))
                 :get #',accessor :put #'(setf ,accessor))))

(defun inner-field-form (field)
  "Return a form that makes a description of a map's key or value."
  `(make-field :name ,(field-name field) :kind ,(field-kind field) :label :implicit
               :type ',(and (field-type field) (type-symbol (field-type field)))))

(defun registration (type)
  "Return a form that makes the codec of TYPE known."
  `(register ',(type-symbol type)
             (make-codec
              :type (make-message-type
                     :name ',(type-symbol type)
                     :full-name ,(message-type-full-name type)
                     :fields (list ,@(loop for field in (message-type-fields type)
                                           collect (field-form type field))))
              :allocate #',(allocator-symbol type)
              :decode #',(function-symbol 'decode type)
              :size #',(function-symbol 'size type)
              :write #',(function-symbol 'write type)
              :merge #',(function-symbol 'merge type))))

(defun enum-definitions (enum)
  "Return definitions of the constants of ENUM, and a form that makes it known."
  `(,@(loop for (name . number) in (enum-type-values enum)
            collect `(defconstant ,(constant-symbol enum name) ,number))
    (setf (get ',(type-symbol enum) 'enum)
          (make-enum-type :name ',(type-symbol enum)
                          :full-name ,(enum-type-full-name enum)
                          :values ',(enum-type-values enum)))))

;;; The whole

(defun in-order (types)
  "Return TYPES so that each comes after those that it has in it."
  (let ((ordered '()))
    (labels ((add (type outer)
               (when (member type outer)
                 (error "~a is within itself, which is not supported here."
                        (message-type-full-name type)))
               (unless (member type ordered)
                 (dolist (field (message-type-fields type))
                   (when (and (message-type-p (field-type field)) (not (eq (field-label field) :map)))
                     (add (field-type field) (cons type outer))))
                 (push type ordered))))
      (dolist (type types)
        (add type '())))
    (nreverse ordered)))

(defun interface (types enums)
  "Return the symbols that the schema's names are in Lisp. Signal an error if two are the same."
  (let ((symbols (append
                  (loop for type in types
                        for name = (type-symbol type)
                        collect (constructor-symbol type)
                        collect (intern (format nil "~a-P" name))
                        append (loop for field in (message-type-fields type)
                                     collect (part-symbol type (field-name field)))
                        append (loop for oneof in (oneofs type)
                                     collect (part-symbol type oneof)))
                  (loop for enum in enums
                        append (loop for (name) in (enum-type-values enum)
                                     collect (constant-symbol enum name))))))
    (loop for (symbol . rest) on symbols
          do (when (member symbol rest)
               (error "Two things of the schema are ~a in Lisp." symbol)))
    (remove-duplicates (append symbols (mapcar #'type-symbol (append types enums))))))

(defmacro define-messages (file)
  "Define what hydramesh/schema describes, for the schema whose FileDescriptorSet is in FILE.
FILE is evaluated when this is compiled."
  (multiple-value-bind (types enums) (read-descriptors (eval file))
    (let ((types (in-order types)))
      `(progn
         (eval-when (:compile-toplevel :load-toplevel :execute)
           (export ',(interface types enums) ,(package-name *package*)))
         (declaim (ftype (function (t) (values index &optional))
                         ,@(loop for type in types collect (function-symbol 'size type)))
                  (ftype (function (t t t) (values index &optional))
                         ,@(loop for type in types collect (function-symbol 'write type))))
         ,@(loop for enum in enums append (enum-definitions enum))
         ,@(mapcar #'structure-definition types)
         ,@(loop for type in types
                 append (loop for oneof in (oneofs type)
                              append (oneof-accessors type oneof)))
         ,@(mapcar #'constructor types)
         ,@(mapcar #'size-definition types)
         ,@(mapcar #'write-definition types)
         ,@(mapcar #'decode-definition types)
         ,@(mapcar #'merge-definition types)
         ,@(mapcar #'registration types)))))
