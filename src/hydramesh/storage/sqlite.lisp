(defpackage #:hydramesh/storage/sqlite
  (:use #:cl)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/storage/limits #:+traffic-chunks+ #:+sqlite-file+ #:+sqlite-log+)
  (:import-from #:hydramesh/storage/store
                #:store-read #:store-list #:store-write #:store-check #:store-close #:store-pace
                #:store-traffic-chunks #:storage-unavailable #:storage-damaged #:storage-newer
                #:+schema-version+)
  (:import-from #:hydramesh/storage/checksum #:packed #:unpacked)
  (:import-from #:hydramesh/foreign/sqlite
                #:open-database #:close-database #:execute
                #:database-failure #:database-failure-code #:database-failure-reason)
  (:export #:open-sqlite)
  (:documentation "A store in a file of SQLite.

A write is a transaction, and is in the write-ahead log, synchronously, before it returns: what was
committed survives the end of the process and a power cut. Others may read the file meanwhile."))
(in-package #:hydramesh/storage/sqlite)

(defconstant +application-id+ #x48594452 "In the file's header: \"HYDR\".")

(defconstant +page+ 4096 "Bytes of a page.")

(defconstant +patience+ 1000 "Milliseconds to wait for another process.")

(defstruct (sqlite (:constructor make-sqlite (database path)))
  database
  (path "" :type string))

(defun failure-of (failure)
  "Return the condition of a store that says what FAILURE, a DATABASE-FAILURE, says."
  (make-condition (case (database-failure-code failure)
                    ;; A table that is not there is an :ERROR.
                    ((:corrupt :notadb :error :schema :mismatch :format) 'storage-damaged)
                    (t 'storage-unavailable))
                  :reason (database-failure-reason failure)))

(defmacro translating (&body body)
  "Do BODY, with the failures of SQLite as those of a store."
  `(handler-case (progn ,@body)
     (database-failure (failure) (error (failure-of failure)))))

(defun single (database sql)
  (first (first (execute database sql))))

(defun create (database)
  (execute database "begin immediate")
  (execute database "create table chunk (id integer primary key, content blob not null)")
  (execute database (format nil "pragma application_id = ~D" +application-id+))
  (execute database (format nil "pragma user_version = ~D" +schema-version+))
  (execute database "commit"))

(defun prepare (database writing)
  "See that DATABASE is one of ours; make it so if it is empty and we are WRITING."
  ;; Nothing in the file is trusted, and a file that somebody truncates must not become a SIGBUS.
  (dolist (pragma '("trusted_schema = off" "cell_size_check = on" "mmap_size = 0"))
    (execute database (format nil "pragma ~A" pragma)))
  (let ((application (single database "pragma application_id"))
        (version (single database "pragma user_version")))
    (cond ((and (zerop application) (zerop version)
                (zerop (single database "select count(*) from sqlite_master")))
           (unless writing
             (error 'storage-unavailable :reason "nothing has been recorded yet"))
           (execute database (format nil "pragma page_size = ~D" +page+))
           (execute database "pragma journal_mode = wal")
           (create database))
          ((/= application +application-id+)
           (error 'storage-damaged :reason "it is a database, but not HydraMesh's"))
          ((> version +schema-version+)
           (error 'storage-newer :reason (format nil "a later version of HydraMesh wrote it (its schema is ~
                                                      ~D, this program knows ~D)"
                                                 version +schema-version+)))
          ((/= version +schema-version+)
           (error 'storage-damaged :reason (format nil "its schema has the unknown version ~D" version)))))
  (when writing
    (unless (equal (single database "pragma journal_mode = wal") "wal")
      (error 'storage-unavailable :reason "its folder does not allow a write-ahead log"))
    (dolist (pragma (list "synchronous = full"
                          (format nil "journal_size_limit = ~D" (floor +sqlite-log+ 2))
                          (format nil "max_page_count = ~D" (floor +sqlite-file+ +page+))))
      (execute database (format nil "pragma ~A" pragma)))
    ;; The first write tells whether there can be others.
    (execute database "begin immediate")
    (execute database "commit"))
  (unless writing
    (execute database "pragma query_only = on")))

(defun open-sqlite (path &key (writing t))
  "Open the store at PATH, a native name. Unless WRITING, the file must be there. Signal STORAGE-FAILURE."
  (translating
    (let ((database (open-database path +patience+)) (done nil))
      (unwind-protect (progn (prepare database writing)
                             (setf done t)
                             (make-sqlite database path))
        (unless done
          (close-database database))))))

(defun id (kind number)
  (logior number (ash kind 48)))

(defmethod store-read ((store sqlite) kind number)
  (let ((row (translating (first (execute (sqlite-database store) "select content from chunk where id = ?"
                                          (id kind number))))))
    (and row (unpacked (first row)))))

(defmethod store-list ((store sqlite) kind)
  ;; In one row, since each is a step of its own, on a thread of its own.
  (let ((ids (translating
               (first (first (execute (sqlite-database store)
                                      "select group_concat(id) from
                                       (select id from chunk where id >= ? and id < ? order by id)"
                                      (id kind 0) (id (1+ kind) 0)))))))
    (loop with start = 0
          while (and ids (< start (length ids)))
          collect (multiple-value-bind (id end) (parse-integer ids :start start :junk-allowed t)
                    (setf start (1+ end))
                    (ldb (byte 48 0) id)))))

(defun check-log (store)
  "Signal STORAGE-UNAVAILABLE if the write-ahead log is too large, and cannot be made smaller."
  ;; It grows while somebody reads for long.
  (let ((path (concatenate 'string (sqlite-path store) "-wal")))
    (flet ((too-large-p ()
             (handler-case (> (sb-posix:stat-size (sb-posix:stat path)) +sqlite-log+)
               (sb-posix:syscall-error () nil))))
      (when (too-large-p)
        (execute (sqlite-database store) "pragma wal_checkpoint(truncate)")
        (when (too-large-p)
          (error 'storage-unavailable
                 :reason "somebody has been reading the file for so long that its log is too large"))))))

(defmethod store-write ((store sqlite) changes)
  (let ((database (sqlite-database store)) (done nil))
    (translating
      (check-log store)
      (execute database "begin immediate")
      (unwind-protect
           (progn
             (loop for (kind number content) in changes
                   do (if content
                          (execute database "insert or replace into chunk (id, content) values (?, ?)"
                                   (id kind number) (packed content))
                          (execute database "delete from chunk where id = ?" (id kind number))))
             (execute database "commit")
             (setf done t))
        (unless done
          ;; Some failures have rolled back already, which makes this one fail.
          (ignore-errors (execute database "rollback"))
          ;; If the disk is full, what the log takes is worth having.
          (ignore-errors (execute database "pragma wal_checkpoint(truncate)")))))))

(defmethod store-check ((store sqlite))
  (let ((found (translating (single (sqlite-database store) "pragma quick_check(1)"))))
    (unless (equal found "ok")
      (error 'storage-damaged :reason found))))

(defmethod store-close ((store sqlite))
  (close-database (sqlite-database store)))

(defmethod store-pace ((store sqlite))
  1)

(defmethod store-traffic-chunks ((store sqlite))
  +traffic-chunks+)
