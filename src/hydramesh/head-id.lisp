(defpackage #:hydramesh/head-id
  (:use #:cl)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/bounded-file #:read-bounded #:unreadable-file)
  (:import-from #:hydramesh/entropy #:make-entropy #:entropy-draw)
  (:import-from #:hydramesh/foreign/file-lock #:lock-file)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:export #:head-id)
  (:documentation "What other heads know this one by; it stays over restarts, in a file of its folder."))
(in-package #:hydramesh/head-id)

(defconstant +most-bytes+ 4096)

(defun new-id ()
  (format nil "~(~16,'0X~)" (entropy-draw (make-entropy))))

(defun head-id (state-dir)
  "Return the id that is kept in the folder STATE-DIR, made there at first. One that cannot be kept, as
there is no folder or another head has it, is new."
  (if (string= state-dir "")
      (new-id)
      (let ((path (format nil "~A/head-id" (string-right-trim "/" state-dir))))
        (handler-case
            (progn
              (ensure-directories-exist (uiop:parse-native-namestring path))
              ;; The lock ends with the process.
              (if (lock-file path)
                  (or (id-in path) (written path (new-id)))
                  (new-id)))
          ((or sb-posix:syscall-error unreadable-file file-error stream-error) (condition)
            (log-warning "the id of this head cannot be kept, so it gets a new one with every start"
                         :file path
                         :reason (if (typep condition 'sb-posix:syscall-error)
                                     (reason-of condition)
                                     (princ-to-string condition)))
            (new-id))))))

(defun id-in (path)
  "Return the id in the file at PATH, NIL if there is none in it."
  (let* ((octets (read-bounded path +most-bytes+))
         (id (string-trim '(#\Newline #\Space) (map 'string #'code-char octets))))
    (and (<= 1 (length id) 64)
         (every (lambda (character) (and (alphanumericp character) (< (char-code character) 128))) id)
         id)))

(defun written (path id)
  (with-open-file (out (uiop:parse-native-namestring path) :direction :output :if-exists :overwrite)
    (write-line id out))
  id)
