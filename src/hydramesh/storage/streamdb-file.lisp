(defpackage #:hydramesh/storage/streamdb-file
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/storage/limits #:+streamdb-file+)
  (:import-from #:hydramesh/storage/store #:storage-damaged #:storage-newer)
  (:export #:check-streamdb-file)
  (:documentation "Whether a file is one that StreamDB can be given.

The library reads what it finds without a word: of a file that was cut it takes nothing, and garbage it
takes for an older format. So the file is gone through before: a header, then the nodes of a trie, each
with its value and children, and nothing after them."))
(in-package #:hydramesh/storage/streamdb-file)

(defconstant +version+ 2 "Of the library's format.")
(defconstant +key+ 7 "Bytes of a key.")

(defun damaged (reason)
  (error 'storage-damaged :reason reason))

(defun file-octets (path)
  (with-open-file (file (sb-ext:parse-native-namestring path) :element-type '(unsigned-byte 8))
    (when (> (file-length file) +streamdb-file+)
      (damaged "it is larger than any that HydraMesh writes"))
    (let ((octets (make-array (file-length file) :element-type '(unsigned-byte 8))))
      (unless (= (read-sequence octets file) (length octets))
        (damaged "it cannot be read to its end"))
      octets)))

(defun check-streamdb-file (path)
  "Signal STORAGE-DAMAGED or STORAGE-NEWER unless the file at PATH, a native name, is what it should be."
  (let ((octets (file-octets path)) (position 0))
    (declare (type octets octets) (type fixnum position))
    (labels ((take (count)
               (when (> count (- (length octets) position))
                 (damaged "it has been cut off"))
               (incf position count))
             (number (size)
               (take size)
               (loop for index from (- position size) below position
                     for shift from 0 by 8
                     sum (ash (aref octets index) shift)))
             (node (depth)
               (number 4)
               (take (number 8))
               (let ((children (number 4)))
                 (when (or (> children 256) (and (plusp children) (= depth +key+)))
                   (damaged "it is no trie of HydraMesh's keys"))
                 (loop repeat children
                       do (take 1)
                          (node (1+ depth))))))
      (unless (and (>= (length octets) 8) (equalp (subseq octets 0 4) #(83 84 68 66))) ; STDB
        (damaged "it is no file of StreamDB"))
      (take 4)
      (let ((version (number 4)))
        (cond ((> version +version+)
               (error 'storage-newer :reason (format nil "a later StreamDB wrote it (its format is ~D, ~
                                                          this program knows ~D)" version +version+)))
              ((/= version +version+)
               (damaged (format nil "its format has the unknown version ~D" version)))))
      (node 0)
      (unless (= position (length octets))
        (damaged "there is something after its end")))))
