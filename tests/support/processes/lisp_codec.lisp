;;;; HydraMesh's codec as a process that tests ask: build.sh lisp --load lisp_codec.lisp.
;;;;
;;;; A request and an answer are each a length of 4 octets and as many octets. A request is a letter,
;;;; the name of a message type ended by a line feed, and a message. An answer begins with "=" and the
;;;; result, with "-" and why the message is malformed, or with "!" and what went wrong otherwise.

(let ((*standard-output* *error-output*))
  (asdf:load-system "hydramesh/schema")
  (asdf:load-system "hydramesh/protobuf/payload"))

(defpackage #:codec
  (:use #:cl)
  (:local-nicknames (#:pb #:hydramesh/schema) (#:payload #:hydramesh/protobuf/payload)))
(in-package #:codec)

(defvar *in* (sb-sys:make-fd-stream 0 :element-type '(unsigned-byte 8) :buffering :full))
(defvar *out* (sb-sys:make-fd-stream 1 :element-type '(unsigned-byte 8) :buffering :full :output t :input nil))

(defun octets (text)
  (sb-ext:string-to-octets text :external-format :utf-8))

(defun number-in (octets start)
  (loop for at from start below (+ start 4)
        for number = (aref octets at) then (+ (* 256 number) (aref octets at))
        finally (return number)))

(defun four-octets (number)
  (coerce (loop for place from 24 downto 0 by 8 collect (ldb (byte 8 place) number))
          '(vector (unsigned-byte 8))))

(defun aside-of (octets start count)
  (loop for at from start below (+ start count) collect (aref octets at)))

(defun answer (letter name body)
  (flet ((decoded () (pb:decode name body)))
    (ecase letter
      (#\d (pb:encode (decoded)))
      (#\c (pb:encode (pb:copy-message (decoded))))
      (#\n (four-octets (pb:encoded-size (decoded))))
      (#\j (pb:to-json (decoded)))
      (#\p (pb:encode (pb:from-json name body)))
      ;; The length of the first of two messages comes before them.
      (#\m (let ((middle (+ 4 (number-in body 0))))
             (pb:encode (pb:merge-message (pb:decode name body :start 4 :end middle)
                                          (pb:decode name body :start middle)))))
      (#\b (pb:encode (payload:decode-bounded name body)))
      (#\i (octets (format nil "~d" (payload:id-in body))))
      ;; How many fields are aside, and their numbers, come before the message.
      (#\s (let* ((count (aref body 0))
                  (payload (subseq body (1+ count))))
             (multiple-value-bind (message pieces)
                 (payload:split name payload (aside-of body 1 count))
               (let ((read (pb:encode message)))
                 (concatenate '(vector (unsigned-byte 8))
                              (four-octets (length read)) read
                              (payload:joined payload pieces (pb:decode name (octets "")))))))))))

(defun read-request ()
  (let ((header (make-array 4 :element-type '(unsigned-byte 8))))
    (when (= 4 (read-sequence header *in*))
      (let ((request (make-array (number-in header 0) :element-type '(unsigned-byte 8))))
        (read-sequence request *in*)
        request))))

(defun reply (mark body)
  (write-sequence (four-octets (1+ (length body))) *out*)
  (write-byte (char-code mark) *out*)
  (write-sequence body *out*)
  (finish-output *out*))

(loop for request = (read-request)
      while request
      do (let* ((end (position 10 request))
                (name (find-symbol (map 'string #'code-char (subseq request 1 end)) '#:pb)))
           (handler-case (answer (code-char (aref request 0)) name (subseq request (1+ end)))
             (pb:malformed (condition) (reply #\- (octets (princ-to-string condition))))
             (error (condition) (reply #\! (octets (format nil "~s: ~:*~a" condition))))
             (storage-condition (condition) (reply #\! (octets (format nil "~s" condition))))
             (:no-error (result) (reply #\= result)))))
