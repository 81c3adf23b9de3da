(defpackage #:hydramesh/protobuf/json/printing
  (:use #:cl)
  (:import-from #:hydramesh/protobuf/descriptors
                #:message-type-fields #:field-json-name #:field-kind #:field-label #:field-type
                #:field-value #:field-get #:field-chosen #:field-keyword)
  (:import-from #:hydramesh/protobuf/codec #:codec-of #:codec-type)
  (:import-from #:hydramesh/protobuf/define #:enum-name)
  (:import-from #:hydramesh/protobuf/json/writer
                #:make-out #:written #:put #:put-string #:put-integer #:put-float #:put-base64)
  (:export #:to-json)
  (:documentation "Messages as canonical JSON, exactly as Python's json_format prints it."))
(in-package #:hydramesh/protobuf/json/printing)

(defun to-json (message)
  "Return MESSAGE as JSON, in octets."
  (let ((out (make-out)))
    (put-message out message)
    (written out)))

(defun present-p (field value message)
  "Return whether FIELD, whose value in MESSAGE is VALUE, is set."
  (ecase (field-label field)
    (:optional value)
    (:member
     (eq (funcall (field-chosen field) message) (field-keyword field)))
    (:map value)
    (:repeated (plusp (length value)))
    (:implicit
     (etypecase value
       (null nil)
       (symbol t)
       (integer (/= value 0))
       (single-float (/= 0 (sb-kernel:single-float-bits value)))
       (double-float (/= 0 (sb-kernel:double-float-bits value)))
       (sequence (plusp (length value)))))))

(defun put-message (out message)
  "Write MESSAGE to OUT."
  (let ((first t))
    (put out "{")
    (dolist (field (message-type-fields (codec-type (codec-of message))))
      (let ((value (funcall (field-get field) message)))
        (when (present-p field value message)
          (unless first
            (put out ", "))
          (setf first nil)
          (put-string out (field-json-name field))
          (put out ": ")
          (put-field out field value))))
    (put out "}")))

(defun put-field (out field value)
  "Write VALUE, all of what FIELD has, to OUT."
  (case (field-label field)
    (:map
     (put out "{")
     (loop for ((key . item) . more) on value
           do (put out "\"")
              (put-integer out key)
              (put out "\": ")
              (put-value out (field-value field) item)
              (when more
                (put out ", ")))
     (put out "}"))
    (:repeated
     (put out "[")
     (let ((first t))
       (map nil (lambda (item)
                  (unless first
                    (put out ", "))
                  (setf first nil)
                  (put-value out field item))
            value))
     (put out "]"))
    (t (put-value out field value))))

(defun put-value (out field value)
  "Write VALUE, one that is of the kind of FIELD, to OUT."
  (ecase (field-kind field)
    (:message (put-message out value))
    (:string (put-string out value))
    (:bytes (put-base64 out value))
    (:bool (put out (if value "true" "false")))
    ((:uint32 :int32) (put-integer out value))
    ((:uint64 :int64)
     (put out "\"")
     (put-integer out value)
     (put out "\""))
    ((:float :double) (put-float out value))
    (:enum
     (let ((name (enum-name (field-type field) value)))
       (if name
           (put-string out name)
           (put-integer out value))))))
