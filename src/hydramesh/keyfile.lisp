(defpackage #:hydramesh/keyfile
  (:use #:cl)
  (:import-from #:hydramesh/bounded-file
                #:read-bounded #:file-mode #:unreadable-file #:unreadable-file-reason)
  (:import-from #:sb-posix)
  (:export #:load-key #:key-file-error)
  (:documentation "The cluster key: 32 random bytes in a file that only its owner may read."))
(in-package #:hydramesh/keyfile)

(defconstant +key-size+ 32)
(defconstant +max-file+ 4096)

(defparameter +prefix+ "daiic-key-1:")

(defparameter +alphabet+ "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")

(define-condition key-file-error (error)
  ((text :initarg :text))
  (:report (lambda (condition stream) (write-string (slot-value condition 'text) stream)))
  (:documentation "A cluster key file cannot be used; the text says what to do."))

(defun refuse (format &rest arguments)
  (error 'key-file-error :text (format nil "~?" format arguments)))

(defun refuse-content (path)
  (refuse "~A is not a cluster key: make one with `daiic keygen`" path))

(defun text-of (content)
  "Return CONTENT, octets, as text without the white space around it; NIL if it is not ASCII."
  (when (every (lambda (byte) (< byte 128)) content)
    (string-trim '(#\Space #\Tab #\Newline #\Return #\Page) (map 'string #'code-char content))))

(defun secret-of (text)
  "Return the 32 octets of which TEXT is the base64, or NIL if it is not."
  (let* ((end (or (position #\= text) (length text)))
         (padding (- (length text) end))
         (number 0))
    ;; 43 characters have two bits more than 32 octets.
    (when (and (= end (ceiling (* 8 +key-size+) 6))
               (<= 1 padding 2)
               (every (lambda (char) (char= char #\=)) (subseq text end)))
      (loop for char across (subseq text 0 end)
            for value = (position char +alphabet+)
            do (if value
                   (setf number (logior (ash number 6) value))
                   (return-from secret-of nil)))
      (let ((secret (make-array +key-size+ :element-type '(unsigned-byte 8))))
        (dotimes (at +key-size+ secret)
          (setf (aref secret at) (ldb (byte 8 (+ 2 (* 8 (- +key-size+ at 1)))) number)))))))

(defun load-key (path)
  "Return the key in the file PATH, a string: 32 octets.
Signal KEY-FILE-ERROR if it is missing, open to other users, or not a key."
  (multiple-value-bind (text mode)
      (handler-case (values (text-of (read-bounded path +max-file+)) (file-mode path))
        (unreadable-file (condition)
          (let ((reason (unreadable-file-reason condition)))
            (if (string= reason (sb-int:strerror sb-posix:enoent))
                (refuse "cluster key ~A does not exist: make one with `daiic keygen`" path)
                (refuse "cluster key ~A cannot be read: ~A" path reason)))))
    (unless text
      (refuse-content path))
    ;; Group read is left alone: systemd's credentials and sops-nix use it.
    (when (logtest mode #o027)
      (refuse "cluster key ~A has mode ~4,'0O, which other users may read or change: run `chmod 600 ~A`"
              path mode path))
    (or (and (eql (mismatch +prefix+ text) (length +prefix+))
             (secret-of (subseq text (length +prefix+))))
        (refuse-content path))))
