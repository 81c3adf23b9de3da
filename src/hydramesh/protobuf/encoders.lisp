(defpackage #:hydramesh/protobuf/encoders
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire #:index #:+length+ #:varint-size #:write-varint)
  (:import-from #:hydramesh/protobuf/descriptors
                #:message-type-fields #:field-name #:field-number #:field-kind #:field-label
                #:field-type #:field-oneof #:field-key #:field-value)
  (:import-from #:hydramesh/protobuf/names #:type-symbol #:part-symbol #:function-symbol #:lisp-name)
  (:import-from #:hydramesh/protobuf/values
                #:lisp-type #:present-form #:wire-type #:tag-of #:tag-size
                #:size-form #:write-form #:write-tag-form)
  (:import-from #:hydramesh/protobuf/packed #:packed-functions)
  (:import-from #:hydramesh/protobuf/codec #:message-unknown #:write-octets #:ascending)
  (:export #:size-definition #:write-definition #:numbers-p #:case-place #:value-place #:member-keyword)
  (:documentation "The code that encodes one kind of message, in two functions.

`%size-NAME` returns how many octets a message takes. `%write-NAME` writes it before a position, from
its last field to its first, and returns where it begins."))
(in-package #:hydramesh/protobuf/encoders)

(defun numbers-p (field)
  "Return whether FIELD is a vector of numbers, which is written packed."
  (and (eq (field-label field) :repeated)
       (not (member (field-kind field) '(:message :string :bytes)))))

(defun case-place (type oneof)
  "Return the name of the accessor for which member of ONEOF is chosen, a keyword."
  (part-symbol type (format nil "%~a" oneof)))

(defun value-place (type oneof)
  "Return the name of the accessor for the value of the member that is chosen."
  (part-symbol type (format nil "%~a-value" oneof)))

(defun member-keyword (field)
  "Return the keyword for the member FIELD of a oneof."
  (intern (lisp-name (field-name field)) '#:keyword))

(defun value-size-form (field value)
  "Return a form for the size of VALUE, a variable, with its tag."
  (let ((tag (tag-size (tag-of (field-number field) (wire-type (field-kind field))))))
    `(+ ,tag
        ,(if (eq (field-kind field) :message)
             `(let ((size (,(function-symbol 'size (field-type field)) ,value)))
                (+ size (varint-size size)))
             (size-form (field-kind field) value)))))

(defun value-write-form (field value)
  "Return a form that writes VALUE, a variable, and its tag, and sets POSITION."
  `(progn
     (setf position
           ,(if (eq (field-kind field) :message)
                `(let ((start (,(function-symbol 'write (field-type field)) ,value octets position)))
                   (declare (type index start))
                   (write-varint (- position start) octets start))
                (write-form (field-kind field) value 'octets 'position)))
     ,(write-tag-form (tag-of (field-number field) (wire-type (field-kind field)))
                      'octets 'position)))

(defun entry-size-form (field)
  "Return a form for the size of a map's entry, of which KEY and VALUE are variables, without its tag."
  `(+ 2
      ,(size-form (field-kind (field-key field)) 'key)
      ,(size-form (field-kind (field-value field)) 'value)))

(defun with-field (type field action)
  "Return a form that does to each value of FIELD in MESSAGE what ACTION, of `encoders`, says.
It is one of two functions: of the field and a variable."
  (let ((place `(,(part-symbol type (field-name field)) message)))
    (ecase (field-label field)
      (:implicit
       `(let ((value ,place))
          (when ,(present-form (field-kind field) 'value)
            ,(funcall action field 'value))))
      (:optional
       `(let ((value ,place))
          (when value
            ,(funcall action field 'value))))
      (:member
       `(when (eq (,(case-place type (field-oneof field)) message) ,(member-keyword field))
          (let ((value (,(value-place type (field-oneof field)) message)))
            (declare (type ,(if (eq (field-kind field) :message)
                                (type-symbol (field-type field))
                                (lisp-type (field-kind field)))
                           value)
                     (ignorable value))
            ,(funcall action field 'value)))))))

(defun with-entries (field map form)
  "Return a form that does FORM for each KEY and VALUE in the alist MAP."
  `(dolist (entry ,map)
     (let ((key (car entry)) (value (cdr entry)))
       (declare (type ,(lisp-type (field-kind (field-key field))) key)
                (type ,(lisp-type (field-kind (field-value field))) value)
                (ignorable key value))
       ,form)))

(defun field-size-form (type field)
  "Return a form that adds the size of FIELD to SIZE."
  (let ((place `(,(part-symbol type (field-name field)) message))
        (tag (tag-size (tag-of (field-number field) +length+))))
    (flet ((add (field value) `(incf size ,(value-size-form field value))))
      (cond ((numbers-p field)
             `(let ((numbers ,place))
                (unless (zerop (length numbers))
                  (let ((packed (,(fourth (packed-functions (field-kind field))) numbers)))
                    (declare (type index packed))
                    (incf size (+ ,tag (varint-size packed) packed))))))
            ((eq (field-label field) :repeated)
             `(dolist (value ,place)
                ,(add field 'value)))
            ((eq (field-label field) :map)
             (with-entries field `(ascending ,place)
                           `(let ((inner ,(entry-size-form field)))
                              (incf size (+ ,tag (varint-size inner) inner)))))
            (t (with-field type field #'add))))))

(defun field-write-form (type field)
  "Return a form that writes FIELD before POSITION, which it sets."
  (let ((place `(,(part-symbol type (field-name field)) message))
        (tag (tag-of (field-number field) +length+)))
    (cond ((numbers-p field)
           `(let ((numbers ,place))
              (unless (zerop (length numbers))
                (let ((start (,(fifth (packed-functions (field-kind field)))
                              numbers octets position)))
                  (declare (type index start))
                  (setf position (write-varint (- position start) octets start))
                  ,(write-tag-form tag 'octets 'position)))))
          ((eq (field-label field) :repeated)
           `(dolist (value (reverse ,place))
              ,(value-write-form field 'value)))
          ((eq (field-label field) :map)
           ;; Ascending from the end: upb's order, where it is asked for one.
           (with-entries field `(ascending ,place)
                         `(let ((end position))
                            ,(value-write-form (field-value field) 'value)
                            ,(value-write-form (field-key field) 'key)
                            (setf position (write-varint (- end position) octets position))
                            ,(write-tag-form tag 'octets 'position))))
          (t (with-field type field #'value-write-form)))))

(defun size-definition (type)
  "Return the definition of the function that counts the octets of a message of TYPE."
  `(defun ,(function-symbol 'size type) (message)
     (declare (type ,(type-symbol type) message))
     (let* ((unknown (message-unknown message))
            (size (if unknown (length unknown) 0)))
       (declare (type index size))
       ,@(loop for field in (message-type-fields type)
               collect (field-size-form type field))
       size)))

(defun write-definition (type)
  "Return the definition of the function that writes a message of TYPE."
  `(defun ,(function-symbol 'write type) (message octets position)
     (declare (type ,(type-symbol type) message) (type octets octets) (type index position))
     (let ((unknown (message-unknown message)))
       (when unknown
         (setf position (write-octets unknown octets position))))
     ,@(loop for field in (reverse (message-type-fields type))
             collect (field-write-form type field))
     position))
