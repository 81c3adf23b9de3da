(defpackage #:hydramesh/replay/remarks
  (:use #:cl)
  (:import-from #:hydramesh/replay/record #:record-changes #:record-replayed #:record-since)
  (:import-from #:hydramesh/replay/service #:services-expected #:services-kept)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:counted)
  (:import-from #:hydramesh/storage/roster #:change-at #:change-heartbeat #:change-kind #:change-worker)
  (:import-from #:hydramesh/storage/traffic #:passage-beside)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:remarks)
  (:documentation "What a record does not tell, as far as it tells that much."))
(in-package #:hydramesh/replay/remarks)

(defun remarks (record services unknown-loads)
  "Return a list of sentences about what is not known of RECORD, whose SERVICES were measured.
UNKNOWN-LOADS is how often a model was loaded of which it does not tell how long that takes."
  (remove nil (list (shared-remark record)
                    (settings-remark record)
                    (prompts-remark services)
                    (loads-remark unknown-loads)
                    (races-remark record))))

(defun shared-remark (record)
  (let ((shared (remove-duplicates
                 (loop for change in (record-changes record)
                       when (and (eq (change-kind change) :is)
                                 (rest (pb:heartbeat-heads (change-heartbeat change))))
                         collect (change-worker change))
                 :test #'string=)))
    (when shared
      (format nil "~A served other heads, too; what tasks of those were there is not known."
              (counted (length shared) "worker")))))

(defun settings-remark (record)
  (when (find-if (lambda (change)
                   (and (eq (change-kind change) :terms) (> (change-at change) (record-since record))))
                 (rest (member :terms (record-changes record) :key #'change-kind)))
    "The head's settings may have changed meanwhile; the first ones hold in the simulation."))

(defun prompts-remark (services)
  (when (and (plusp (hash-table-count (services-expected services)))
             (zerop (hash-table-count (services-kept services))))
    "The workers did not tell what they still had of prompts, so they have nothing of them in the
simulation."))

(defun loads-remark (count)
  (when (plusp count)
    (format nil "Models were loaded ~A of which the record does not tell how long that takes, and took no ~
                 time."
            (counted count "time"))))

(defun races-remark (record)
  (let ((count (count "" (record-replayed record) :key #'passage-beside :test-not #'string=)))
    (when (plusp count)
      (format nil "~A ran on two workers; of the one that lost it is known how long it had the task, not how ~
                   long it would have taken."
              (counted count "task")))))
