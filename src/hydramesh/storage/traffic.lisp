(defpackage #:hydramesh/storage/traffic
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/storage/codec
                #:number-kept #:kept #:cut #:writer #:make-writer #:writer-octets #:writer-length
                #:write-number #:write-text #:make-reader #:reader-done-p #:read-number #:read-index
                #:read-text)
  (:import-from #:hydramesh/storage/limits #:+chunk-tasks+ #:+chunk-bytes+)
  (:export #:passage #:make-passage #:passage-arrival #:passage-kind #:passage-model #:passage-worker
           #:passage-outcome #:passage-needs #:passage-bytes-in #:passage-bytes-out #:passage-wanted
           #:passage-made #:passage-queued #:passage-running #:passage-moved
           #:chunk #:make-chunk #:chunk-add #:chunk-full-p #:chunk-octets #:chunk-passages)
  (:documentation "The traffic that went through a head: when tasks came, how large they were, how long they
took. What they asked and were answered, and who asked, is not kept.

The passages of some hundred tasks make a chunk. A name is written out where it is met first in a chunk, and
is a number after that, so that a passage takes some thirty bytes."))
(in-package #:hydramesh/storage/traffic)

(defstruct passage
  "One task's way through the head.

ARRIVAL is in microseconds since 1970, QUEUED and RUNNING are in all. KIND is its field in Task.work, WORKER
the id of the one that had it last or \"\", OUTCOME \"DONE\", \"CANCELLED\" or an error's name, and NEEDS has
a bit for each capability. WANTED is how much it asked for, MADE how much it was given: tokens, images or
embeddings. MOVED says how often it went from one worker to another."
  (arrival 0 :type number-kept)
  (kind "" :type string)
  (model "" :type string)
  (worker "" :type string)
  (outcome "" :type string)
  (needs 0 :type number-kept)
  (bytes-in 0 :type number-kept)
  (bytes-out 0 :type number-kept)
  (wanted 0 :type number-kept)
  (made 0 :type number-kept)
  (queued 0 :type number-kept)
  (running 0 :type number-kept)
  (moved 0 :type number-kept))

(defstruct chunk
  "A chunk that is being filled. Times in it are told as distances to the one before."
  (writer (make-writer) :type writer)
  (names (make-hash-table :test #'equal) :type hash-table)
  (count 0 :type fixnum)
  (latest 0 :type number-kept))

(defun add-name (name chunk)
  (let* ((names (chunk-names chunk))
         (known (gethash name names))
         (writer (chunk-writer chunk)))
    (write-number (or known (hash-table-count names)) writer)
    (unless known
      (setf (gethash name names) (hash-table-count names))
      (write-text name writer))))

(defun zigzag (number)
  (if (minusp number) (1- (* -2 number)) (* 2 number)))

(defun unzigzag (number)
  (if (oddp number) (- (ash (1+ number) -1)) (ash number -1)))

(defun chunk-add (chunk passage)
  "Append PASSAGE."
  (let ((writer (chunk-writer chunk)))
    (write-number (kept (zigzag (- (passage-arrival passage) (chunk-latest chunk)))) writer)
    (setf (chunk-latest chunk) (passage-arrival passage))
    (add-name (cut (passage-kind passage)) chunk)
    (add-name (cut (passage-model passage)) chunk)
    (add-name (cut (passage-worker passage)) chunk)
    (add-name (cut (passage-outcome passage)) chunk)
    (write-number (passage-needs passage) writer)
    (write-number (passage-bytes-in passage) writer)
    (write-number (passage-bytes-out passage) writer)
    (write-number (passage-wanted passage) writer)
    (write-number (passage-made passage) writer)
    (write-number (passage-queued passage) writer)
    (write-number (passage-running passage) writer)
    (write-number (passage-moved passage) writer)
    (incf (chunk-count chunk))))

(defun chunk-full-p (chunk)
  "Return whether another chunk should be begun."
  (or (>= (chunk-count chunk) +chunk-tasks+)
      (>= (writer-length (chunk-writer chunk)) +chunk-bytes+)))

(defun chunk-octets (chunk)
  "Return the bytes of CHUNK."
  (let ((writer (chunk-writer chunk)))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(defun chunk-passages (octets)
  "Return the passages of a chunk, in the order in which they ended. Signal STORAGE-DAMAGED."
  (let ((reader (make-reader octets))
        (names (make-array 16 :adjustable t :fill-pointer 0))
        (latest 0))
    (flet ((number () (read-number reader))
           (name ()
             (let ((index (read-index reader (1+ (length names)))))
               (when (= index (length names))
                 (vector-push-extend (read-text reader) names))
               (aref names index))))
      (loop until (reader-done-p reader)
            do (setf latest (kept (+ latest (unzigzag (number)))))
            collect (make-passage :arrival latest :kind (name) :model (name) :worker (name)
                                  :outcome (name) :needs (number) :bytes-in (number)
                                  :bytes-out (number) :wanted (number) :made (number)
                                  :queued (number) :running (number) :moved (number))))))
