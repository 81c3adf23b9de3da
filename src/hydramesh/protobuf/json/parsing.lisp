(defpackage #:hydramesh/protobuf/json/parsing
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire #:malformed #:malformed-reason)
  (:import-from #:hydramesh/protobuf/descriptors
                #:message-type-full-name #:message-type-fields
                #:field-name #:field-json-name #:field-kind #:field-label #:field-type #:field-oneof
                #:field-key #:field-value #:field-get #:field-put #:field-chosen #:field-choose
                #:field-keyword #:enum-type-full-name)
  (:import-from #:hydramesh/protobuf/codec
                #:codec-named #:codec-type #:codec-allocate #:ascending)
  (:import-from #:hydramesh/protobuf/define #:enum-number #:type-named)
  (:import-from #:hydramesh/protobuf/packed #:numbers)
  (:import-from #:hydramesh/protobuf/payload #:+max-fields+ #:+surely-cheap+)
  (:import-from #:hydramesh/protobuf/json/reader #:read-json #:object-p #:object-members)
  (:import-from #:hydramesh/protobuf/json/scalars
                #:integer-from #:float-from #:bool-from #:text-from #:octets-from #:enum-from)
  (:import-from #:hydramesh/protobuf/json/shown #:shown)
  (:export #:from-json)
  (:documentation "Messages from JSON, by the rules of Python's json_format.

A name is that of the schema or its canonical form, and none is unknown. PATH is where a value is, as
a list from the inside out, for the reason that something is malformed."))
(in-package #:hydramesh/protobuf/json/parsing)

(defun from-json (name octets &optional (most-values +max-fields+))
  "Return the message of the type NAME that OCTETS are in JSON.
Signal MALFORMED if it is none, with a reason that says where it is wrong; also if it is large and has
more than MOST-VALUES values."
  (let ((value (if (> (length octets) +surely-cheap+)
                   (read-json octets :most-values most-values)
                   (read-json octets)))
        (message (funcall (codec-allocate (codec-named name)))))
    (fill-message message name value (list (last-name name)))
    message))

(defun last-name (name)
  "Return the name of the message type NAME in the schema, without its package."
  (let ((full-name (message-type-full-name (codec-type (codec-named name)))))
    (subseq full-name (1+ (position #\. full-name :from-end t)))))

(defun path-text (path)
  "Return PATH as text."
  (format nil "~{~a~^.~}" (mapcar #'shown (reverse path))))

(defun field-called (text name path)
  "Return the field that is called TEXT in messages of the type NAME."
  (let ((type (codec-type (codec-named name))))
    (flet ((is-it (candidate)
             (declare (type simple-string candidate text))
             (and (= (length candidate) (length text)) (string= candidate text))))
      (or (find-if #'is-it (message-type-fields type) :key #'field-json-name)
          (find-if #'is-it (message-type-fields type) :key #'field-name)
          (malformed "Message type \"~a\" has no field named \"~a\" at \"~a\""
                     (message-type-full-name type) (shown text) (path-text path))))))

(defun fill-message (message name value path)
  "Set in MESSAGE, of the type NAME, what the object VALUE says."
  (unless (object-p value)
    ;; For Python anything without content is as good as an object without.
    (unless (and (vectorp value) (zerop (length value)))
      (malformed "~a is no message at ~a" (shown value) (path-text path))))
  (let ((oneofs '()))
    (loop for (text . item) in (if (object-p value) (object-members value) '())
          for field = (field-called text name path)
          do (when (and (field-oneof field) (not (eq item :null)))
               (when (member (field-oneof field) oneofs :test #'string=)
                 (malformed "Message type \"~a\" should not have multiple \"~a\" oneof fields at \"~a\""
                            (message-type-full-name (codec-type (codec-named name)))
                            (field-oneof field) (path-text path)))
               (push (field-oneof field) oneofs))
             (handler-case (set-field message field item (cons text path))
               (malformed (condition)
                 (if (field-oneof field)
                     (error condition)
                     (malformed "Failed to parse ~a field: ~a" text (malformed-reason condition))))))))

(defun set-field (message field value path)
  "Set FIELD of MESSAGE to what VALUE, of JSON, says."
  (flet ((put (value) (funcall (field-put field) value message)))
    (cond ((eq value :null) (put (unset field)))
          ((eq (field-label field) :map) (put (map-from value field path)))
          ((eq (field-label field) :repeated) (put (list-from value field path)))
          (t
           (when (and (eq (field-label field) :member)
                      (not (eq (funcall (field-chosen field) message) (field-keyword field))))
             (funcall (field-choose field) (field-keyword field) message))
           (if (eq (field-kind field) :message)
               (let ((inner (or (funcall (field-get field) message)
                                (put (funcall (codec-allocate (codec-named (field-type field))))))))
                 (fill-message inner (field-type field) value path))
               (let ((scalar (scalar-from value field path)))
                 ;; A member's NIL, which is false, is chosen already.
                 (when (or scalar (eq (field-label field) :implicit))
                   (put scalar))))))))

(defun unset (field)
  "Return what FIELD is when it is not set."
  (case (field-label field)
    (:repeated (if (member (field-kind field) '(:message :string :bytes))
                   '()
                   (numbers (field-kind field) '())))
    (:implicit
     (ecase (field-kind field)
       ((:uint32 :uint64 :int32 :int64 :enum) 0)
       (:float 0f0)
       (:double 0d0)
       (:bool nil)
       (:string "")
       (:bytes (make-array 0 :element-type '(unsigned-byte 8)))))))

(defun list-from (value field path)
  "Return what the array VALUE says of a repeated field."
  (unless (simple-vector-p value)
    (malformed "repeated field ~a must be in [] which is ~a at ~a"
               (first path) (shown value) (path-text (rest path))))
  (when (find :null value)
    (malformed "null is not allowed to be used as an element in a repeated field at ~a"
               (path-text path)))
  (let ((items (loop for item across value
                     for place from 0
                     collect (if (eq (field-kind field) :message)
                                 (let ((inner (funcall (codec-allocate
                                                        (codec-named (field-type field))))))
                                   (fill-message inner (field-type field) item (at place path))
                                   inner)
                                 (scalar-from item field (at place path))))))
    (if (member (field-kind field) '(:message :string :bytes))
        items
        (numbers (field-kind field) items))))

(defun at (place path)
  "Return the path of the element at PLACE in what is at PATH."
  (cons (format nil "~a[~d]" (shown (first path)) place) (rest path)))

(defun map-from (value field path)
  "Return what the object VALUE says of a map."
  (unless (object-p value)
    (malformed "Map field ~a must be in a dict which is ~a at ~a"
               (field-name field) (shown value) (path-text path)))
  (let ((map '()))
    (loop for (text . item) in (object-members value)
          for key = (scalar-from text (field-key field) (cons "key" path))
          do (push (cons key (scalar-from item (field-value field) (at key path))) map))
    (ascending map)))

(defun scalar-from (value field path)
  "Return what VALUE stands for, of the kind of FIELD."
  (handler-case
      (let ((kind (field-kind field)))
        (ecase kind
          ((:uint32 :uint64 :int32 :int64) (integer-from value kind))
          ((:float :double) (float-from value kind))
          (:bool (bool-from value))
          (:string (text-from value))
          (:bytes (octets-from value))
          (:enum (enum-from value (enum-type-full-name (type-named (field-type field)))
                            (lambda (text) (enum-number (field-type field) text))))))
    (malformed (condition)
      (malformed "~a at ~a" (malformed-reason condition) (path-text path)))))
