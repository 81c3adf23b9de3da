(defpackage #:hydramesh/head/dialect
  (:use #:cl)
  (:import-from #:hydramesh/errors
                #:make-task-error #:task-error-to-wire)
  (:import-from #:hydramesh/events #:octets #:+result+ #:+error+)
  (:import-from #:hydramesh/head/aside #:encoded-with #:read-aside)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-json-task)
  (:import-from #:hydramesh/protobuf/codec #:codec-named #:codec-type)
  (:import-from #:hydramesh/protobuf/descriptors #:field-number #:field-oneof #:message-type-fields)
  (:import-from #:hydramesh/protobuf/json/reader #:object-members #:object-p #:read-json)
  (:import-from #:hydramesh/protobuf/json/scalars #:integer-from)
  (:import-from #:hydramesh/protobuf/payload #:id-in)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:dialect-of #:+json+
           #:dialect-encodes-p #:dialect-read #:dialect-result #:dialect-error #:dialect-id-in)
  (:documentation "The two languages that clients speak: Protocol Buffers, and their canonical JSON.

An answer is a cons of a message's type and its payload."))
(in-package #:hydramesh/head/dialect)

(defparameter +work+
  (loop for field in (message-type-fields (codec-type (codec-named 'pb:task)))
        when (equal (field-oneof field) "work")
          collect (field-number field))
  "Numbers of all fields in Task's oneof `work`: each that comes voids those of other numbers before it.")

(defstruct (protobuf (:constructor make-protobuf ()))
  "Binary; errors are ERROR messages.")

(defstruct (json (:constructor make-json ()))
  "Text; errors are RESULTs with `error` set, so that one message type suffices.")

(defparameter +protobuf+ (make-protobuf))
(defparameter +json+ (make-json))

(defun dialect-of (payload)
  "Return the language of a TASK's payload; no Task in binary begins with \"{\"."
  (declare (type octets payload))
  (if (and (plusp (length payload))
           (= (aref payload 0) (char-code #\{)))
      +json+
      +protobuf+))

(defgeneric dialect-encodes-p (dialect)
  (:documentation "Return whether its results are encoded as workers' are."))

(defgeneric dialect-read (dialect payload)
  (:documentation "Return the task in PAYLOAD, and its work as it came if that is large, see READ-ASIDE.
Signal a TASK-ERROR, BAD_REQUEST, that says what is wrong with it."))

(defgeneric dialect-result (dialect part &optional aside)
  (:documentation "Return the answer that carries PART, of which ASIDE is encoded already."))

(defgeneric dialect-error (dialect error task-id index)
  (:documentation "Return the answer that ends the task; INDEX is that of the next RESULT."))

(defgeneric dialect-id-in (dialect payload)
  (:documentation "Return the id in a PAYLOAD that cannot be read as a task, 0 if it has none."))

;;; Protocol Buffers

(defmethod dialect-encodes-p ((dialect protobuf))
  t)

(defmethod dialect-read ((dialect protobuf) payload)
  (handler-case (read-aside 'pb:task payload +work+)
    (pb:malformed ()
      (error (make-task-error
              pb:+bad-request+
              "the TASK's payload is not a Protocol Buffers message, or has too many fields"
              "encode a daiic.v1.Task of daiic.proto, or send its JSON form")))))

(defmethod dialect-result ((dialect protobuf) part &optional aside)
  (cons +result+ (encoded-with aside part)))

(defmethod dialect-error ((dialect protobuf) error task-id index)
  (declare (ignore index))
  (cons +error+ (pb:encode (task-error-to-wire error task-id))))

(defmethod dialect-id-in ((dialect protobuf) payload)
  (id-in payload))

;;; JSON

(defmethod dialect-encodes-p ((dialect json))
  nil)

(defmethod dialect-read ((dialect json) payload)
  (handler-case (values (pb:from-json 'pb:task payload) nil)
    (pb:malformed (malformed)
      (error (make-task-error
              pb:+bad-request+
              (format nil "the JSON task cannot be read: ~a" (pb:malformed-reason malformed))
              "write it as the JSON form of daiic.v1.Task in daiic.proto")))))

(defmethod dialect-result ((dialect json) part &optional aside)
  (assert (null aside))
  (cons +result+ (pb:to-json part)))

(defmethod dialect-error ((dialect json) error task-id index)
  (cons +result+ (pb:to-json (pb:make-result :id task-id
                                             :index index
                                             :final t
                                             :error (task-error-to-wire error task-id)))))

(defmethod dialect-id-in ((dialect json) payload)
  (let ((id (or (leading-id payload)
                (if (<= (length payload) (head-limits-json-task +limits+))
                    (id-member payload)
                    0))))
    (if (typep id '(unsigned-byte 64)) id 0)))

(defun id-member (payload)
  "Return the member `id` of the object in PAYLOAD as a number, 0 if it is none."
  (handler-case
      (let* ((object (read-json payload :twice-p t))
             (id (and (object-p object) ; of two the last one counts
                      (cdr (assoc "id" (reverse (object-members object)) :test #'string=)))))
        (typecase id
          (double-float (if (< -1d0 id 2d19) (truncate id) 0))
          (null 0)
          (t (case id
               (:true 1)
               (:false 0)
               (t (integer-from id :uint64))))))
    (pb:malformed () 0)))

(defun leading-id (payload)
  "Return the number that the object in PAYLOAD begins with as its `id`, NIL if there is none.
Shims put it there, so it is found in what is too large to be parsed."
  (let ((at 1))
    (labels ((next ()
               (if (< at (length payload)) (code-char (aref payload at)) #\Nul))
             (skip-spaces ()
               (loop while (member (char-code (next)) '(32 9 10 11 12 13))
                     do (incf at)))
             (skip (text)
               (loop for character across text
                     always (char= character (next))
                     do (incf at)))
             (digits ()
               (let ((start at)
                     (number nil))
                 (loop for digit = (digit-char-p (next))
                       while (and digit (< (- at start) 20))
                       do (incf at)
                          (setf number (+ (* 10 (or number 0)) digit)))
                 number)))
      (skip-spaces)
      (when (skip "\"id\"")
        (skip-spaces)
        (when (skip ":")
          (skip-spaces)
          (skip "\"")
          (let ((id (digits)))
            (skip "\"")
            (skip-spaces)
            (and id (find (next) ",}") id)))))))
