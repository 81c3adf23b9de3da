;;;; HydraMesh's reader of TOML as a process that tests ask: build.sh lisp --load lisp_toml.lisp.
;;;;
;;;; A request is a text. An answer is what it means, as JSON whose values are pairs of a type and a
;;;; value; or "-" and why it is no TOML; or "!" and what went wrong otherwise.

(let ((*standard-output* *error-output*))
  (asdf:load-system "hydramesh/service/toml"))
(load (merge-pathnames "lisp_process.lisp" *load-truename*))

(defpackage #:toml
  (:use #:cl #:lisp-process #:hydramesh/service/toml))
(in-package #:toml)

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

(loop for request = (receive)
      while request
      do (let ((text (sb-ext:octets-to-string request :external-format :utf-8)))
           (send (sb-ext:string-to-octets (answer text) :external-format :utf-8))))
