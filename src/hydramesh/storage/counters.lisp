(defpackage #:hydramesh/storage/counters
  (:use #:cl)
  (:import-from #:hydramesh/storage/codec
                #:kept #:make-writer #:writer-octets #:writer-length #:write-number #:write-text
                #:make-reader #:reader-done-p #:read-number #:read-text)
  (:export #:counters-octets #:counters-read)
  (:documentation "What a head has counted, as a list of (name . number), so that it goes on counting from
there when it is started again."))
(in-package #:hydramesh/storage/counters)

(defconstant +counters-kept+ 2048 "Names that are kept; an error code of a stranger makes a new one.")

(defun counters-octets (counters)
  "Return COUNTERS as bytes."
  (let ((writer (make-writer)))
    (loop for (name . number) in counters
          repeat +counters-kept+
          do (write-text name writer)
             (write-number (kept number) writer))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(defun counters-read (octets)
  "Return the counters that COUNTERS-OCTETS made OCTETS of. Signal STORAGE-DAMAGED."
  (let ((reader (make-reader octets)))
    (loop until (reader-done-p reader)
          collect (cons (read-text reader) (read-number reader)))))
