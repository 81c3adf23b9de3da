(defpackage #:hydramesh/storage/timeline
  (:use #:cl)
  (:import-from #:hydramesh/storage/codec
                #:number-kept #:kept #:make-writer #:writer-octets #:writer-length #:write-number
                #:make-reader #:reader-done-p #:read-number #:read-index)
  (:import-from #:hydramesh/storage/limits #:+minutes-days+ #:+hours-days+)
  (:import-from #:hydramesh/storage/store
                #:store-read #:store-list #:+minutes+ #:+hours+)
  (:export #:+metrics+ #:metric-index #:row #:make-row #:merge-row
           #:timeline #:make-minutes #:make-hours #:timeline-kind #:timeline-note #:timeline-changes
           #:timeline-outdated #:timeline-written #:timeline-rows-since)
  (:documentation "Metrics over time: a row of numbers for every minute, or hour, in which something was
noted. Rows of an hour of minutes, or of a day of hours, are kept in one chunk, under the number of that
hour or day since 1970."))
(in-package #:hydramesh/storage/timeline)

(eval-when (:compile-toplevel :load-toplevel :execute) ; the type of a row needs it
  (defparameter +metrics+
    '((:tasks :sum) (:done :sum) (:failed :sum) (:cancelled :sum) (:moved :sum)
      (:tokens :sum) (:images :sum) (:embeddings :sum) (:bytes-in :sum) (:bytes-out :sum)
      (:queue-us :sum) (:run-us :sum)
      (:queued :max) (:in-flight :max) (:workers :max))
    "What a row has, in this order, and how two rows become one. Another one can be added at the end."))

(deftype row () `(simple-array number-kept (,(length +metrics+))))

(defun metric-index (name)
  "Return where the metric NAME is in a row."
  (or (position name +metrics+ :key #'first) (error "There is no metric ~S." name)))

(defun make-row ()
  "Return a row of zeros."
  (make-array (length +metrics+) :element-type 'number-kept :initial-element 0))

(defun merge-row (row into)
  "Add ROW to the row INTO."
  (declare (type row row into))
  (loop for index from 0
        for (nil how) in +metrics+
        for number = (aref row index)
        do (setf (aref into index)
                 (if (eq how :sum)
                     (kept (+ (aref into index) number))
                     (max (aref into index) number)))))

(defstruct (timeline (:constructor make-timeline (kind unit slots keep)))
  "Rows of UNIT seconds each, SLOTS of them in a chunk, of which the newest KEEP are kept.

BLOCK is the number of the chunk that is being filled, and ROWS has its rows, NIL where nothing was noted."
  (kind 0 :type fixnum)
  (unit 0 :type fixnum)
  (slots 0 :type fixnum)
  (keep 0 :type fixnum)
  (block nil :type (or null unsigned-byte))
  (rows #() :type simple-vector)
  (changed nil :type boolean)
  (finished '() :type list))

(defun make-minutes ()
  "Return the metrics by minute, of the last 30 days."
  (make-timeline +minutes+ 60 60 (* 24 +minutes-days+)))

(defun make-hours ()
  "Return the metrics by hour, of the last two years."
  (make-timeline +hours+ 3600 24 +hours-days+))

(defun block-octets (rows)
  (let ((writer (make-writer)))
    (write-number (length +metrics+) writer)
    (loop for row across rows
          for index from 0
          when row
            do (write-number index writer)
               (loop for number across (the row row)
                     do (write-number number writer)))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(defun block-rows (octets slots)
  "Return a vector of SLOTS rows, NIL where there is none. Signal STORAGE-DAMAGED."
  (let ((rows (make-array slots :initial-element nil))
        (reader (make-reader octets)))
    (unless (reader-done-p reader)
      (let ((width (read-index reader 1000)))
        (loop until (reader-done-p reader)
              do (let ((row (make-row)) (slot (read-index reader slots)))
                   (dotimes (index width)
                     (let ((number (read-number reader)))
                       ;; A later version may have more of them.
                       (when (< index (length row))
                         (setf (aref row index) number))))
                   (setf (svref rows slot) row)))))
    rows))

(defun timeline-open (timeline store seconds)
  "Go on with what STORE has of the time SECONDS since 1970."
  (let* ((number (floor seconds (* (timeline-unit timeline) (timeline-slots timeline))))
         (content (store-read store (timeline-kind timeline) number)))
    (setf (timeline-block timeline) number
          (timeline-changed timeline) nil
          (timeline-rows timeline)
          (if content
              (block-rows content (timeline-slots timeline))
              (make-array (timeline-slots timeline) :initial-element nil)))))

(defun finish-block (timeline)
  (when (timeline-changed timeline)
    ;; While nothing can be written, only the newest wait.
    (when (< (length (timeline-finished timeline)) 48)
      (push (list (timeline-kind timeline) (timeline-block timeline)
                  (block-octets (timeline-rows timeline)))
            (timeline-finished timeline)))))

(defun timeline-note (timeline store row seconds)
  "Add ROW to the one of the time SECONDS since 1970. Signal STORAGE-FAILURE."
  (multiple-value-bind (number slot)
      (floor (floor seconds (timeline-unit timeline)) (timeline-slots timeline))
    (unless (eql number (timeline-block timeline))
      (finish-block timeline)
      (timeline-open timeline store seconds))
    (let ((rows (timeline-rows timeline)))
      (merge-row row (or (svref rows slot) (setf (svref rows slot) (make-row))))
      (setf (timeline-changed timeline) t))))

(defun timeline-changes (timeline)
  "Return what is to be written, as STORE-WRITE takes it."
  (append (timeline-finished timeline)
          (when (timeline-changed timeline)
            (list (list (timeline-kind timeline) (timeline-block timeline)
                        (block-octets (timeline-rows timeline)))))))

(defun timeline-written (timeline)
  "Note that what TIMELINE-CHANGES returned has been written."
  (setf (timeline-finished timeline) '()
        (timeline-changed timeline) nil))

(defun timeline-outdated (timeline numbers seconds)
  "Return those of NUMBERS, of chunks, that are too old at the time SECONDS, or too many."
  (let ((first (- (floor seconds (* (timeline-unit timeline) (timeline-slots timeline)))
                  (timeline-keep timeline)))
        (surplus (- (length numbers) (timeline-keep timeline) 2)))
    (loop for number in numbers
          for index from 0
          when (or (< number first) (< index surplus))
            collect number)))

(defun timeline-rows-in (timeline store number)
  (let ((content (store-read store (timeline-kind timeline) number)))
    (if content (block-rows content (timeline-slots timeline)) #())))

(defun timeline-rows-since (timeline store since function)
  "Call FUNCTION with the start in seconds since 1970 and the row of every unit from SINCE that STORE has."
  (let ((unit (timeline-unit timeline)) (slots (timeline-slots timeline)))
    (dolist (number (store-list store (timeline-kind timeline)))
      (when (> (* (1+ number) slots unit) since)
        (loop for row across (timeline-rows-in timeline store number)
              for start from (* number slots unit) by unit
              when (and row (> (+ start unit) since))
                do (funcall function start row))))))
