(defpackage #:hydramesh/domain/keeping
  (:use #:cl)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/foreign/file-lock #:lock-file #:unlock-file)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/service/logs #:log-warning #:log-error #:log-info #:log-fault)
  (:import-from #:hydramesh/storage/opening #:open-storage)
  (:import-from #:hydramesh/storage/store
                #:store-read #:store-list #:store-write #:store-close #:store-pace #:storage-failure
                #:storage-unavailable
                #:storage-in-use)
  (:import-from #:hydramesh/domain/limits #:+kept-bytes+ #:+kept-pending+)
  (:import-from #:hydramesh/domain/node #:node-store)
  (:export #:keep #:kept #:kept-numbers #:keeping #:make-keeping #:keeping-path #:open-keeping #:close-keeping #:close-kept
           #:keeping-failure)
  (:documentation "What programs keep over restarts: chunks, each some bytes under a kind and a number, in a
store as the head's (hydramesh/storage/store), in a file of their own. Another thread writes, so that no
handler waits for a disk."))
(in-package #:hydramesh/domain/keeping)

(defstruct (keeping (:constructor make-keeping (&optional store)))
  "PENDING has what is not written yet, contents or :REMOVED by (kind . number); what is being written just
now is in WRITING. Without STORE it is all there is. LOCK is for both, and STORE-LOCK for the store. THREAD
writes until DONE."
  (store nil)
  (file-lock nil)
  (lock (sb-thread:make-mutex :name "kept") :read-only t)
  (store-lock (sb-thread:make-mutex :name "store of programs") :read-only t)
  (news (sb-thread:make-waitqueue))
  (pending (make-hash-table :test 'equal) :type hash-table)
  (writing (make-hash-table :test 'equal) :type hash-table)
  (trouble nil)
  (thread nil)
  (done nil))

;;; For programs

(defun keeping-of (node)
  "Return what NODE keeps chunks in, which is opened when it is first needed: programs that keep nothing may
share a folder. Of a node that was made without, that is its memory. Signal KEEPING-FAILURE."
  (let ((store (node-store node)))
    (cond ((null store) (setf (node-store node) (make-keeping)))
          ((functionp store) (setf (node-store node) (funcall store)))
          (t store))))

(defun close-kept (node)
  "Write what NODE has to keep, and let go of the file, if it ever kept anything."
  (when (keeping-p (node-store node))
    (close-keeping (node-store node))))

(defun keep (node kind number content)
  "Keep CONTENT, octets, as the chunk NUMBER, below 2^48, of KIND; NIL removes that. It is written within
about a second. Signal an error if it is too large. What cannot be written is kept in memory, up to a bound,
and tried again."
  (check-type kind (integer #x10 #x3f))
  (check-type number (unsigned-byte 48))
  (when (> (length content) +kept-bytes+)
    (error "a chunk may have ~D bytes, and this has ~D: keep it in several" +kept-bytes+ (length content)))
  (let ((keeping (keeping-of node)))
    (sb-thread:with-mutex ((keeping-lock keeping))
      (let ((pending (keeping-pending keeping)) (key (cons kind number)))
        (when (and (keeping-store keeping)
                   (>= (hash-table-count pending) +kept-pending+)
                   (not (nth-value 1 (gethash key pending))))
          (error "~D chunks wait to be written already" +kept-pending+))
        (setf (gethash key pending) (if content (coerce content 'octets) :removed))
        (sb-thread:condition-notify (keeping-news keeping)))))
  nil)

(defun found (keeping key)
  "Return what is to be written under KEY, content or :REMOVED; NIL if nothing is."
  (sb-thread:with-mutex ((keeping-lock keeping))
    (or (gethash key (keeping-pending keeping))
        (gethash key (keeping-writing keeping)))))

(defun kept (node kind number)
  "Return the content of the chunk NUMBER of KIND, or NIL. It waits for the disk, so it is for the start of a
service. Signal STORAGE-FAILURE."
  (let* ((keeping (keeping-of node)) (found (found keeping (cons kind number))))
    (cond ((eq found :removed) nil)
          (found)
          ((keeping-store keeping)
           (sb-thread:with-mutex ((keeping-store-lock keeping))
             (store-read (keeping-store keeping) kind number))))))

(defun kept-numbers (node kind)
  "Return the numbers of KIND's chunks, the least first. It waits for the disk. Signal STORAGE-FAILURE."
  (let* ((keeping (keeping-of node))
         (stored (and (keeping-store keeping)
                      (sb-thread:with-mutex ((keeping-store-lock keeping))
                        (store-list (keeping-store keeping) kind)))))
    (sb-thread:with-mutex ((keeping-lock keeping))
      (dolist (changes (list (keeping-writing keeping) (keeping-pending keeping)))
        (loop for (of . number) being the hash-keys of changes using (hash-value content)
              do (when (= of kind)
                   (if (eq content :removed)
                       (setf stored (remove number stored))
                       (pushnew number stored))))))
    (sort (copy-list stored) #'<)))

;;; The file, and the thread that writes it

(define-condition keeping-failure (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream) (write-string (slot-value condition 'reason) stream)))
  (:documentation "What programs keep cannot be opened; REASON says why, and what to do."))

(defun refuse (path reason)
  (error 'keeping-failure
         :reason (format nil "what programs keep cannot be opened in ~A: ~A; set state_dir to another ~
                              folder, or storage = \"none\" to keep nothing" path reason)))

(defun keeping-path (state-dir storage)
  "Return the native name of the file in STATE-DIR for STORAGE, or NIL if nothing is kept in one."
  (unless (or (string= storage "none") (string= state-dir ""))
    (format nil "~A/programs.~A" (string-right-trim "/" state-dir) storage)))

(defun open-keeping (state-dir storage)
  "Return a keeping in the folder STATE-DIR, of the kind STORAGE: \"sqlite\", \"streamdb\", or \"none\" for
memory only, as without a folder. Signal KEEPING-FAILURE."
  (let ((path (keeping-path state-dir storage)) (lock nil) (done nil))
    (if (null path)
        (make-keeping)
        (unwind-protect
             (handler-case
                 (progn
                   (ensure-directories-exist (sb-ext:parse-native-namestring
                                              (string-right-trim "/" state-dir) nil
                                              *default-pathname-defaults* :as-directory t)
                                             :mode #o700)
                   (setf lock (or (lock-file (concatenate 'string path ".lock"))
                                  (refuse path "other programs write to it")))
                   (let ((keeping (make-keeping (open-storage path storage))))
                     (setf (keeping-file-lock keeping) lock
                           (keeping-thread keeping)
                           (sb-thread:make-thread #'write-on :name "kept" :arguments (list keeping))
                           done t)
                     keeping))
               (storage-failure (condition) (refuse path (princ-to-string condition)))
               (sb-posix:syscall-error (condition) (refuse path (reason-of condition)))
               (file-error () (refuse path "the folder cannot be made")))
          (when (and lock (not done))
            (unlock-file lock))))))

(defun write-on (keeping)
  "Write what has come, again and again, until it is done."
  (loop
    (sb-thread:with-mutex ((keeping-lock keeping))
      (loop until (or (keeping-done keeping) (plusp (hash-table-count (keeping-pending keeping))))
            do (sb-thread:condition-wait (keeping-news keeping) (keeping-lock keeping))))
    ;; What comes within this time is one transaction.
    (loop repeat (* 10 (store-pace (keeping-store keeping)))
          until (keeping-done keeping)
          do (sleep 1/10))
    (let ((done (keeping-done keeping)))
      (handler-case (write-pending keeping)
        (serious-condition (condition)
          (in-trouble keeping (princ-to-string condition))
          (unless done
            (sleep 1))))
      (when done
        (return)))))

(defun in-trouble (keeping reason)
  (unless (equal reason (keeping-trouble keeping))
    (setf (keeping-trouble keeping) reason)
    (log-warning "what programs keep cannot be written; it is tried again" :reason reason)))

(defun write-pending (keeping)
  "Write what is pending; what could not be written is pending again. Signal STORAGE-FAILURE."
  (sb-thread:with-mutex ((keeping-lock keeping))
    (rotatef (keeping-pending keeping) (keeping-writing keeping)))
  (let ((changes (loop for (kind . number) being the hash-keys of (keeping-writing keeping)
                         using (hash-value content)
                       collect (list kind number (if (eq content :removed) nil content))))
        (written nil))
    (unwind-protect
         (when changes
           (sb-thread:with-mutex ((keeping-store-lock keeping))
             (store-write (keeping-store keeping) changes))
           (setf written t)
           (when (shiftf (keeping-trouble keeping) nil)
             (log-info "what programs keep is written again")))
      (sb-thread:with-mutex ((keeping-lock keeping))
        (unless written
          (loop for key being the hash-keys of (keeping-writing keeping) using (hash-value content)
                do (unless (gethash key (keeping-pending keeping))
                     (setf (gethash key (keeping-pending keeping)) content))))
        (clrhash (keeping-writing keeping))))))

(defun close-keeping (keeping)
  "Write what is pending, and let go of the file."
  (when (keeping-thread keeping)
    (sb-thread:with-mutex ((keeping-lock keeping))
      (setf (keeping-done keeping) t)
      (sb-thread:condition-notify (keeping-news keeping)))
    (sb-thread:join-thread (keeping-thread keeping) :default nil :timeout 10)
    (when (plusp (hash-table-count (keeping-pending keeping)))
      (log-error "some of what programs keep could not be written"
                 :chunks (hash-table-count (keeping-pending keeping))))
    (store-close (keeping-store keeping))
    (unlock-file (keeping-file-lock keeping))))
