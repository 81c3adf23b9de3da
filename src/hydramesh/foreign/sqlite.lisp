(defpackage #:hydramesh/foreign/sqlite
  (:use #:cl)
  (:import-from #:sqlite)
  (:import-from #:cffi)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/foreign/outside #:call-outside)
  (:import-from #:hydramesh/foreign/system #:copy-octets)
  (:local-nicknames (#:ffi #:sqlite-ffi))
  (:export #:database #:open-database #:close-database #:execute
           #:database-failure #:database-failure-code #:database-failure-reason)
  (:documentation "SQLite, as far as it is needed, on cl-sqlite's foreign functions.

cl-sqlite's own interface is not used because every step of it may wait for the disk, see
hydramesh/foreign/outside, and because a statement that has failed fails again while it is tidied up."))
(in-package #:hydramesh/foreign/sqlite)

(define-condition database-failure (error)
  ((code :initarg :code :reader database-failure-code)
   (reason :initarg :reason :reader database-failure-reason))
  (:documentation "SQLite refused. CODE is a keyword as :FULL, or a number if that has no name here.")
  (:report (lambda (condition stream)
             (write-string (database-failure-reason condition) stream))))

(defstruct (database (:constructor make-database (handle)))
  "An open file, and the statements that were prepared for it."
  handle
  (statements (make-hash-table :test #'equal)))

(defun fail (handle code)
  (error 'database-failure :code code :reason (ffi:sqlite3-errmsg handle)))

(defun open-database (path patience)
  "Open the file at PATH, a native name; it is made if there is none.
What another process keeps locked is tried again for PATIENCE milliseconds. Signal DATABASE-FAILURE."
  (cffi:with-foreign-object (place :pointer)
    (let ((code (ffi:sqlite3-open path place))
          (handle (cffi:mem-ref place :pointer)))
      (unless (eq code :ok)
        (unwind-protect (fail handle code)
          (ffi:sqlite3-close handle)))
      (ffi:sqlite3-busy-timeout handle patience)
      (make-database handle))))

(defun close-database (database)
  "Close DATABASE; it must not be used again."
  (loop for statement being the hash-values of (database-statements database)
        do (ffi:sqlite3-finalize statement))
  (call-outside (cffi:foreign-symbol-pointer "sqlite3_close") (database-handle database)))

(defun statement (database sql)
  (let ((statements (database-statements database)))
    (or (gethash sql statements)
        (cffi:with-foreign-objects ((place :pointer) (rest :pointer))
          (let ((code (ffi:sqlite3-prepare (database-handle database) sql -1 place rest)))
            (unless (eq code :ok)
              (fail (database-handle database) code))
            (setf (gethash sql statements) (cffi:mem-ref place :pointer)))))))

(defun bind (database statement index value)
  (let ((code (etypecase value
                (integer (ffi:sqlite3-bind-int64 statement index value))
                (octets (cffi:with-pointer-to-vector-data (pointer value)
                          (ffi:sqlite3-bind-blob statement index pointer (length value)
                                                 (ffi:destructor-transient)))))))
    (unless (eq code :ok)
      (fail (database-handle database) code))))

(defun column (statement column)
  (ecase (ffi:sqlite3-column-type statement column)
    (:null nil)
    (:integer (ffi:sqlite3-column-int64 statement column))
    (:float (ffi:sqlite3-column-double statement column))
    (:text (ffi:sqlite3-column-text statement column))
    (:blob (copy-octets (ffi:sqlite3-column-blob statement column)
                        (ffi:sqlite3-column-bytes statement column)))))

(defun row (statement)
  (loop for index below (ffi:sqlite3-column-count statement)
        collect (column statement index)))

(defun execute (database sql &rest values)
  "Execute the statement SQL with VALUES, integers and octets, for its question marks.
Return the rows, lists of integers, strings and octets. Signal DATABASE-FAILURE."
  (let ((statement (statement database sql))
        (rows '()))
    (loop for value in values
          for index from 1
          do (bind database statement index value))
    (unwind-protect
         (loop for number = (call-outside (cffi:foreign-symbol-pointer "sqlite3_step") statement)
               for code = (or (cffi:foreign-enum-keyword 'ffi:error-code number :errorp nil) number)
               do (case code
                    (:row (push (row statement) rows))
                    (:done (return (nreverse rows)))
                    (t (fail (database-handle database) code))))
      (ffi:sqlite3-reset statement)
      (ffi:sqlite3-clear-bindings statement))))
