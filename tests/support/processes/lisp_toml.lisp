;;;; HydraMesh's reader of TOML as a process that tests ask: build.sh lisp --load lisp_toml.lisp.
;;;;
;;;; A request and an answer are each a length of 4 octets and as many octets. A request is a text. An
;;;; answer is what it means, as JSON whose values are pairs of a type and a value; or "-" and why it
;;;; is no TOML; or "!" and what went wrong otherwise.

(let ((*standard-output* *error-output*))
  (asdf:load-system "hydramesh/service/toml"))

(defpackage #:toml
  (:use #:cl #:hydramesh/service/toml))
(in-package #:toml)

(defvar *in* (sb-sys:make-fd-stream 0 :element-type '(unsigned-byte 8) :buffering :full))
(defvar *out* (sb-sys:make-fd-stream 1 :element-type '(unsigned-byte 8) :buffering :full :output t :input nil))

(defun write-text (text stream)
  (write-char #\" stream)
  (loop for character across text
        do (let ((code (char-code character)))
             (if (and (<= 32 code 126) (not (find character "\"\\")))
                 (write-char character stream)
                 (loop for unit across (utf-16 code)
                       do (format stream "\\u~4,'0x" unit)))))
  (write-char #\" stream))

(defun utf-16 (code)
  (if (< code #x10000)
      (vector code)
      (let ((rest (- code #x10000)))
        (vector (+ #xd800 (ash rest -10)) (+ #xdc00 (logand rest #x3ff))))))

(defun write-items (items stream)
  (format stream "[\"array\", [")
  (loop for (item . more) on items
        do (write-value item stream)
           (when more (write-char #\, stream)))
  (format stream "]]"))

(defun write-value (value stream)
  (flet ((pair (type text)
           (format stream "[~s, " type)
           (write-text text stream)
           (write-char #\] stream)))
    (etypecase value
      (string (pair "str" value))
      ((member :true :false) (pair "bool" (string-capitalize value)))
      (integer (pair "int" (format nil "~d" value)))
      ;; Its bits: no way of printing it has to be agreed on.
      (double-float (pair "float" (format nil "~d" (logior (ash (sb-kernel:double-float-high-bits value) 32)
                                                           (sb-kernel:double-float-low-bits value)))))
      (table (write-table value stream))
      (simple-vector (write-items (coerce value 'list) stream))
      (t (if (moment-p value)
             (pair "moment" (moment-text value))
             (write-items (reverse (tables-list value)) stream))))))

(defun write-table (table stream)
  (format stream "[\"dict\", {")
  (loop for ((key . value) . more) on (table-entries table)
        do (write-text key stream)
           (write-char #\: stream)
           (write-value value stream)
           (when more (write-char #\, stream)))
  (format stream "}]"))

(defun answer (text)
  (handler-case (with-output-to-string (stream)
                  (write-value (parse-toml text) stream))
    ((or malformed-toml nested-too-deeply) (condition) (format nil "-~a" condition))
    (error (condition) (format nil "!~s: ~:*~a" condition))
    (storage-condition (condition) (format nil "!~s" condition))))

(defun read-octets (count)
  (let ((octets (make-array count :element-type '(unsigned-byte 8))))
    (when (= count (read-sequence octets *in*))
      octets)))

(loop for header = (read-octets 4)
      while header
      do (let* ((size (reduce (lambda (high low) (+ (* 256 high) low)) header))
                (text (sb-ext:octets-to-string (read-octets size) :external-format :utf-8))
                (octets (sb-ext:string-to-octets (answer text) :external-format :utf-8)))
           (loop for place from 24 downto 0 by 8
                 do (write-byte (ldb (byte 8 place) (length octets)) *out*))
           (write-sequence octets *out*)
           (finish-output *out*)))
