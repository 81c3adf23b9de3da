(defpackage #:hydramesh/storage/opening
  (:use #:cl)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/storage/store #:storage-unavailable)
  (:import-from #:hydramesh/storage/sqlite #:open-sqlite)
  (:import-from #:hydramesh/storage/streamdb #:open-streamdb)
  (:export #:storage-path #:open-storage #:set-aside)
  (:documentation "Which file has what was recorded, and what happens to a damaged one."))
(in-package #:hydramesh/storage/opening)

(defun storage-path (state-dir storage)
  "Return the native name of the file in STATE-DIR for STORAGE, \"sqlite\" or \"streamdb\"."
  (format nil "~A/hydramesh.~A" (string-right-trim "/" state-dir) storage))

(defun mode-of (path)
  (handler-case (sb-posix:stat-mode (sb-posix:stat path))
    (sb-posix:syscall-error () nil)))

(defun open-storage (path storage &key (writing t))
  "Open the store of the kind STORAGE at PATH. Signal STORAGE-FAILURE."
  (let ((mode (mode-of path)))
    (cond ((and (not mode) (not writing))
           (error 'storage-unavailable :reason "nothing has been recorded yet"))
          ((and mode (/= (logand mode sb-posix:s-ifmt) sb-posix:s-ifreg))
           ;; Opening a pipe or a device would wait, or worse.
           (error 'storage-unavailable :reason "it is not a regular file")))
    (if (string= storage "streamdb")
        (open-streamdb path :writing writing)
        (open-sqlite path :writing writing))))

(defun move (from to)
  (when (mode-of from)
    (sb-posix:rename from to)))

(defun set-aside (path)
  "Rename the file at PATH, and its log, and return the new name. Of two that were set aside the newer one
stays. Signal STORAGE-UNAVAILABLE."
  (let ((aside (concatenate 'string path ".damaged")))
    (flet ((with (suffix) (concatenate 'string path suffix)))
      (handler-case
          (progn
            (when (mode-of (with ".damaged-wal"))
              (sb-posix:unlink (with ".damaged-wal")))
            (move path aside)
            (move (with "-wal") (with ".damaged-wal"))
            (when (mode-of (with "-shm"))
              (sb-posix:unlink (with "-shm"))))
        (sb-posix:syscall-error (condition)
          (error 'storage-unavailable
                 :reason (format nil "it is damaged, and cannot be renamed: ~A" (reason-of condition))))))
    aside))
