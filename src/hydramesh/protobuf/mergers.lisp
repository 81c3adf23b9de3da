(defpackage #:hydramesh/protobuf/mergers
  (:use #:cl)
  (:import-from #:hydramesh/protobuf/descriptors
                #:message-type-fields #:field-name #:field-kind #:field-label #:field-type #:field-oneof)
  (:import-from #:hydramesh/protobuf/names
                #:type-symbol #:part-symbol #:allocator-symbol #:function-symbol)
  (:import-from #:hydramesh/protobuf/values #:present-form)
  (:import-from #:hydramesh/protobuf/packed #:element-type)
  (:import-from #:hydramesh/protobuf/encoders #:numbers-p #:case-place #:value-place #:member-keyword)
  (:import-from #:hydramesh/protobuf/codec #:message-unknown #:ascending)
  (:export #:merge-definition)
  (:documentation "The code that merges one message into another of its kind.

`%merge-NAME` does what decoding the encoded message into the other would do."))
(in-package #:hydramesh/protobuf/mergers)

(defun merged (field into value)
  "Return a form that merges VALUE, a message, into the message INTO, or into a new one if that is NIL."
  `(let ((target (or ,into (,(allocator-symbol (field-type field))))))
     (,(function-symbol 'merge (field-type field)) target ,value)
     target))

(defun field-merge-form (type field)
  "Return a form that merges FIELD of the message FROM into the message INTO."
  (let* ((accessor (part-symbol type (field-name field)))
         (from `(,accessor from))
         (into `(,accessor into))
         (message-p (eq (field-kind field) :message)))
    (cond ((numbers-p field)
           `(unless (zerop (length ,from))
              (setf ,into (concatenate '(simple-array ,(element-type (field-kind field)) (*))
                                       ,into ,from))))
          ((eq (field-label field) :repeated)
           `(setf ,into (append ,into
                                ,(if message-p
                                     `(loop for value in ,from
                                            collect ,(merged field nil 'value))
                                     `(copy-list ,from)))))
          ((eq (field-label field) :map)
           `(when ,from
              (setf ,into (ascending (append (copy-alist ,from) ,into)))))
          ((eq (field-label field) :member)
           (let ((keyword (member-keyword field))
                 (chosen (case-place type (field-oneof field)))
                 (value (value-place type (field-oneof field))))
             `(when (eq (,chosen from) ,keyword)
                (setf (,value into)
                      ,(if message-p
                           (merged field
                                   `(when (eq (,chosen into) ,keyword) (,value into))
                                   `(,value from))
                           `(,value from))
                      (,chosen into) ,keyword))))
          (t
           `(let ((value ,from))
              (when ,(if (eq (field-label field) :optional)
                         'value
                         (present-form (field-kind field) 'value))
                (setf ,into ,(if message-p (merged field into 'value) 'value))))))))

(defun merge-definition (type)
  "Return the definition of the function that merges messages of TYPE."
  `(defun ,(function-symbol 'merge type) (into from)
     (declare (type ,(type-symbol type) into from))
     (let ((unknown (message-unknown from)))
       (when unknown
         (setf (message-unknown into)
               (concatenate 'hydramesh/events:octets (message-unknown into) unknown))))
     ,@(loop for field in (message-type-fields type)
             collect (field-merge-form type field))
     into))
