;;;; HydraMesh's codec as a process that tests ask: build.sh lisp --load lisp_codec.lisp.
;;;;
;;;; A request is a letter, the name of a message type ended by a line feed, and a message. An answer
;;;; begins with "=" and the result, with "-" and why the message is malformed, or with "!" and what went
;;;; wrong otherwise.

(let ((*standard-output* *error-output*))
  (asdf:load-system "hydramesh/schema")
  (asdf:load-system "hydramesh/protobuf/payload"))
(load (merge-pathnames "lisp_process.lisp" *load-truename*))

(defpackage #:codec
  (:use #:cl #:lisp-process)
  (:local-nicknames (#:pb #:hydramesh/schema) (#:payload #:hydramesh/protobuf/payload)))
(in-package #:codec)

(defun octets (text)
  (sb-ext:string-to-octets text :external-format :utf-8))

(defun aside-of (octets start count)
  (loop for at from start below (+ start count) collect (aref octets at)))

(defun answer (letter name body)
  (flet ((decoded () (pb:decode name body)))
    (ecase letter
      (#\d (pb:encode (decoded)))
      (#\c (pb:encode (pb:copy-message (decoded))))
      (#\n (octets-of (pb:encoded-size (decoded)) 4))
      (#\j (pb:to-json (decoded)))
      (#\p (pb:encode (pb:from-json name body)))
      ;; The length of the first of two messages comes before them.
      (#\m (let ((middle (+ 4 (number-in body 0 4))))
             (pb:encode (pb:merge-message (pb:decode name body :start 4 :end middle)
                                          (pb:decode name body :start middle)))))
      (#\b (pb:encode (payload:split name body '())))
      (#\i (octets (format nil "~d" (payload:id-in body))))
      ;; How many fields are aside, and their numbers, come before the message.
      (#\s (let* ((count (aref body 0))
                  (payload (subseq body (1+ count))))
             (multiple-value-bind (message pieces)
                 (payload:split name payload (aside-of body 1 count))
               (let ((read (pb:encode message)))
                 (concatenate '(vector (unsigned-byte 8))
                              (octets-of (length read) 4) read
                              (payload:joined payload pieces (pb:decode name (octets "")))))))))))

(defun reply (mark body)
  (send (list (char-code mark)) body))

(loop for request = (receive)
      while request
      do (let* ((end (position 10 request))
                (name (find-symbol (map 'string #'code-char (subseq request 1 end)) '#:pb)))
           (handler-case (answer (code-char (aref request 0)) name (subseq request (1+ end)))
             (pb:malformed (condition) (reply #\- (octets (princ-to-string condition))))
             (error (condition) (reply #\! (octets (format nil "~s: ~:*~a" condition))))
             (storage-condition (condition) (reply #\! (octets (format nil "~s" condition))))
             (:no-error (result) (reply #\= result)))))
