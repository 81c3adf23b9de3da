(defpackage #:hydramesh/game/fields
  (:use #:cl)
  (:import-from #:hydramesh/domain/definitions
                #:finite-p #:mistake #:name-in #:number-within #:one-of #:printed #:whole-number)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/protobuf/text #:read-text #:text-size #:write-text)
  (:import-from #:hydramesh/game/bits #:read-bits #:write-bits)
  (:import-from #:hydramesh/game/limits #:+fields+)
  (:export #:field #:field-name #:field-kind #:field-initial #:field-most-bits #:fields-in #:write-field
           #:read-field
           #:fitted #:between #:shape-of)
  (:documentation "Fields of a game's state, inputs and channels: their types and ranges, and how they are
packed into bits, just as wide as they are declared.

(real LOW HIGH STEP), (whole LOW HIGH), (angle BITS), (truth), (text CHARACTERS), (player)"))
(in-package #:hydramesh/game/fields)

(defstruct (field (:constructor make-field (name kind low high step bits initial)))
  "KIND is REAL, WHOLE, ANGLE, TRUTH, TEXT or PLAYER. BITS of it are written; of a text those of its length
in octets, and HIGH are its most characters."
  (name nil :type symbol)
  (kind nil :type symbol)
  (low 0)
  (high 0)
  (step 1)
  (bits 0 :type fixnum)
  (initial nil))

(defmethod make-load-form ((field field) &optional environment)
  (make-load-form-saving-slots field :environment environment))

(defparameter +circle+ (* 2 pi))

;;; In definitions

(defun fields-in (clause forms longest-text)
  "Return the fields that FORMS, of the clause CLAUSE, declare: each (NAME TYPE [:INITIAL VALUE]), in which a
TYPE without arguments may be a symbol. Texts have LONGEST-TEXT characters at most. Signal BAD-DEFINITION."
  (unless (and (listp forms) (ignore-errors (list-length forms)))
    (mistake clause "write its fields as (name type)"))
  (when (> (length forms) +fields+)
    (mistake clause "it has ~D fields; leave ~D at most" (length forms) +fields+))
  (let ((fields (loop for form in forms collect (field-in clause form longest-text))))
    (loop for (field . others) on fields
          do (when (find (field-name field) others :key #'field-name)
               (mistake clause "the field ~A is there twice; leave one" (printed (field-name field)))))
    fields))

(defun field-in (clause form longest-text)
  (unless (and (consp form) (ignore-errors (list-length form)) (<= 2 (length form) 4))
    (mistake clause "~A is no field; write (name type), as (x (real -100 100 0.01))" (printed form)))
  (destructuring-bind (name type &rest options) form
    (name-in clause name)
    (unless (or (null options) (and (eq (first options) :initial) (rest options)))
      (mistake name "after the type ~A is not known; write :initial and a value, or nothing"
               (printed (first options))))
    (let ((field (typed name (if (consp type) type (list type)) longest-text)))
      (setf (field-initial field)
            (handler-case (fitted field (if options (second options) (first-value field)))
              (type-error ()
                (mistake name "~A is not valid as :initial; write a value of its type"
                         (printed (second options))))))
      field)))

(defun need-arguments (name type count example)
  (unless (and (ignore-errors (list-length type)) (= (1+ count) (length type)))
    (mistake name "~A is not a type; write ~A" (printed type) example)))

(defparameter +kinds+ '(real whole angle truth text player))

(defun kind-of (name word)
  "Return which kind WORD is, whatever package it is read in."
  (or (and (symbolp word) (find word +kinds+ :test #'string=))
      (one-of name word +kinds+)))

(defun typed (name type longest-text)
  (flet ((constant (value)
           (if (realp value) value (mistake name "~A is no number; write one" (printed value)))))
    (ecase (kind-of name (first type))
      (real
       (need-arguments name type 3 "(real low high step), as (real -100 100 0.01)")
       (destructuring-bind (low high step) (mapcar #'rational (mapcar #'constant (rest type)))
         (unless (< low high)
           (mistake name "its low end ~A is not below its high end ~A; write the lower one first"
                    (printed (second type)) (printed (third type))))
         (unless (< 0 step (- high low))
           (mistake name "the step ~A is not between 0 and its range; write a smaller one"
                    (printed (fourth type))))
         (let ((bits (integer-length (ceiling (- high low) step))))
           (when (> bits 32)
             (mistake name "it takes ~D bits; make its step larger or its range smaller, for 32 at most"
                      bits))
           (make-field name 'real low high step bits nil))))
      (whole
       (need-arguments name type 2 "(whole low high), as (whole 0 100)")
       (destructuring-bind (low high) (rest type)
         (whole-number name low (- (expt 2 31)) (expt 2 31))
         (whole-number name high low (expt 2 32))
         (make-field name 'whole low high 1 (integer-length (- high low)) nil)))
      (angle
       (need-arguments name type 1 "(angle bits), as (angle 10)")
       (make-field name 'angle 0 +circle+ 1 (whole-number name (second type) 2 24) nil))
      (truth
       (need-arguments name type 0 "truth")
       (make-field name 'truth 0 1 1 1 nil))
      (text
       (need-arguments name type 1 "(text characters), as (text 20)")
       (let ((most (whole-number name (second type) 1 longest-text)))
         (make-field name 'text 0 most 1 (integer-length (* 4 most)) nil)))
      (player
       (need-arguments name type 0 "player")
       (make-field name 'player 0 255 1 8 nil)))))

(defun first-value (field)
  (ecase (field-kind field)
    ((real whole) (max (field-low field) (min (field-high field) 0)))
    (angle 0)
    ((truth player) nil)
    (text "")))

(defun field-most-bits (field)
  "Return how many bits FIELD takes at most."
  (+ (field-bits field)
     (if (eq (field-kind field) 'text) (* 8 4 (field-high field)) 0)))

(defun shape-of (fields)
  "Return a text that is the same for fields that are packed alike."
  (format nil "~{~A~^;~}"
          (loop for field in fields
                collect (format nil "~(~A~) ~(~A~) ~A ~A ~A" (field-name field) (field-kind field)
                                (if (eq (field-kind field) 'angle) 0 (field-low field))
                                (if (eq (field-kind field) 'angle) (field-bits field) (field-high field))
                                (field-step field)))))

;;; Values

(defun fitted (field value)
  "Return the value nearest to VALUE within FIELD's range; a text that is too long is cut. Steps count when
it is written. Signal TYPE-ERROR if it is of another type."
  (flet ((need (type)
           (unless (typep value type)
             (error 'type-error :datum value :expected-type type))))
    (ecase (field-kind field)
      (real (need 'real)
       (coerce (max (field-low field) (min (field-high field) (rational (finite value)))) 'double-float))
      (whole (need 'integer)
       (max (field-low field) (min (field-high field) value)))
      (angle (need 'real)
       (coerce (mod (finite value) +circle+) 'double-float))
      (truth (and value t))
      (text (need 'string)
       (subseq value 0 (min (length value) (field-high field))))
      (player (need '(or null (integer 0 254)))
       value))))

(defun finite (value)
  (if (finite-p value)
      value
      (error 'type-error :datum value :expected-type 'real)))

(defun step-of (field value)
  "Return the number that is written for VALUE."
  (ecase (field-kind field)
    (real (let ((value (max (field-low field) (min (field-high field) (rational (finite value))))))
            (round (- value (field-low field)) (field-step field))))
    (angle (let ((bits (field-bits field)))
             (mod (round (* (/ (mod (finite value) +circle+) +circle+) (ash 1 bits))) (ash 1 bits))))
    (whole (- value (field-low field)))
    (truth (if value 1 0))
    (player (or value 255))))

(defun value-of (field step)
  "Return the value for which STEP is written. Signal MALFORMED-PAYLOAD if there is none."
  (ecase (field-kind field)
    (real (let ((value (+ (field-low field) (* step (field-step field)))))
            ;; The last step may be a part of one.
            (when (>= value (+ (field-high field) (field-step field)))
              (error 'malformed-payload))
            (coerce (min value (field-high field)) 'double-float)))
    (angle (* +circle+ (/ (coerce step 'double-float) (ash 1 (field-bits field)))))
    (whole (let ((value (+ (field-low field) step)))
             (when (> value (field-high field))
               (error 'malformed-payload))
             value))
    (truth (= step 1))
    (player (if (= step 255) nil step))))

(defun write-field (writer field value)
  "Add VALUE, which is one of FIELD's as FITTED returned it."
  (if (eq (field-kind field) 'text)
      (let* ((size (text-size value)) (octets (make-array size :element-type '(unsigned-byte 8))))
        (write-text value octets size)
        (write-bits writer size (field-bits field))
        (loop for octet across octets do (write-bits writer octet 8)))
      (write-bits writer (step-of field value) (field-bits field))))

(defun read-field (reader field)
  "Return the next value, one of FIELD's. Signal MALFORMED-PAYLOAD."
  (let ((number (read-bits reader (field-bits field))))
    (if (eq (field-kind field) 'text)
        (let ((octets (make-array (min number (* 4 (field-high field))) :element-type '(unsigned-byte 8))))
          (when (> number (length octets))
            (error 'malformed-payload))
          (dotimes (at number)
            (setf (aref octets at) (read-bits reader 8)))
          (let ((text (handler-case (read-text octets 0 number)
                        (error () (error 'malformed-payload)))))
            (when (> (length text) (field-high field))
              (error 'malformed-payload))
            text))
        (value-of field number))))

(defun between (field one other share)
  "Return the value that FIELD has when it went SHARE, from 0 to 1, of the way from ONE to OTHER."
  (case (field-kind field)
    (real (+ one (* share (- other one))))
    (angle (let ((way (- (mod (+ (- other one) (/ +circle+ 2)) +circle+) (/ +circle+ 2))))
             (mod (+ one (* share way)) +circle+)))
    (t (if (< share 1) one other))))
