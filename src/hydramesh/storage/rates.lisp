(defpackage #:hydramesh/storage/rates
  (:use #:cl)
  (:import-from #:hydramesh/storage/codec
                #:kept #:cut #:make-writer #:writer-octets #:writer-length #:write-number #:write-text
                #:make-reader #:reader-done-p #:read-number #:read-text)
  (:import-from #:hydramesh/storage/limits #:+rates-kept+)
  (:export #:rates #:make-rates #:rates-note #:rates-get #:rates-octets #:rates-read
           #:rates-list)
  (:documentation "How fast each worker has been with each model, when it was measured last."))
(in-package #:hydramesh/storage/rates)

(defconstant +most+ 1000000000 "The highest rate that is believed.")

(defstruct rates
  "Rates by worker and model. When there are too many, those that were noted longest ago are dropped."
  (table (make-hash-table :test #'equal) :type hash-table))

(defun drop-oldest (table)
  "Drop the older half of TABLE, so that this is not done again soon."
  (let ((ages (sort (loop for (nil . seconds) being the hash-values of table collect seconds) #'<)))
    (let ((median (nth (floor (length ages) 2) ages))
          (surplus (- (hash-table-count table) (floor +rates-kept+ 2))))
      (loop for key being the hash-keys of table using (hash-value (nil . seconds))
            while (plusp surplus)
            when (<= seconds median)
              do (remhash key table)
                 (decf surplus)))))

(defun rates-note (rates worker model rate seconds)
  "Keep that MODEL makes RATE a second on WORKER, as of SECONDS since 1970. Return whether that is kept."
  (let ((table (rates-table rates)))
    ;; The comparison is false for what is not a number.
    (when (< 0 rate +most+)
      (setf (gethash (list (cut worker) (cut model)) table) (cons (float rate 1d0) seconds))
      (when (> (hash-table-count table) +rates-kept+)
        (drop-oldest table))
      t)))

(defun rates-get (rates worker model)
  "Return the rate of MODEL on WORKER, and when it was measured in seconds since 1970, or NIL."
  (let ((found (gethash (list (cut worker) (cut model)) (rates-table rates))))
    (and found (values (car found) (cdr found)))))

(defun rates-list (rates)
  "Return a list of (worker model rate seconds)."
  (loop for (worker model) being the hash-keys of (rates-table rates) using (hash-value (rate . seconds))
        collect (list worker model rate seconds)))

(defun rates-octets (rates)
  "Return RATES as bytes."
  (let ((writer (make-writer)))
    (loop for (worker model) being the hash-keys of (rates-table rates) using (hash-value (rate . seconds))
          do (write-text worker writer)
             (write-text model writer)
             (write-number (kept (round (* rate 1000000))) writer)
             (write-number (kept seconds) writer))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(defun rates-read (octets)
  "Return the rates that RATES-OCTETS made OCTETS of. Signal STORAGE-DAMAGED."
  (let ((reader (make-reader octets)) (rates (make-rates)))
    (loop until (reader-done-p reader)
          do (let ((worker (read-text reader)) (model (read-text reader))
                   (rate (/ (read-number reader) 1d6)) (seconds (read-number reader)))
               (rates-note rates worker model rate seconds)))
    rates))
