(defpackage #:hydramesh/domain/packing
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/text #:read-text #:text-size #:write-text)
  (:export #:packed #:with-unpacking #:take #:rest-octets #:done #:more-p
           #:malformed-payload #:write-octets #:octets-of #:packer #:make-packer #:packer-size)
  (:documentation "Payloads of domain traffic, big-endian: written from numbers and texts, and read again
from what anybody may have sent."))
(in-package #:hydramesh/domain/packing)

(define-condition malformed-payload (error) ()
  (:report "a payload is not what its type says")
  (:documentation "A payload ends too early, or has something that cannot be."))

(defun malformed ()
  (error 'malformed-payload))

;;; Writing

(defstruct packer
  "The first SIZE of BYTES are what was written."
  (bytes (make-array 64 :element-type '(unsigned-byte 8)) :type octets)
  (size 0 :type fixnum))

(defun reserve (packer count)
  "Make room for COUNT octets more; return where they begin."
  (let* ((start (packer-size packer)) (end (+ start count)))
    (when (> end (length (packer-bytes packer)))
      (setf (packer-bytes packer)
            (replace (make-array (max end (* 2 (length (packer-bytes packer))))
                                 :element-type '(unsigned-byte 8))
                     (packer-bytes packer) :end2 start)))
    (setf (packer-size packer) end)
    start))

(defun write-number (packer number count)
  (let ((start (reserve packer count)) (bytes (packer-bytes packer)))
    (dotimes (at count)
      (setf (aref bytes (+ start at)) (ldb (byte 8 (* 8 (- count at 1))) number)))))

(defun write-octets (packer octets)
  "Add OCTETS."
  (let ((start (reserve packer (length octets))))
    (replace (packer-bytes packer) (the octets octets) :start1 start)))

(defun write-as (packer kind value)
  "Add VALUE as KIND says: :u8 to :u64 and :i8 to :i64 for whole numbers of so many bits, :f32, :text with its
length in bytes before it, which has 16 bits, or :octets as they are."
  (flet ((whole (type count)
           (check-type value integer)
           (unless (typep value type)
             (error 'type-error :datum value :expected-type type))
           (write-number packer value count)))
    (ecase kind
      (:u8 (whole '(unsigned-byte 8) 1))
      (:u16 (whole '(unsigned-byte 16) 2))
      (:u32 (whole '(unsigned-byte 32) 4))
      (:u64 (whole '(unsigned-byte 64) 8))
      (:i8 (whole '(signed-byte 8) 1))
      (:i16 (whole '(signed-byte 16) 2))
      (:i32 (whole '(signed-byte 32) 4))
      (:i64 (whole '(signed-byte 64) 8))
      (:f32 (write-number packer (sb-kernel:single-float-bits (coerce value 'single-float)) 4))
      (:text (let ((size (text-size value)))
               (unless (typep size '(unsigned-byte 16))
                 (error 'type-error :datum value :expected-type '(string 65535)))
               (write-number packer size 2)
               (reserve packer size)
               (write-text value (packer-bytes packer) (packer-size packer))))
      (:octets (write-octets packer value)))))

(defun octets-of (packer)
  "Return what was written."
  (subseq (packer-bytes packer) 0 (packer-size packer)))

(defmacro packed (&rest parts)
  "Return the octets of PARTS, each (KIND VALUE), as WRITE-AS knows kinds."
  (let ((packer (gensym)))
    `(let ((,packer (make-packer)))
       ,@(loop for (kind value) in parts collect `(write-as ,packer ,kind ,value))
       (octets-of ,packer))))

;;; Reading

(defstruct (unpacker (:constructor make-unpacker (octets)))
  (octets nil :type octets)
  (at 0 :type fixnum))

(defun next-octets (unpacker count)
  "Return where the next COUNT octets begin, which are read with that."
  (let ((at (unpacker-at unpacker)))
    (when (> count (- (length (unpacker-octets unpacker)) at))
      (malformed))
    (setf (unpacker-at unpacker) (+ at count))
    at))

(defun read-number (unpacker count)
  (let ((start (next-octets unpacker count)) (octets (unpacker-octets unpacker)) (number 0))
    (dotimes (at count number)
      (setf number (logior (ash number 8) (aref octets (+ start at)))))))

(defun read-signed (unpacker count)
  (let ((number (read-number unpacker count)))
    (if (logbitp (1- (* 8 count)) number)
        (- number (ash 1 (* 8 count)))
        number)))

(defun read-float (unpacker)
  (let ((bits (read-signed unpacker 4)))
    ;; An exponent of ones is infinity or no number.
    (when (= (ldb (byte 8 23) bits) 255)
      (malformed))
    (sb-kernel:make-single-float bits)))

(defun read-string (unpacker most)
  (let* ((size (read-number unpacker 2)) (start (next-octets unpacker size)))
    (when (> size (* 4 most))
      (malformed))
    (let ((text (handler-case (read-text (unpacker-octets unpacker) start (+ start size))
                  (error () (malformed)))))
      (when (> (length text) most)
        (malformed))
      text)))

(defun take-as (unpacker kind most)
  "Return the next value, of KIND as WRITE-AS knows it; of :text MOST characters, of :octets so many octets.
Signal MALFORMED-PAYLOAD."
  (ecase kind
    (:u8 (read-number unpacker 1))
    (:u16 (read-number unpacker 2))
    (:u32 (read-number unpacker 4))
    (:u64 (read-number unpacker 8))
    (:i8 (read-signed unpacker 1))
    (:i16 (read-signed unpacker 2))
    (:i32 (read-signed unpacker 4))
    (:i64 (read-signed unpacker 8))
    (:f32 (read-float unpacker))
    (:text (read-string unpacker most))
    (:octets (let ((start (next-octets unpacker most)))
               (subseq (unpacker-octets unpacker) start (+ start most))))))

(defun rest-of (unpacker)
  (prog1 (subseq (unpacker-octets unpacker) (unpacker-at unpacker))
    (setf (unpacker-at unpacker) (length (unpacker-octets unpacker)))))

(defun more-in (unpacker)
  (< (unpacker-at unpacker) (length (unpacker-octets unpacker))))

(defmacro with-unpacking ((octets) &body body)
  "Do BODY, in which (TAKE KIND [MOST]) reads the next value of OCTETS as TAKE-AS does, (REST-OCTETS) what is
left, (MORE-P) tells whether anything is, and (DONE) signals MALFORMED-PAYLOAD if so."
  (let ((unpacker (gensym)))
    `(let ((,unpacker (make-unpacker ,octets)))
       (flet ((take (kind &optional (most 255)) (take-as ,unpacker kind most))
              (rest-octets () (rest-of ,unpacker))
              (more-p () (more-in ,unpacker))
              (done () (when (more-in ,unpacker) (malformed))))
         (declare (ignorable #'take #'rest-octets #'more-p #'done))
         ,@body))))
