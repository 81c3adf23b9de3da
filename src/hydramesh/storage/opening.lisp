(defpackage #:hydramesh/storage/opening
  (:use #:cl)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/storage/store #:storage-failure #:storage-unavailable)
  (:import-from #:hydramesh/storage/sqlite #:open-sqlite)
  (:import-from #:hydramesh/plugin/plugin
                #:call-hook #:disable-plugin #:plugin-name #:plugin-of-store #:plugin-reason #:plugin-stores
                #:start-plugin)
  (:export #:storage-path #:open-storage #:storage-broken #:set-aside)
  (:documentation "Which file has what was recorded, and what happens to a damaged one."))
(in-package #:hydramesh/storage/opening)

(defun storage-path (state-dir storage)
  "Return the native name of the file in STATE-DIR for STORAGE, \"sqlite\" or a plugin's store."
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
    (if (string= storage "sqlite")
        (open-sqlite path :writing writing)
        (open-plugged storage path writing))))

(defun unavailable (control &rest arguments)
  (error 'storage-unavailable :reason (apply #'format nil control arguments)))

(defun open-plugged (storage path writing)
  "Open the store of a plugin, which is started for that. Signal STORAGE-FAILURE."
  (let ((plugin (plugin-of-store storage)))
    (cond ((null plugin) (unavailable "there is no plugin that has a store called ~A" storage))
          ((not (start-plugin plugin)) (unavailable-plugin plugin))
          (t (or (call-store plugin (cdr (assoc storage (plugin-stores plugin) :test #'string=)) path writing)
                 (unavailable-plugin plugin))))))

(defun unavailable-plugin (plugin)
  (unavailable "the plugin ~A is disabled: ~A" (plugin-name plugin)
               (or (plugin-reason plugin) "it has opened no store")))

(defun call-store (plugin function path writing)
  "Return the store that FUNCTION of PLUGIN opens, or NIL if it could not. A STORAGE-FAILURE is no fault
of it."
  (let* ((failure nil)
         (store (call-hook plugin (lambda (started)
                                    (handler-case (funcall function started path writing)
                                      (storage-failure (condition)
                                        (setf failure condition)
                                        nil))))))
    (if failure (error failure) store)))

(defun storage-broken (storage condition)
  "Disable the plugin that has STORAGE, if it is one's: a fault in it has signalled CONDITION."
  (let ((plugin (plugin-of-store storage)))
    (when plugin
      (disable-plugin plugin condition))))

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
