(defpackage #:hydramesh/protobuf/decoders
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire
                #:index #:depth #:malformed #:+length+ #:read-tag #:read-length #:skip-field
                #:skip-value #:write-varint)
  (:import-from #:hydramesh/protobuf/descriptors
                #:message-type-fields #:field-name #:field-number #:field-kind #:field-label
                #:field-type #:field-oneof #:field-key #:field-value)
  (:import-from #:hydramesh/protobuf/names
                #:type-symbol #:part-symbol #:allocator-symbol #:function-symbol)
  (:import-from #:hydramesh/protobuf/values
                #:lisp-type #:default-form #:wire-type #:tag-of #:read-form #:size-form #:write-form
                #:write-tag-form)
  (:import-from #:hydramesh/protobuf/packed #:packed-functions #:element-type)
  (:import-from #:hydramesh/protobuf/encoders #:numbers-p #:case-place #:value-place #:member-keyword)
  (:import-from #:hydramesh/protobuf/codec
                #:add-unknown #:keep-unknown #:decode-again #:write-octets #:ascending)
  (:export #:decode-definition)
  (:documentation "The code that decodes one kind of message.

`%decode-NAME` reads the octets between two positions into a message, which may have content already:
the same fields of a message may come in several parts. DEPTH is how many messages more may be within
one another. Lists are made in reverse and turned when all is read."))
(in-package #:hydramesh/protobuf/decoders)

(defun list-variable (field)
  "Return the variable for the values of a repeated field or map, newest first, or the vector."
  (make-symbol (string-upcase (field-name field))))

(defun place-of (type field)
  "Return the place of FIELD in MESSAGE."
  `(,(part-symbol type (field-name field)) message))

(defun read-into (kind place)
  "Return a form that reads a value of KIND into PLACE and sets POSITION."
  `(multiple-value-bind (value next) ,(read-form kind 'octets 'position 'end)
     (setf ,place value
           position next)))

(defun read-message-form (field existing new)
  "Return a form that reads a message, and sets POSITION.
It is read into what the form NEW makes. If there is a form EXISTING and it returns one, it is a further
part of that and is read when all else is: one after the other would copy what is there each time."
  `(multiple-value-bind (start limit) (read-length octets position end)
     (when (zerop depth)
       (malformed "messages are too deep"))
     ,(let ((form `(,(function-symbol 'decode (field-type field)) ,new octets start limit (1- depth))))
        (if existing
            `(let ((existing ,existing))
               (if existing
                   (push (list* existing start limit) again)
                   ,form))
            form))
     (setf position limit)))

(defun single-clause (type field)
  "Return the clause that reads a field that is not repeated."
  (let ((tag (tag-of (field-number field) (wire-type (field-kind field))))
        (place (place-of type field))
        (new (when (eq (field-kind field) :message) `(,(allocator-symbol (field-type field))))))
    `(,tag
      ,(if (eq (field-label field) :member)
           (let ((chosen `(,(case-place type (field-oneof field)) message))
                 (value `(,(value-place type (field-oneof field)) message))
                 (keyword (member-keyword field)))
             (if new
                 (read-message-form field
                                    `(when (eq ,chosen ,keyword) ,value)
                                    `(setf ,chosen ,keyword
                                           ,value ,new))
                 `(progn
                    ,(read-into (field-kind field) value)
                    (setf ,chosen ,keyword))))
           (if new
               (read-message-form field place `(setf ,place ,new))
               (read-into (field-kind field) place))))))

(defun list-clauses (field list)
  "Return the clause that reads a value of a repeated field that is a list."
  `((,(tag-of (field-number field) +length+)
     ,(if (eq (field-kind field) :message)
          `(let ((new (,(allocator-symbol (field-type field)))))
             ,(read-message-form field nil 'new)
             (push new ,list))
          `(multiple-value-bind (value next)
               ,(read-form (field-kind field) 'octets 'position 'end)
             (push value ,list)
             (setf position next))))))

(defun number-clauses (field vector count)
  "Return the clauses that read numbers, packed and alone."
  (destructuring-bind (append-one append-packed &rest others) (packed-functions (field-kind field))
    (declare (ignore others))
    `((,(tag-of (field-number field) +length+)
       (multiple-value-bind (start limit) (read-length octets position end)
         (setf (values ,vector ,count) (,append-packed ,vector ,count octets start limit)
               position limit)))
      (,(tag-of (field-number field) (wire-type (field-kind field)))
       (multiple-value-bind (value next) ,(read-form (field-kind field) 'octets 'position 'end)
         (setf ,vector (,append-one ,vector ,count value)
               position next)
         (incf ,count))))))

(defun entry-form (field entries)
  "Return a form that reads a map's entry from START to LIMIT.
An entry that has fields of its own which the schema does not know is, as a whole, not known."
  (let* ((key (field-kind (field-key field)))
         (value (field-kind (field-value field)))
         (key-tag (tag-of 1 (wire-type key)))
         (value-tag (tag-of 2 (wire-type value))))
    `(let ((key ,(default-form key)) (value ,(default-form value))
           (key-p nil) (value-p nil) (inner '()))
       (declare (type ,(lisp-type key) key) (type ,(lisp-type value) value))
       (loop
         (unless (< start limit)
           (return))
         (multiple-value-bind (tag position) (read-tag octets start limit)
           (declare (type index position))
           (case tag
             (,key-tag (setf (values key start) ,(read-form key 'octets 'position 'limit)
                             key-p t))
             (,value-tag (setf (values value start) ,(read-form value 'octets 'position 'limit)
                               value-p t))
             (t (let ((next (skip-field tag octets position limit (1- depth))))
                  (setf inner (add-unknown inner start next)
                        start next))))))
       (if inner
           (push (entry-octets ,(tag-of (field-number field) +length+)
                               octets (reverse inner)
                               (when key-p ,(octets-form key-tag key 'key))
                               (when value-p ,(octets-form value-tag value 'value)))
                 unknown)
           (push (cons key value) ,entries)))))

(defun octets-form (tag kind value)
  "Return a form for TAG and VALUE as octets of their own."
  `(let* ((position (+ 1 ,(size-form kind value)))
          (octets (make-array position :element-type '(unsigned-byte 8))))
     (declare (type index position))
     (setf position ,(write-form kind value 'octets 'position))
     ,(write-tag-form tag 'octets 'position)
     octets))

(defun entry-octets (tag octets ranges key value)
  "Return TAG and what is behind it: KEY and VALUE, octets or NIL, and RANGES of OCTETS."
  (let* ((inner (apply #'concatenate 'octets key value
                       (loop for (start . end) in ranges collect (subseq octets start end))))
         (buffer (make-array (+ (length inner) 10) :element-type '(unsigned-byte 8)))
         (position (write-octets inner buffer (length buffer)))
         (start (write-varint tag buffer (write-varint (length inner) buffer position))))
    (subseq buffer start)))

(defun map-clauses (field entries)
  "Return the clause that reads a map's entry."
  `((,(tag-of (field-number field) +length+)
     (multiple-value-bind (start limit) (read-length octets position end)
       (declare (type index start))
       (when (zerop depth)
         (malformed "messages are too deep"))
       (setf position limit)
       ,(entry-form field entries)))))

(defun field-code (type field)
  "Return what FIELD needs: variables, clauses that read it, and forms for when all is read."
  (let ((place (place-of type field))
        (list (list-variable field)))
    (cond ((numbers-p field)
           (let ((count (make-symbol "COUNT"))
                 (array `(simple-array ,(element-type (field-kind field)) (*))))
             (values `((,list ,place) (,count (length ,list)))
                     (number-clauses field list count)
                     `((setf ,place (,(third (packed-functions (field-kind field))) ,list ,count)))
                     `((type ,array ,list) (type index ,count)))))
          ((eq (field-label field) :repeated)
           (values `((,list '()))
                   (list-clauses field list)
                   `((when ,list
                       (setf ,place (nconc ,place (nreverse ,list)))))))
          ((eq (field-label field) :map)
           (values `((,list '()))
                   (map-clauses field list)
                   `((when ,list
                       (setf ,place (ascending (append ,list ,place)))))))
          (t (values '() (list (single-clause type field)) '())))))

(defun decode-definition (type)
  "Return the definition of the function that decodes messages of TYPE."
  (let ((variables '()) (clauses '()) (ends '()) (declarations '())
        (again-p (find-if (lambda (field)
                            (and (eq (field-kind field) :message)
                                 (member (field-label field) '(:optional :member))))
                          (message-type-fields type))))
    (dolist (field (message-type-fields type))
      (multiple-value-bind (field-variables field-clauses field-ends field-declarations)
          (field-code type field)
        (setf variables (append variables field-variables)
              clauses (append clauses field-clauses)
              ends (append ends field-ends)
              declarations (append declarations field-declarations))))
    `(defun ,(function-symbol 'decode type) (message octets position end depth)
       (declare (type ,(type-symbol type) message) (type octets octets) (type index position end)
                (type depth depth) (ignorable depth))
       (let* (,@variables (unknown '()) ,@(when again-p '((again '()))))
         (declare ,@declarations)
         (loop
           (unless (< position end)
             (return))
           (let ((began position) (tag 0))
             (declare (type (unsigned-byte 32) tag))
             (setf (values tag position) (read-tag octets position end))
             (case tag
               ,@clauses
               ;; upb takes the number 0 for one where no field is known.
               (t (setf position (,(if clauses 'skip-field 'skip-value) tag octets position end depth)
                        unknown (add-unknown unknown began position))))))
         ,@ends
         ,@(when again-p
             '((when again
                 (decode-again octets again (1- depth)))))
         (when unknown
           (keep-unknown message octets unknown))
         message))))
