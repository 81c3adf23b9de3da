(defpackage #:hydramesh/protobuf/values
  (:use #:cl)
  (:import-from #:hydramesh/protobuf/wire
                #:+varint+ #:+fixed64+ #:+length+ #:+fixed32+
                #:read-varint #:read-length #:read-fixed32 #:read-fixed64 #:sign-extended
                #:varint-size #:write-varint #:write-fixed32 #:write-fixed64)
  (:import-from #:hydramesh/protobuf/text #:read-text #:text-size #:write-text)
  (:import-from #:hydramesh/protobuf/codec #:write-octets)
  (:export #:lisp-type #:default-form #:present-form #:wire-type #:tag-of #:tag-size
           #:size-form #:write-form #:write-tag-form #:read-form)
  (:documentation "Of one value of each kind but messages: its type, and the code that encodes and decodes it.

The functions take forms, of which values are variables, and return forms."))
(in-package #:hydramesh/protobuf/values)

(defun lisp-type (kind)
  "Return the type of a value."
  (ecase kind
    (:double 'double-float)
    (:float 'single-float)
    (:int64 '(signed-byte 64))
    (:uint64 '(unsigned-byte 64))
    ((:int32 :enum) '(signed-byte 32))
    (:uint32 '(unsigned-byte 32))
    (:bool 'boolean)
    (:string 'string)
    (:bytes 'hydramesh/events:octets)))

(defun default-form (kind)
  "Return a form for what a value is that is not set."
  (ecase kind
    (:double 0d0)
    (:float 0f0)
    ((:int64 :uint64 :int32 :uint32 :enum) 0)
    (:bool nil)
    (:string "")
    (:bytes '(load-time-value (make-array 0 :element-type '(unsigned-byte 8)) t))))

(defun present-form (kind value)
  "Return a form for whether VALUE is another one than that. -0.0 is."
  (ecase kind
    (:double `(/= 0 (sb-kernel:double-float-bits ,value)))
    (:float `(/= 0 (sb-kernel:single-float-bits ,value)))
    ((:int64 :uint64 :int32 :uint32 :enum) `(/= 0 ,value))
    (:bool value)
    ((:string :bytes) `(plusp (length ,value)))))

(defun wire-type (kind)
  "Return the wire type of a value."
  (ecase kind
    (:double +fixed64+)
    (:float +fixed32+)
    ((:string :bytes :message) +length+)
    ((:int64 :uint64 :int32 :uint32 :enum :bool) +varint+)))

(defun tag-of (number wire-type)
  "Return the tag of the field with NUMBER."
  (logior (ash number 3) wire-type))

(defun tag-size (tag)
  "Return how many octets TAG takes."
  (varint-size tag))

(defun write-tag-form (tag octets position)
  "Return a form that writes TAG before POSITION, a variable that it sets."
  `(progn
     ,@(loop with size = (tag-size tag)
             for place from (1- size) downto 0
             for low = (ldb (byte 7 (* 7 place)) tag)
             collect `(setf (aref ,octets (decf ,position))
                            ,(if (= place (1- size)) low (logior #x80 low))))))

(defun varint-form (kind value)
  "Return a form for the number of 64 bits that stands for VALUE."
  (ecase kind
    ((:uint64 :uint32) value)
    ((:int64 :int32 :enum) `(ldb (byte 64 0) ,value))))

(defun size-form (kind value)
  "Return a form for how many octets VALUE takes after its tag."
  (ecase kind
    (:double 8)
    (:float 4)
    (:bool 1)
    (:string `(let ((size (if (typep ,value 'simple-base-string)
                              (length ,value)
                              (text-size ,value))))
                (+ size (varint-size size))))
    (:bytes `(let ((size (length ,value))) (+ size (varint-size size))))
    ((:int64 :uint64 :int32 :uint32 :enum) `(varint-size ,(varint-form kind value)))))

(defun write-form (kind value octets position)
  "Return a form that writes VALUE before POSITION, and returns where it begins."
  (ecase kind
    (:double `(write-fixed64 (ldb (byte 64 0) (sb-kernel:double-float-bits ,value))
                             ,octets ,position))
    (:float `(write-fixed32 (ldb (byte 32 0) (sb-kernel:single-float-bits ,value))
                            ,octets ,position))
    (:bool `(write-varint (if ,value 1 0) ,octets ,position))
    (:string `(let ((start (write-text ,value ,octets ,position)))
                (write-varint (- ,position start) ,octets start)))
    (:bytes `(let ((start (write-octets ,value ,octets ,position)))
               (write-varint (- ,position start) ,octets start)))
    ((:int64 :uint64 :int32 :uint32 :enum)
     `(write-varint ,(varint-form kind value) ,octets ,position))))

(defun read-form (kind octets position end)
  "Return a form for the value at POSITION, and where it ends."
  (flet ((with (reader form)
           `(multiple-value-bind (number next) (,reader ,octets ,position ,end)
              (values ,form next)))
         (with-range (form)
           `(multiple-value-bind (start limit) (read-length ,octets ,position ,end)
              (values ,form limit))))
    (ecase kind
      (:uint64 `(read-varint ,octets ,position ,end))
      (:uint32 (with 'read-varint '(ldb (byte 32 0) number)))
      ((:int32 :enum) (with 'read-varint '(sign-extended number)))
      (:int64 (with 'read-varint '(if (logbitp 63 number) (- number (ash 1 64)) number)))
      (:bool (with 'read-varint '(/= 0 number)))
      (:float (with 'read-fixed32 '(sb-kernel:make-single-float (sign-extended number))))
      (:double (with 'read-fixed64 '(sb-kernel:make-double-float
                                     (sign-extended (ldb (byte 32 32) number))
                                     (ldb (byte 32 0) number))))
      (:string (with-range `(read-text ,octets start limit)))
      (:bytes (with-range `(subseq ,octets start limit))))))
