(defpackage #:hydramesh/iot/chunks
  (:use #:cl)
  (:import-from #:hydramesh/sha256 #:sha256-hex)
  (:import-from #:hydramesh/storage/codec #:read-number #:write-number)
  (:import-from #:hydramesh/storage/store #:storage-damaged)
  (:export #:+states+ #:+minutes+ #:+hours+ #:chunk-number #:chunk-index #:chunk-of-p
           #:write-signed #:read-signed)
  (:documentation "Where a sensor's chunks are in a program's store, and what all of them have alike.

Sensors share the kinds of chunks. A chunk's number begins with 24 bits that its sensor's name makes, and
goes on with 24 that count; a chunk has the name, too, as two names may make the same bits."))
(in-package #:hydramesh/iot/chunks)

(defconstant +states+ #x30)
(defconstant +minutes+ #x31)
(defconstant +hours+ #x32)

(defun first-bits (name)
  (let ((octets (sb-ext:string-to-octets name :external-format :utf-8)))
    (parse-integer (sha256-hex (coerce octets '(simple-array (unsigned-byte 8) (*)))) :end 6 :radix 16)))

(defun chunk-number (name index)
  "Return the number of the chunk INDEX, modulo 2^24, of the sensor NAME."
  (logior (ash (first-bits name) 24) (ldb (byte 24 0) index)))

(defun chunk-index (number)
  "Return the index of the chunk with that NUMBER."
  (ldb (byte 24 0) number))

(defun chunk-of-p (name number)
  "Return whether the chunk with that NUMBER may be of the sensor NAME."
  (= (ash number -24) (first-bits name)))

(defun write-signed (number writer)
  "Append the whole NUMBER, which may be negative, so that small ones take few bytes."
  (write-number (if (minusp number) (1- (* -2 number)) (* 2 number)) writer))

(defun read-signed (reader)
  "Read a whole number that WRITE-SIGNED wrote. Signal STORAGE-DAMAGED."
  (multiple-value-bind (half negative) (floor (read-number reader) 2)
    (if (zerop negative) half (- -1 half))))
