(defpackage #:hydramesh/foreign/streamdb
  (:use #:cl)
  (:import-from #:cffi)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/foreign/outside #:call-outside)
  (:import-from #:hydramesh/foreign/system #:copy-octets)
  (:export #:load-streamdb #:streamdb-missing #:streamdb-version #:streamdb-open #:streamdb-close #:streamdb-get
           #:streamdb-put #:streamdb-delete #:streamdb-keys #:streamdb-flush #:streamdb-file-size)
  (:documentation "The functions of libstreamdb, StreamDB's C edition.

The library is loaded when it is asked for. It keeps everything in memory, and a flush writes all of it to
another file that takes the place of the first. A database is for one thread here."))
(in-package #:hydramesh/foreign/streamdb)

(define-condition streamdb-missing (error)
  ((reason :initarg :reason))
  (:documentation "There is no libstreamdb, or another one.")
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream))))

(defparameter +functions+
  '("streamdb_init" "streamdb_free" "streamdb_get" "streamdb_insert" "streamdb_delete"
    "streamdb_suffix_search" "streamdb_free_results" "streamdb_flush" "streamdb_get_stats"
    "streamdb_version"))

(defmacro call (name &rest arguments)
  "Call the library's function NAME, which is looked up now: the library is not there while this is compiled."
  `(cffi:foreign-funcall-pointer (cffi:foreign-symbol-pointer ,name) () ,@arguments))

(defun missing (control &rest arguments)
  (error 'streamdb-missing :reason (apply #'format nil control arguments)))

(defun streamdb-version ()
  "Return the version of the library, a string."
  (call "streamdb_version" :string))

(defun load-streamdb ()
  "Load the library that HYDRAMESH_LIBSTREAMDB names, or the system's. Signal STREAMDB-MISSING."
  (let ((name (or (sb-posix:getenv "HYDRAMESH_LIBSTREAMDB") "libstreamdb.so")))
    (handler-case (cffi:load-foreign-library name)
      (cffi:load-foreign-library-error ()
        (missing "the library ~A cannot be loaded: install libstreamdb, or set HYDRAMESH_LIBSTREAMDB to it"
                 name)))
    ;; Three libraries have that name; the others lack one of these, or say another version.
    (let ((lacks (find-if-not #'cffi:foreign-symbol-pointer +functions+)))
      (when lacks
        (missing "~A is another library than StreamDB's C edition: it has no ~A" name lacks)))
    (let ((version (streamdb-version)))
      (unless (eql (search "2." version) 0)
        (missing "~A has the version ~A, and HydraMesh knows 2" name version)))))

(defun streamdb-open (path)
  "Return the database in the file at PATH, or NIL. What is in the file must have been checked before."
  (let ((database (call "streamdb_init" :string path :int 0 :pointer)))
    (if (cffi:null-pointer-p database) nil database)))

(defun streamdb-close (database)
  "Free DATABASE. What was not flushed is written to its file."
  (call-outside (cffi:foreign-symbol-pointer "streamdb_free") database))

(defun streamdb-get (database key)
  "Return the octets under KEY, octets, or NIL."
  (declare (type octets key))
  (cffi:with-foreign-object (size :size)
    (let ((value (cffi:with-pointer-to-vector-data (pointer key)
                   (call "streamdb_get" :pointer database :pointer pointer :size (length key)
                                        :pointer size :pointer))))
      (unless (cffi:null-pointer-p value)
        (unwind-protect (copy-octets value (cffi:mem-ref size :size))
          (cffi:foreign-free value))))))

(defun streamdb-put (database key value)
  "Keep VALUE, octets of which there is one at least, under KEY. Return whether there was memory for it."
  (declare (type octets key value))
  (cffi:with-pointer-to-vector-data (key-pointer key)
    (cffi:with-pointer-to-vector-data (value-pointer value)
      (zerop (call "streamdb_insert" :pointer database :pointer key-pointer :size (length key)
                                     :pointer value-pointer :size (length value) :int)))))

(defun streamdb-delete (database key)
  "Remove what is under KEY."
  (declare (type octets key))
  (cffi:with-pointer-to-vector-data (pointer key)
    (call "streamdb_delete" :pointer database :pointer pointer :size (length key) :int)))

(cffi:defcstruct result
  (key :pointer)
  (key-length :size)
  (value :pointer)
  (value-size :size)
  (next :pointer))

(defun streamdb-keys (database last)
  "Return the keys that end with the byte LAST."
  (cffi:with-foreign-object (suffix :unsigned-char)
    (setf (cffi:mem-ref suffix :unsigned-char) last)
    (let ((results (call "streamdb_suffix_search" :pointer database :pointer suffix :size 1 :pointer)))
      (unwind-protect
           (loop for result = results then (cffi:foreign-slot-value result '(:struct result) 'next)
                 until (cffi:null-pointer-p result)
                 collect (cffi:with-foreign-slots ((key key-length) result (:struct result))
                           (copy-octets key key-length)))
        (call "streamdb_free_results" :pointer results :void)))))

(defun streamdb-flush (database)
  "Write everything to DATABASE's file. Return whether the library noticed no failure."
  (zerop (call-outside (cffi:foreign-symbol-pointer "streamdb_flush") database)))

(cffi:defcstruct stats
  (total-size :size)
  (key-count :size)
  (node-count :size)
  (dirty :int)
  (file-backend :int))

(defun streamdb-file-size (database)
  "Return how many bytes a file with all of DATABASE has."
  (cffi:with-foreign-object (stats '(:struct stats))
    (call "streamdb_get_stats" :pointer database :pointer stats :int)
    (cffi:with-foreign-slots ((total-size node-count) stats (:struct stats))
      ;; A header of 8 bytes; of each node whether it has a value, the value's size and the number of
      ;; children; and of each but the first, which child it is.
      (+ 8 total-size (* 17 node-count) -1))))
