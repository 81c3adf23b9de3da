(defpackage #:hydramesh/storage/keeper
  (:use #:cl)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/events #:wall-clock)
  (:import-from #:hydramesh/foreign/file-lock #:lock-file #:unlock-file)
  (:import-from #:hydramesh/foreign/system #:reason-of)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning #:log-error #:log-fault)
  (:import-from #:hydramesh/storage/archive
                #:open-archive #:archive-store #:archive-rates #:archive-counters #:archive-add-rate
                #:archive-set-counters #:archive-write #:archive-close)
  (:import-from #:hydramesh/storage/opening #:open-storage #:set-aside #:storage-broken)
  (:import-from #:hydramesh/storage/rates #:rates-list)
  (:import-from #:hydramesh/storage/store
                #:store-check #:store-close #:storage-failure #:storage-failure-reason
                #:storage-unavailable #:storage-damaged #:storage-newer #:storage-in-use)
  (:export #:keeper #:make-keeper #:keeper-path #:keeper-archive #:keeper-trouble #:keeper-missing
           #:keeper-open #:keeper-call #:keeper-write #:keeper-check #:keeper-retry #:keeper-close
           #:uptime)
  (:documentation "What is done when something is wrong with the file that has the figures of the past.

That is logged once, and what has failed is tried again from time to time. A damaged file is put aside
and another one begun; one of a later version, or of another head, is left as it is."))
(in-package #:hydramesh/storage/keeper)

(defconstant +retry+ 15 "Seconds until something that has failed is tried again.")

(defstruct (keeper (:constructor make-keeper (path storage &key (interval +retry+))))
  "ARCHIVE is NIL while there is no file to write to. TROUBLE says why nothing can be written, or is NIL;
it is tried again every INTERVAL seconds, at the UPTIME RETRY-AT. MISSING counts the tasks that were not
recorded meanwhile."
  (path "" :type string)
  (storage "" :type string)
  (interval 0 :type unsigned-byte)
  (file-lock nil)
  (archive nil)
  (trouble nil)
  (retry-at 0 :type unsigned-byte)
  (missing 0 :type unsigned-byte))

(defun uptime ()
  "Return seconds of a clock that is never set."
  (floor (get-internal-real-time) internal-time-units-per-second))

(defun unavailable (condition)
  (error 'storage-unavailable :reason (reason-of condition)))

(defun make-folder (path)
  (let ((folder (subseq path 0 (position #\/ path :from-end t))))
    ;; What goes on in a cluster is nobody else's business.
    (handler-case (ensure-directories-exist
                   (sb-ext:parse-native-namestring folder nil *default-pathname-defaults* :as-directory t)
                   :mode #o700)
      (error ()
        (error 'storage-unavailable :reason (format nil "the folder ~A cannot be made" folder))))))

(defun acquire (keeper)
  "Make sure that no other head writes to the same file."
  (unless (keeper-file-lock keeper)
    (handler-case
        (setf (keeper-file-lock keeper)
              (or (lock-file (concatenate 'string (keeper-path keeper) ".lock"))
                  (error 'storage-in-use :reason "another head writes to it; give each a state_dir of its own")))
      (sb-posix:syscall-error (condition) (unavailable condition)))))

(defun open-file (keeper)
  (make-folder (keeper-path keeper))
  (acquire keeper)
  (let ((store (open-storage (keeper-path keeper) (keeper-storage keeper))) (done nil))
    (unwind-protect (setf (keeper-archive keeper) (open-archive store)
                          done t)
      (unless done
        (store-close store)))))

(defun let-go (keeper)
  (when (keeper-archive keeper)
    (archive-close (shiftf (keeper-archive keeper) nil))))

(defun replace-damaged (keeper reason)
  "Put the damaged file aside and begin another one, with what is known."
  (let* ((before (keeper-archive keeper))
         (counters (if before (archive-counters before) '()))
         (rates (if before (rates-list (archive-rates before)) '())))
    (let-go keeper)
    (log-error "the file with the figures of the past is damaged: it was renamed, and another one is begun"
               :file (keeper-path keeper) :renamed (set-aside (keeper-path keeper)) :reason reason)
    (open-file keeper)
    (archive-set-counters (keeper-archive keeper) counters)
    (loop for (worker model rate seconds) in rates
          do (archive-add-rate (keeper-archive keeper) worker model rate (* seconds 1000000)))))

(defun in-trouble (keeper reason)
  (unless (equal (keeper-trouble keeper) reason)
    (log-warning "no figures are recorded" :file (keeper-path keeper) :reason reason))
  (setf (keeper-trouble keeper) reason
        (keeper-retry-at keeper) (+ (uptime) (keeper-interval keeper)))
  nil)

(defun keeper-call (keeper function)
  "Call FUNCTION, and deal with whatever is wrong with the file. Return whether nothing is."
  (handler-case
      (handler-bind ((serious-condition
                       (lambda (condition)
                         (unless (typep condition 'storage-failure)
                           (log-fault "a fault in the storage; please report this" condition)))))
        (handler-case (funcall function)
          (storage-damaged (condition)
            (replace-damaged keeper (storage-failure-reason condition))))
        t)
    (storage-newer (condition)
      (let-go keeper)
      (in-trouble keeper (storage-failure-reason condition)))
    (storage-failure (condition)
      (in-trouble keeper (storage-failure-reason condition)))
    (serious-condition (condition)
      (ignore-errors (let-go keeper))
      (storage-broken (keeper-storage keeper) condition)
      (in-trouble keeper (format nil "a fault, ~(~A~)" (type-of condition))))))

(defun keeper-open (keeper)
  "Open the file."
  (keeper-call keeper (lambda () (open-file keeper))))

(defun keeper-write (keeper &key all)
  "Write what has come; if ALL, also what has time. Return whether that went well."
  (keeper-call keeper (lambda () (archive-write (keeper-archive keeper) (wall-clock) :all all))))

(defun keeper-check (keeper)
  "Look through the whole file."
  (when (keeper-archive keeper)
    (keeper-call keeper (lambda () (store-check (archive-store (keeper-archive keeper)))))))

(defun keeper-retry (keeper &key at-once)
  "See whether the trouble is over, if it is time for that, or AT-ONCE."
  (when (and (keeper-trouble keeper)
             (or at-once (>= (uptime) (keeper-retry-at keeper)))
             (if (keeper-archive keeper) (keeper-write keeper) (keeper-open keeper)))
    (log-info "figures are recorded again" :file (keeper-path keeper) :tasks-missing (keeper-missing keeper))
    (setf (keeper-trouble keeper) nil
          (keeper-missing keeper) 0)))

(defun keeper-close (keeper)
  "Let go of the file."
  (let-go keeper)
  (when (keeper-file-lock keeper)
    (unlock-file (shiftf (keeper-file-lock keeper) nil))))
