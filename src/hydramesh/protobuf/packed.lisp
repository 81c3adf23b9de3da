(defpackage #:hydramesh/protobuf/packed
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire
                #:index #:malformed #:read-varint #:varint-size #:write-varint #:copy-octets
                #:sign-extended)
  (:export #:packed-functions #:element-type #:numbers)
  (:documentation "Repeated numbers, which are vectors of just these numbers.

While a message is decoded, such a vector has room for more than its count; `finish` cuts it. It grows
as what is read goes on, by a factor, so that many fields of one number each do not cost their square."))
(in-package #:hydramesh/protobuf/packed)

(eval-when (:compile-toplevel :load-toplevel :execute)

(defun element-type (kind)
  "Return the type of the numbers of KIND."
  (ecase kind
    (:uint32 '(unsigned-byte 32))
    (:uint64 '(unsigned-byte 64))
    ((:int32 :enum) '(signed-byte 32))
    (:int64 '(signed-byte 64))
    (:float 'single-float)
    (:double 'double-float)))

(defun packed-functions (kind)
  "Return the names of the functions for numbers of KIND:
- (append-one vector count number) returns a vector with one more number in it;
- (append-packed vector count octets start end) returns a vector and its count;
- (finish vector count) returns the numbers alone;
- (size vector) returns how many octets they take, packed;
- (write vector octets position) writes them before POSITION and returns where they begin."
  (when (eq kind :enum)
    (setf kind :int32))
  (loop for name in '("APPEND-~a" "APPEND-PACKED-~a" "FINISH-~a" "SIZE-OF-~a" "WRITE-~a")
        collect (intern (format nil name kind) '#:hydramesh/protobuf/packed)))

(defun room-function (kind)
  "Return the name of the function that returns a vector with room for more numbers of KIND."
  (intern (format nil "ROOM-FOR-~a" kind) '#:hydramesh/protobuf/packed)))

(defun numbers (kind sequence)
  "Return SEQUENCE as a vector of numbers of KIND."
  (coerce sequence `(simple-array ,(element-type kind) (*))))

(defun varints-in (octets start end)
  "Return how many numbers begin from START to END, if each that begins also ends."
  (declare (type octets octets) (type index start end) (optimize speed))
  (loop for at of-type index from start below end
        count (< (aref octets at) #x80) of-type index))

(defmacro define-growing (kind)
  "Define the functions of numbers of KIND that do not depend on how they are encoded."
  (let ((type `(simple-array ,(element-type kind) (*))))
    (destructuring-bind (append-one append-packed finish size write) (packed-functions kind)
      (declare (ignore append-packed size write))
      (let ((room (room-function kind)))
        `(progn
           (defun ,room (vector count more)
             (declare (type ,type vector) (type index count more))
             (if (<= (+ count more) (length vector))
                 vector
                 (replace (make-array (if (zerop count) more (max (+ count more) (* 2 count)))
                                      :element-type ',(element-type kind))
                          vector :end2 count)))
           (defun ,append-one (vector count number)
             (declare (type ,type vector) (type index count) (type ,(element-type kind) number))
             (let ((vector (,room vector count 1)))
               (declare (type ,type vector))
               (setf (aref vector count) number)
               vector))
           (defun ,finish (vector count)
             (declare (type ,type vector) (type index count))
             (if (= count (length vector)) vector (subseq vector 0 count))))))))

(defmacro define-varints (kind from-varint to-varint)
  "Define the functions of numbers of KIND, which are varints: the forms say how, of NUMBER."
  (let ((type `(simple-array ,(element-type kind) (*))))
    (destructuring-bind (append-one append-packed finish size write) (packed-functions kind)
      (declare (ignore append-one finish))
      `(progn
         (define-growing ,kind)
         (defun ,append-packed (vector count octets start end)
           (declare (type ,type vector) (type octets octets) (type index count start end)
                    (optimize speed))
           (let ((vector (,(room-function kind) vector count (varints-in octets start end))))
             (declare (type ,type vector))
             (loop while (< start end)
                   do (multiple-value-bind (number next) (read-varint octets start end)
                        (setf (aref vector count) ,from-varint
                              start next))
                      (incf count))
             (values vector count)))
         (defun ,size (vector)
           (declare (type ,type vector) (optimize speed))
           (let ((size 0))
             (declare (type index size))
             (loop for number across vector
                   do (incf size (varint-size ,to-varint)))
             size))
         (defun ,write (vector octets position)
           (declare (type ,type vector) (type octets octets) (type index position) (optimize speed))
           (loop for at of-type fixnum from (1- (length vector)) downto 0
                 for number = (aref vector at)
                 do (setf position (write-varint ,to-varint octets position)))
           position)))))

(defmacro define-fixed (kind width)
  "Define the functions of numbers of KIND, which take WIDTH octets each, as they do in memory."
  (let ((type `(simple-array ,(element-type kind) (*))))
    (destructuring-bind (append-one append-packed finish size write) (packed-functions kind)
      (declare (ignore append-one finish))
      `(progn
         (define-growing ,kind)
         (defun ,append-packed (vector count octets start end)
           (declare (type ,type vector) (type octets octets) (type index count start end))
           (multiple-value-bind (more rest) (floor (- end start) ,width)
             (unless (zerop rest)
               (malformed "packed numbers end within one"))
             (let ((vector (,(room-function kind) vector count more)))
               (declare (type ,type vector))
               (copy-octets octets start vector (* count ,width) (- end start))
               (values vector (+ count more)))))
         (defun ,size (vector)
           (declare (type ,type vector))
           (* ,width (length vector)))
         (defun ,write (vector octets position)
           (declare (type ,type vector) (type octets octets) (type index position))
           (let* ((size (* ,width (length vector)))
                  (start (- position size)))
             (unless (<= 0 start position (length octets))
               (error "There is no room for numbers."))
             (copy-octets vector 0 octets start size)
             start))))))

(define-varints :uint32 (ldb (byte 32 0) number) number)
(define-varints :uint64 number number)
(define-varints :int32 (sign-extended number) (ldb (byte 64 0) number))
(define-varints :int64
  (if (logbitp 63 number) (- number (ash 1 64)) number)
  (ldb (byte 64 0) number))
(define-fixed :float 4)
(define-fixed :double 8)
