(defpackage #:hydramesh/storage/checksum
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/storage/store #:storage-damaged)
  (:export #:packed #:unpacked)
  (:documentation "Every chunk is kept with the CRC-32 of its content before it: nothing else would notice
that a bit of it is another one, or that a file was cut where SQLite does not look."))
(in-package #:hydramesh/storage/checksum)

(defun make-table ()
  (let ((table (make-array 256 :element-type '(unsigned-byte 32))))
    (dotimes (octet 256 table)
      (let ((crc octet))
        (loop repeat 8
              do (setf crc (if (oddp crc)
                               (logxor (ash crc -1) #xedb88320)
                               (ash crc -1))))
        (setf (aref table octet) crc)))))

(declaim (type (simple-array (unsigned-byte 32) (256)) +table+))
(defparameter +table+ (make-table) "The CRC of each octet.")

(defun checksum (octets start)
  "Return the CRC-32 of OCTETS from START."
  (declare (type octets octets))
  (let ((crc #xffffffff))
    (declare (type (unsigned-byte 32) crc))
    (loop for index from start below (length octets)
          do (setf crc (logxor (ash crc -8)
                               (aref +table+ (logand 255 (logxor crc (aref octets index)))))))
    (logxor crc #xffffffff)))

(defun packed (content)
  "Return CONTENT, octets, as it is kept."
  (declare (type octets content))
  (let ((packed (make-array (+ 4 (length content)) :element-type '(unsigned-byte 8)))
        (checksum (checksum content 0)))
    (dotimes (index 4)
      (setf (aref packed index) (ldb (byte 8 (* 8 index)) checksum)))
    (replace packed content :start1 4)))

(defun unpacked (packed)
  "Return the content that PACKED made PACKED of. Signal STORAGE-DAMAGED."
  (unless (and (typep packed 'octets)
               (>= (length packed) 4)
               (= (checksum packed 4)
                  (loop for index below 4 sum (ash (aref packed index) (* 8 index)))))
    (error 'storage-damaged :reason "a part of it is not what was written"))
  (subseq packed 4))
