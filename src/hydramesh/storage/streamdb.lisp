(defpackage #:hydramesh/storage/streamdb
  (:use #:cl)
  (:import-from #:cffi)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/storage/limits #:+streamdb-traffic-chunks+)
  (:import-from #:hydramesh/storage/store
                #:store-read #:store-list #:store-write #:store-check #:store-close #:store-pace
                #:store-traffic-chunks #:storage-unavailable #:storage-damaged #:storage-newer
                #:+schema-version+ #:+kinds+)
  (:import-from #:hydramesh/storage/checksum #:packed #:unpacked)
  (:import-from #:hydramesh/storage/streamdb-file #:check-streamdb-file)
  (:import-from #:hydramesh/foreign/outside #:call-outside)
  (:import-from #:hydramesh/foreign/streamdb
                #:load-streamdb #:streamdb-missing #:streamdb-version #:streamdb-open
                #:streamdb-close #:streamdb-get #:streamdb-put #:streamdb-delete #:streamdb-keys
                #:streamdb-flush #:streamdb-file-size)
  (:import-from #:hydramesh/plugin/define #:define-plugin)
  (:import-from #:hydramesh/plugin/plugin #:unusable)
  (:documentation "The plugin `streamdb': a store in a file of StreamDB.

The library holds everything in memory, two KiB for a byte of a key that it shares with no other, so keys
are short: the number, the lowest byte first, and the kind. It writes everything anew, so that is done
rarely; and it notices neither a full disk nor a damaged file, so both are looked for here: it writes to a
file of its own, and that takes the store's place when it is complete and on the disk."))
(in-package #:hydramesh/storage/streamdb)

(defstruct (streamdb (:constructor make-streamdb (database path writing)))
  database
  (path "" :type string)
  (writing nil))

(defun next-path (path)
  (concatenate 'string path ".next"))

(defun unavailable (control &rest arguments)
  (error 'storage-unavailable :reason (apply #'format nil control arguments)))

(defmacro translating (&body body)
  "Do BODY, with what the system refuses as failures of a store."
  `(handler-case (progn ,@body)
     (sb-posix:syscall-error (condition)
       (unavailable "~A" (reason-of condition)))
     (file-error (condition) (unavailable "~A" condition))))

(defun exists-p (path)
  (handler-case (sb-posix:stat path)
    (sb-posix:syscall-error () nil)))

(defun names-in (folder)
  (let ((directory (sb-posix:opendir folder)))
    (unwind-protect
         (loop for entry = (sb-posix:readdir directory)
               until (sb-alien:null-alien entry)
               collect (sb-posix:dirent-name entry))
      (sb-posix:closedir directory))))

(defun folder (path)
  (subseq path 0 (1+ (position #\/ path :from-end t))))

(defun remove-unfinished (path)
  "Remove what the library was writing when a process ended: the next file, and that before its renaming."
  (let* ((folder (folder path))
         (next (next-path path))
         (begin (subseq next (length folder))))
    (dolist (name (names-in folder))
      (when (eql (mismatch begin name) (length begin))
        (sb-posix:unlink (concatenate 'string folder name))))
    (when (exists-p next)
      (sb-posix:unlink next))))

(defun key (kind number)
  (let ((key (make-array 7 :element-type '(unsigned-byte 8))))
    (dotimes (index 6)
      (setf (aref key index) (ldb (byte 8 (* 8 index)) number)))
    (setf (aref key 6) kind)
    key))

(defun key-number (key)
  (unless (= (length key) 7)
    (error 'storage-damaged :reason "it has a key that is not HydraMesh's"))
  (loop for index below 6 sum (ash (aref key index) (* 8 index))))

(defconstant +version-kind+ 0 "The kind of the chunk that has the schema's version, one byte.")

(defun check-version (store)
  (let ((content (store-read store +version-kind+ 0)))
    (cond ((not (and content (= (length content) 1)))
           (error 'storage-damaged :reason "it is a database, but not HydraMesh's"))
          ((> (aref content 0) +schema-version+)
           (error 'storage-newer :reason "a later version of HydraMesh wrote it"))
          ((/= (aref content 0) +schema-version+)
           (error 'storage-damaged :reason (format nil "its schema has the unknown version ~D"
                                                   (aref content 0)))))))

(defun open-database (path)
  (or (streamdb-open path) (unavailable "there is not enough memory")))

(defun open-streamdb (path writing)
  "Open the store at PATH, a native name. Unless WRITING, the file must be there. Signal STORAGE-FAILURE."
  (translating
    (let ((there (exists-p path)) (store nil) (done nil))
      (unless (or there writing)
        (unavailable "nothing has been recorded yet"))
      (when there
        (check-streamdb-file path))
      (when writing
        (remove-unfinished path)
        (when there
          (sb-posix:link path (next-path path))))
      (unwind-protect
           (progn
             (setf store (make-streamdb (open-database (if writing (next-path path) path)) path
                                        writing))
             (if there
                 (check-version store)
                 (store-write store `((,+version-kind+ 0 ,(make-array 1 :element-type '(unsigned-byte 8)
                                                                        :initial-element
                                                                        +schema-version+)))))
             (setf done t)
             store)
        (when (and store (not done))
          (store-close store))))))

(defmethod store-read ((store streamdb) kind number)
  (let ((packed (streamdb-get (streamdb-database store) (key kind number))))
    (and packed (unpacked packed))))

(defmethod store-list ((store streamdb) kind)
  (sort (mapcar #'key-number (streamdb-keys (streamdb-database store) kind)) #'<))

(defun synchronize (path flags)
  "Wait until what is at PATH is on the disk."
  (let ((descriptor (sb-posix:open path flags)))
    (unwind-protect
         (unless (zerop (call-outside (cffi:foreign-symbol-pointer "fsync")
                                      (cffi:make-pointer descriptor)))
           (unavailable "the disk refuses to keep it"))
      (sb-posix:close descriptor))))

(defmethod store-write ((store streamdb) changes)
  (let* ((database (streamdb-database store))
         (path (streamdb-path store))
         (next (next-path path)))
    (loop for (kind number content) in changes
          do (if content
                 (unless (streamdb-put database (key kind number) (packed content))
                   (unavailable "there is not enough memory"))
                 (streamdb-delete database (key kind number))))
    (translating
      (unless (and (streamdb-flush database)
                   (= (sb-posix:stat-size (sb-posix:stat next)) (streamdb-file-size database)))
        (unavailable "it cannot be written: is the disk full?"))
      (synchronize next sb-posix:o-wronly)
      (sb-posix:rename next path)
      (synchronize (folder path) sb-posix:o-rdonly))))

(defmethod store-check ((store streamdb))
  (dolist (kind +kinds+)
    (dolist (number (store-list store kind))
      (store-read store kind number))))

(defmethod store-close ((store streamdb))
  (streamdb-close (streamdb-database store))
  (when (streamdb-writing store)
    (ignore-errors (remove-unfinished (streamdb-path store)))))

(defmethod store-pace ((store streamdb))
  10)

(defmethod store-traffic-chunks ((store streamdb))
  +streamdb-traffic-chunks+)

(define-plugin streamdb
  (:documentation "Keeps the figures of the past in a file of StreamDB.")
  (:version "1.0.0")
  (:start ()
   (handler-case (load-streamdb)
     (streamdb-missing (condition) (unusable "~A" condition))))
  (:store "streamdb" (started path writing)
   (open-streamdb path writing))
  (:report (started)
   (format nil "with version ~A of the library" (streamdb-version))))
