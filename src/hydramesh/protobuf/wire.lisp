(defpackage #:hydramesh/protobuf/wire
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:export #:index #:malformed #:malformed-reason
           #:+varint+ #:+fixed64+ #:+length+ #:+fixed32+ #:+depth+ #:depth
           #:read-varint #:read-tag #:read-length #:read-fixed32 #:read-fixed64 #:skip-field #:skip-value
           #:varint-size #:write-varint #:write-fixed32 #:write-fixed64
           #:copy-octets #:sign-extended)
  (:documentation "The wire format of Protocol Buffers.

What is read comes from strangers: it lies between two positions of a vector, whatever does not is
malformed, and so is what Python's protobuf takes for malformed.

What is written is written from its end to its beginning, because the length of a message stands
before it and is known after it. The functions that write take the position behind what they write
and return that where it begins."))
(in-package #:hydramesh/protobuf/wire)

(deftype index () "A position in a vector of octets." '(unsigned-byte 48))

(defconstant +depth+ 100
  "How many messages, or groups, may be within one another.")

(deftype depth () "How many more may be within one another." '(integer 0 100))

(define-condition malformed (error)
  ((reason :initarg :reason :reader malformed-reason :type string))
  (:documentation "What was to be read is no message; the reason is one sentence without a full stop.")
  (:report (lambda (condition stream) (write-string (malformed-reason condition) stream))))

(defun malformed (control &rest arguments)
  "Signal MALFORMED with a reason made as by FORMAT."
  (error 'malformed :reason (apply #'format nil control arguments)))

;; Wire types; 3 and 4 begin and end a group.
(defconstant +varint+ 0)
(defconstant +fixed64+ 1)
(defconstant +length+ 2)
(defconstant +fixed32+ 5)

;;; Reading

(declaim (ftype (function (octets index index) (values (unsigned-byte 64) index &optional))
                read-long-varint))
(defun read-long-varint (octets position end)
  "Return the number at POSITION and where it ends; it has 10 bytes at most, 64 bits count."
  (declare (optimize speed))
  (let ((number 0) (shift 0))
    (declare (type (unsigned-byte 64) number) (type (integer 0 70) shift))
    (loop for at of-type index from position below (min end (+ position 10))
          for byte = (aref octets at)
          do (setf number (logior number (ldb (byte 64 0) (ash (logand byte #x7f) shift))))
             (when (< byte #x80)
               (return-from read-long-varint (values number (1+ at))))
             (incf shift 7))
    (malformed "a number does not end")))

(declaim (inline read-varint read-tag read-length read-fixed32 read-fixed64))

(defun read-varint (octets position end)
  "Return the number at POSITION, of 64 bits, and where it ends."
  (declare (type octets octets) (type index position end))
  (let ((byte (if (< position end) (aref octets position) #xff)))
    (if (< byte #x80)
        (values byte (1+ position))
        (read-long-varint octets position end))))

(declaim (ftype (function (octets index index) (values (unsigned-byte 32) index &optional))
                read-long-tag))
(defun read-long-tag (octets position end)
  "Return a field's tag at POSITION, and where it ends; it has 5 bytes at most."
  (multiple-value-bind (tag next) (read-long-varint octets position end)
    (unless (and (<= (- next position) 5) (< tag (ash 1 32)))
      (malformed "a field's number is too large"))
    (values tag next)))

(defun read-tag (octets position end)
  "Return the number and wire type at POSITION, as they are encoded, and where they end."
  (declare (type octets octets) (type index position end))
  (let ((byte (if (< position end) (aref octets position) #xff)))
    (if (< byte #x80)
        (values byte (1+ position))
        (read-long-tag octets position end))))

(defun read-length (octets position end)
  "Return where the value begins that has its length at POSITION, and where it ends."
  (declare (type octets octets) (type index position end))
  (multiple-value-bind (length start) (read-varint octets position end)
    (declare (type (unsigned-byte 64) length))
    (if (and (<= (- start position) 5) (<= length (- end start)))
        (values start (the index (+ start length)))
        (malformed "a value is longer than what it is in"))))

(defun read-fixed32 (octets position end)
  "Return the 32 bits at POSITION, and where they end."
  (declare (type octets octets) (type index position end))
  (if (<= 4 (- end position))
      (values (logior (aref octets position)
                      (ash (aref octets (+ position 1)) 8)
                      (ash (aref octets (+ position 2)) 16)
                      (ash (aref octets (+ position 3)) 24))
              (+ position 4))
      (malformed "a number does not end")))

(defun read-fixed64 (octets position end)
  "Return the 64 bits at POSITION, and where they end."
  (declare (type octets octets) (type index position end))
  (if (<= 8 (- end position))
      (let ((low (read-fixed32 octets position end))
            (high (read-fixed32 octets (+ position 4) end)))
        (declare (type (unsigned-byte 32) low high))
        (values (logior low (ash high 32)) (+ position 8)))
      (malformed "a number does not end")))

(defun skip-field (tag octets position end depth)
  "Return where the value at POSITION of a field with TAG ends.
It may have groups in it, DEPTH of them within one another."
  (declare (type octets octets) (type index position end) (type (unsigned-byte 32) tag)
           (type depth depth))
  (when (< tag 8)
    (malformed "a field has the number 0"))
  (skip-value tag octets position end depth))

(defun skip-value (tag octets position end depth)
  "Do what `skip-field` does, of a field with any number. Within a group there may be any."
  (declare (type octets octets) (type index position end) (type (unsigned-byte 32) tag)
           (type depth depth))
  (case (logand tag 7)
    (0 (nth-value 1 (read-varint octets position end)))
    (1 (nth-value 1 (read-fixed64 octets position end)))
    (2 (nth-value 1 (read-length octets position end)))
    (5 (nth-value 1 (read-fixed32 octets position end)))
    (3 (when (zerop depth)
         (malformed "groups are too deep"))
     (loop
       (multiple-value-bind (inner next) (read-tag octets position end)
         (when (= inner (1+ tag))
           (return next))
         (setf position (skip-value inner octets next end (1- depth))))))
    (t (malformed "a field has a wire type that is not known"))))

(declaim (inline sign-extended))
(defun sign-extended (number)
  "Return the low 32 bits of NUMBER as a signed number."
  (declare (type (unsigned-byte 64) number))
  (let ((low (ldb (byte 32 0) number)))
    (if (logbitp 31 low) (- low (ash 1 32)) low)))

;;; Writing

(declaim (inline varint-size write-varint write-fixed32 write-fixed64))

(defun varint-size (number)
  "Return how many octets NUMBER takes as a varint."
  (declare (type (unsigned-byte 64) number))
  (if (< number #x80)
      1
      (values (ceiling (integer-length number) 7))))

(declaim (ftype (function ((unsigned-byte 64) octets index) (values index &optional))
                write-long-varint))
(defun write-long-varint (number octets position)
  "Write NUMBER, which takes more than one octet, before POSITION; return where it begins."
  (declare (type (unsigned-byte 64) number) (type octets octets) (type index position)
           (optimize speed))
  (let* ((start (- position (varint-size number)))
         (last (1- position))
         (rest number))
    (declare (type index start last) (type (unsigned-byte 64) rest))
    (loop for at of-type index from start below last
          do (setf (aref octets at) (logior #x80 (logand rest #x7f))
                   rest (ash rest -7)))
    (setf (aref octets last) rest)
    start))

(defun write-varint (number octets position)
  "Write NUMBER before POSITION; return where it begins."
  (declare (type (unsigned-byte 64) number) (type octets octets) (type index position))
  (if (< number #x80)
      (let ((start (1- position)))
        (setf (aref octets start) number)
        start)
      (write-long-varint number octets position)))

(defun write-fixed32 (bits octets position)
  "Write 32 BITS before POSITION; return where they begin."
  (declare (type (unsigned-byte 32) bits) (type octets octets) (type index position))
  (let ((start (- position 4)))
    (setf (aref octets start) (ldb (byte 8 0) bits)
          (aref octets (+ start 1)) (ldb (byte 8 8) bits)
          (aref octets (+ start 2)) (ldb (byte 8 16) bits)
          (aref octets (+ start 3)) (ldb (byte 8 24) bits))
    start))

(defun write-fixed64 (bits octets position)
  "Write 64 BITS before POSITION; return where they begin."
  (declare (type (unsigned-byte 64) bits) (type octets octets) (type index position))
  (write-fixed32 (ldb (byte 32 32) bits) octets position)
  (write-fixed32 (ldb (byte 32 0) bits) octets (- position 4)))

;;; Copying between vectors of which none is of Lisp objects

(declaim (inline copy-octets))
(defun copy-octets (from from-start to to-start count)
  "Copy COUNT octets of memory from one vector of numbers, or base string, to another.
The starts are in octets too. The caller has made sure that they are there."
  (declare (type (simple-array * (*)) from to) (type index from-start to-start count))
  (sb-sys:with-pinned-objects (from to)
    (let ((source (sb-sys:sap+ (sb-sys:vector-sap from) from-start))
          (target (sb-sys:sap+ (sb-sys:vector-sap to) to-start)))
      (if (< count 128)
          (let ((at 0))
            (declare (type index at))
            (loop while (<= (+ at 8) count)
                  do (setf (sb-sys:sap-ref-64 target at) (sb-sys:sap-ref-64 source at))
                     (incf at 8))
            (loop while (< at count)
                  do (setf (sb-sys:sap-ref-8 target at) (sb-sys:sap-ref-8 source at))
                     (incf at)))
          (sb-kernel:system-area-ub8-copy source 0 target 0 count))))
  nil)
