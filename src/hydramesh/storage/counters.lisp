(defpackage #:hydramesh/storage/counters
  (:use #:cl)
  (:import-from #:hydramesh/storage/codec
                #:kept #:make-writer #:writer-octets #:writer-length #:write-number #:write-text
                #:make-reader #:reader-done-p #:read-number #:read-text)
  (:import-from #:hydramesh/head/statistics
                #:statistics-outcomes #:statistics-moved #:statistics-repeated #:statistics-malformed
                #:statistics-refused-heartbeats #:statistics-foreign #:statistics-read-before
                #:statistics-patient #:statistics-rewarded #:statistics-prompt-tokens
                #:statistics-cached-tokens #:statistics-queued #:statistics-total
                #:durations-counts #:durations-sum)
  (:import-from #:hydramesh/storage/limits #:+counters-kept+)
  (:export #:counters-octets #:counters-read #:counters-of #:restore-counters)
  (:documentation "What a head has counted, as a list of (name . number), so that it goes on counting from
there when it is started again."))
(in-package #:hydramesh/storage/counters)

(defun counters-octets (counters)
  "Return COUNTERS as bytes."
  (let ((writer (make-writer)))
    ;; An error code that nobody knows makes a new name.
    (loop for (name . number) in counters
          repeat +counters-kept+
          do (write-text name writer)
             (write-number (kept number) writer))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(defun counters-read (octets)
  "Return the counters that COUNTERS-OCTETS made OCTETS of. Signal STORAGE-DAMAGED."
  (let ((reader (make-reader octets)))
    (loop until (reader-done-p reader)
          collect (cons (read-text reader) (read-number reader)))))

(defun durations-counters (name durations)
  (cons (cons (format nil "~A/sum" name) (durations-sum durations))
        (loop for count across (durations-counts durations)
              for index from 0
              collect (cons (format nil "~A/~D" name index) count))))

(defun counters-of (statistics)
  "Return what STATISTICS has counted."
  (append (list (cons "moved" (statistics-moved statistics))
                (cons "repeated" (statistics-repeated statistics))
                (cons "malformed" (statistics-malformed statistics))
                (cons "refused_heartbeats" (statistics-refused-heartbeats statistics))
                (cons "foreign" (statistics-foreign statistics))
                (cons "read_before" (statistics-read-before statistics))
                (cons "prompt_tokens" (statistics-prompt-tokens statistics))
                (cons "cached_tokens" (statistics-cached-tokens statistics))
                (cons "patient" (statistics-patient statistics))
                (cons "rewarded" (statistics-rewarded statistics)))
          (durations-counters "queued" (statistics-queued statistics))
          (durations-counters "total" (statistics-total statistics))
          (loop for (kind . outcome) being the hash-keys of (statistics-outcomes statistics)
                  using (hash-value count)
                collect (cons (format nil "outcome/~A/~A" kind outcome) count))))

(defun restore-durations (durations slot number)
  "Add NUMBER to what SLOT, \"sum\" or the number of a bucket, says of DURATIONS."
  (let ((index (parse-integer slot :junk-allowed t)))
    (cond ((string= slot "sum") (incf (durations-sum durations) number))
          ((and index (< -1 index (length (durations-counts durations))))
           (incf (svref (durations-counts durations) index) number)))))

(defun split (name)
  "Return what is before the first slash of NAME, and what is after it or NIL."
  (let ((slash (position #\/ name)))
    (values (subseq name 0 slash) (and slash (subseq name (1+ slash))))))

(defun restore-counter (name number statistics)
  (multiple-value-bind (what rest) (split name)
    (flet ((is (text) (string= what text)))
      (cond ((is "moved") (incf (statistics-moved statistics) number))
            ((is "repeated") (incf (statistics-repeated statistics) number))
            ((is "malformed") (incf (statistics-malformed statistics) number))
            ((is "refused_heartbeats") (incf (statistics-refused-heartbeats statistics) number))
            ((is "foreign") (incf (statistics-foreign statistics) number))
            ((is "read_before") (incf (statistics-read-before statistics) number))
            ((is "prompt_tokens") (incf (statistics-prompt-tokens statistics) number))
            ((is "cached_tokens") (incf (statistics-cached-tokens statistics) number))
            ((is "patient") (incf (statistics-patient statistics) number))
            ((is "rewarded") (incf (statistics-rewarded statistics) number))
            ((null rest))
            ((is "queued") (restore-durations (statistics-queued statistics) rest number))
            ((is "total") (restore-durations (statistics-total statistics) rest number))
            ((is "outcome")
             (multiple-value-bind (kind outcome) (split rest)
               (when outcome
                 (incf (gethash (cons kind outcome) (statistics-outcomes statistics) 0) number))))))))

(defun restore-counters (counters statistics)
  "Let STATISTICS go on from COUNTERS, what an earlier head has counted. Names it does not know are passed
over."
  (loop for (name . number) in counters
        do (restore-counter name number statistics)))
