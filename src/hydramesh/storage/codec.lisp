(defpackage #:hydramesh/storage/codec
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/storage/limits #:+name-characters+)
  (:import-from #:hydramesh/storage/store #:storage-damaged)
  (:export #:number-kept #:kept #:cut
           #:writer #:make-writer #:writer-octets #:writer-length #:write-number #:write-text #:write-octets
           #:reader #:make-reader #:reader-done-p #:read-number #:read-index #:read-text #:read-octets)
  (:documentation "Numbers and short texts as bytes.

A number is written seven bits at a time, the lowest first, with the highest bit of all bytes but the last
one set; a text is its length and its UTF-8. What is read was written by this program, or by whatever has
damaged the file since: all of it is checked."))
(in-package #:hydramesh/storage/codec)

(deftype number-kept () "Every number that is kept." '(unsigned-byte 62))

(declaim (inline kept))
(defun kept (number)
  "Return NUMBER, or the nearest one that can be written."
  (if (typep number 'number-kept)
      number
      (if (minusp number) 0 (1- (ash 1 62)))))

(defun cut (text)
  "Return as much of TEXT as is kept."
  (if (<= (length text) +name-characters+) text (subseq text 0 +name-characters+)))

(defstruct (writer (:constructor make-writer (&optional before
                                              &aux (length (length before))
                                                   (octets (replace (make-array (max 1024 length)
                                                                                :element-type '(unsigned-byte 8))
                                                                    (or before #()))))))
  "The first LENGTH of OCTETS are what was written: BEFORE, octets, and what came after them."
  (octets nil :type octets)
  (length 0 :type fixnum))

(declaim (inline write-octet))
(defun write-octet (octet writer)
  (let ((octets (writer-octets writer)) (length (writer-length writer)))
    (when (= length (length octets))
      (setf octets (replace (make-array (* 2 length) :element-type '(unsigned-byte 8)) octets)
            (writer-octets writer) octets))
    (setf (aref octets length) octet
          (writer-length writer) (1+ length))))

(defun write-number (number writer)
  "Append NUMBER."
  (declare (type number-kept number))
  (loop while (> number 127)
        do (write-octet (logior 128 (logand number 127)) writer)
           (setf number (ash number -7)))
  (write-octet number writer))

(defun write-text (text writer)
  "Append as much of TEXT as is kept."
  (let ((encoded (sb-ext:string-to-octets (cut text) :external-format :utf-8)))
    (write-number (length encoded) writer)
    (loop for octet across encoded
          do (write-octet octet writer))))

(defun write-octets (octets writer)
  "Append OCTETS, and before them how many there are."
  (declare (type octets octets))
  (write-number (length octets) writer)
  (loop for octet across octets
        do (write-octet octet writer)))

(defstruct (reader (:constructor make-reader (octets &aux (end (length octets)))))
  (octets nil :type octets)
  (position 0 :type fixnum)
  (end 0 :type fixnum))

(defun damaged ()
  (error 'storage-damaged :reason "a part of it is not what was written"))

(defun reader-done-p (reader)
  "Return whether all has been read."
  (= (reader-position reader) (reader-end reader)))

(declaim (inline read-octet))
(defun read-octet (reader)
  (when (reader-done-p reader)
    (damaged))
  (prog1 (aref (reader-octets reader) (reader-position reader))
    (incf (reader-position reader))))

(defun read-number (reader)
  "Read a number."
  (loop for shift of-type (integer 0 70) from 0 by 7
        for octet = (read-octet reader)
        sum (ash (logand octet 127) shift) into number of-type (unsigned-byte 70)
        while (> octet 127)
        when (>= shift 56) do (damaged)
        finally (return (if (typep number 'number-kept) number (damaged)))))

(defun read-index (reader below)
  "Read a number that must be less than BELOW."
  (let ((number (read-number reader)))
    (if (< number below) number (damaged))))

(defun read-text (reader)
  "Read a text."
  (let* ((length (read-index reader (1+ (* 4 +name-characters+))))
         (start (reader-position reader))
         (end (+ start length)))
    (when (> end (reader-end reader))
      (damaged))
    (setf (reader-position reader) end)
    (cut (sb-ext:octets-to-string (reader-octets reader) :start start :end end
                                                         :external-format '(:utf-8 :replacement #\?)))))

(defun read-octets (reader most)
  "Read octets, of which there must be no more than MOST."
  (let* ((length (read-index reader (1+ most)))
         (start (reader-position reader))
         (end (+ start length)))
    (when (> end (reader-end reader))
      (damaged))
    (setf (reader-position reader) end)
    (subseq (reader-octets reader) start end)))
