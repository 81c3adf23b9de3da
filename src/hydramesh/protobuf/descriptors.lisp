(defpackage #:hydramesh/protobuf/descriptors
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire
                #:read-tag #:read-varint #:read-length #:skip-field #:+depth+)
  (:import-from #:hydramesh/protobuf/text #:read-text)
  (:export #:message-type #:make-message-type #:message-type-p #:message-type-name #:message-type-full-name
           #:message-type-fields #:message-type-map-entry-p
           #:field #:field-name #:field-json-name #:field-number #:field-kind #:field-label
           #:field-type #:field-oneof #:field-key #:field-value #:field-get #:field-put
           #:field-chosen #:field-choose
           #:field-keyword #:make-field
           #:enum-type #:make-enum-type #:enum-type-name #:enum-type-full-name #:enum-type-values
           #:read-descriptors)
  (:documentation "What a schema says of its messages, read from what protoc writes of it.

What is read here is a FileDescriptorSet, a Protocol Buffers message itself. It is read by hand, and
of it only what is used; it is a file of our own that is read when the schema is compiled."))
(in-package #:hydramesh/protobuf/descriptors)

(defstruct message-type
  "A kind of message. NAME is a list: of a message within a message, the outer one's name comes first."
  name
  (full-name "" :type string)
  (fields '() :type list)
  (map-entry-p nil))

(defstruct field
  "A field of a message.
KIND is that of its value, as :UINT32 or :MESSAGE. LABEL is one of :IMPLICIT, whose value is always
there, :OPTIONAL, :MEMBER of the ONEOF of that name, :REPEATED, and :MAP, which has fields for KEY and
VALUE. TYPE is the message's or enum's. GET and PUT are functions that read and set the value; of a member,
CHOSEN is the function that returns the KEYWORD of the one that is, and CHOOSE sets it."
  (name "" :type string)
  (json-name "" :type string)
  (number 0 :type (unsigned-byte 29))
  kind
  label
  type
  (oneof nil)
  key
  value
  get
  put
  chosen
  choose
  keyword)

(defstruct enum-type
  "An enum. NAME is a list, as a message's; VALUES are pairs of a name and a number."
  name
  (full-name "" :type string)
  (values '() :type list))

(defun fields-of (octets start end)
  "Return what fields there are from START to END: lists of number and value, or its start and end."
  (let ((fields '()))
    (loop while (< start end)
          do (multiple-value-bind (tag position) (read-tag octets start end)
               (case (logand tag 7)
                 (0 (push (list (ash tag -3) (read-varint octets position end)) fields))
                 (2 (push (cons (ash tag -3)
                                (multiple-value-list (read-length octets position end)))
                          fields)))
               (setf start (skip-field tag octets position end +depth+))))
    (nreverse fields)))

(defun all (number fields)
  "Return the values of the fields with NUMBER, each a list."
  (loop for (this . value) in fields when (= this number) collect value))

(defun number-of (number fields &optional default)
  "Return the whole number in a field."
  (let ((values (all number fields)))
    (if values (first (first (last values))) default)))

(defun text-of (octets number fields)
  "Return the text in a field."
  (let ((values (all number fields)))
    (if values (apply #'read-text octets (first (last values))) "")))

(defun parts-of (octets number fields)
  "Return the fields of each message in a field."
  (loop for (start end) in (all number fields) collect (fields-of octets start end)))

(defparameter *kinds*
  '((1 . :double) (2 . :float) (3 . :int64) (4 . :uint64) (5 . :int32) (8 . :bool) (9 . :string)
    (11 . :message) (12 . :bytes) (13 . :uint32) (14 . :enum))
  "Of FieldDescriptorProto.Type, those that schemas of this project use.")

(defun read-field (octets fields oneofs)
  "Return the field that a FieldDescriptorProto describes."
  (let* ((name (text-of octets 1 fields))
         (kind (or (cdr (assoc (number-of 5 fields) *kinds*))
                   (error "The field ~a has a type that is not supported here." name)))
         (oneof (number-of 9 fields))
         (optional (eql 1 (number-of 17 fields))))
    (make-field :name name
                :json-name (text-of octets 10 fields)
                :number (number-of 3 fields)
                :kind kind
                :label (cond ((= (number-of 4 fields) 3) :repeated)
                             (optional :optional)
                             (oneof :member)
                             ((eq kind :message) :optional)
                             (t :implicit))
                :type (and (member kind '(:message :enum)) (text-of octets 6 fields))
                :oneof (and oneof (nth oneof oneofs)))))

(defun read-enum (octets fields scope outer)
  "Return the enum that an EnumDescriptorProto describes."
  (let ((name (text-of octets 1 fields)))
    (make-enum-type :name (append outer (list name))
                    :full-name (format nil "~a.~a" scope name)
                    :values (loop for value in (parts-of octets 2 fields)
                                  collect (cons (text-of octets 1 value)
                                                (sign (number-of 2 value 0)))))))

(defun sign (number)
  "Return the number of 64 bits as a signed one."
  (if (logbitp 63 number) (- number (ash 1 64)) number))

(defun read-message (octets fields scope outer)
  "Return the messages, then the enums, that a DescriptorProto describes; the outer one first."
  (let* ((name (append outer (list (text-of octets 1 fields))))
         (full-name (format nil "~a.~a" scope (text-of octets 1 fields)))
         (oneofs (loop for oneof in (parts-of octets 8 fields) collect (text-of octets 1 oneof)))
         (messages (list (make-message-type
                          :name name
                          :full-name full-name
                          :fields (sort (loop for field in (parts-of octets 2 fields)
                                              collect (read-field octets field oneofs))
                                        #'< :key #'field-number)
                          :map-entry-p (some (lambda (options) (eql 1 (number-of 7 options)))
                                             (parts-of octets 7 fields)))))
         (enums (loop for enum in (parts-of octets 4 fields)
                      collect (read-enum octets enum full-name name))))
    (dolist (nested (parts-of octets 3 fields))
      (multiple-value-bind (inner-messages inner-enums) (read-message octets nested full-name name)
        (setf messages (append messages inner-messages)
              enums (append enums inner-enums))))
    (values messages enums)))

(defun link (messages enums)
  "Replace in all fields the names of types by the types, and entries of maps by key and value."
  (dolist (message messages)
    (dolist (field (message-type-fields message))
      (let ((type (field-type field)))
        (when type
          (flet ((is-it (full-name) (string= full-name type :start2 1)))
            (setf type (or (find-if #'is-it messages :key #'message-type-full-name)
                           (find-if #'is-it enums :key #'enum-type-full-name)
                           (error "~a is not in the schema." type))
                  (field-type field) type)))
        (when (and (message-type-p type) (message-type-map-entry-p type))
          (destructuring-bind (key value) (message-type-fields type)
            (setf (field-label field) :map
                  (field-key field) key
                  (field-value field) value)))))))

(defun read-descriptors (file)
  "Return the messages and the enums, in two lists, that the FileDescriptorSet in FILE describes."
  (let ((octets (with-open-file (in file :element-type '(unsigned-byte 8))
                  (let ((octets (make-array (file-length in) :element-type '(unsigned-byte 8))))
                    (read-sequence octets in)
                    octets)))
        (messages '())
        (enums '()))
    (dolist (file (parts-of octets 1 (fields-of octets 0 (length octets))))
      (let ((package (text-of octets 2 file)))
        (dolist (message (parts-of octets 4 file))
          (multiple-value-bind (inner-messages inner-enums) (read-message octets message package '())
            (setf messages (append messages inner-messages)
                  enums (append enums inner-enums))))
        (dolist (enum (parts-of octets 5 file))
          (setf enums (append enums (list (read-enum octets enum package '())))))))
    (link messages enums)
    (values (remove-if #'message-type-map-entry-p messages) enums)))
