(defpackage #:hydramesh/storage/traffic
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/storage/codec
                #:number-kept #:kept #:cut #:writer #:make-writer #:writer-octets #:writer-length
                #:write-number #:write-text #:make-reader #:reader-done-p #:read-number #:read-index
                #:read-text)
  (:import-from #:hydramesh/storage/limits #:+chunk-tasks+ #:+chunk-bytes+ #:+tags-kept+)
  (:import-from #:hydramesh/storage/store #:storage-newer)
  (:export #:passage #:make-passage #:passage-arrival #:passage-kind #:passage-model #:passage-worker
           #:passage-outcome #:passage-needs #:passage-bytes-in #:passage-bytes-out #:passage-wanted
           #:passage-made #:passage-queued #:passage-running #:passage-moved
           #:passage-client #:passage-host #:passage-tags #:passage-pinned-p #:passage-streamed-p
           #:passage-together-p #:passage-weight #:passage-deadline #:passage-reading #:passage-first
           #:passage-ran #:passage-total
           #:chunk #:make-chunk #:chunk-add #:chunk-full-p #:chunk-octets #:chunk-passages)
  (:documentation "The traffic that went through a head: when tasks came, how large they were, how long they
took. What they asked and were answered is not kept, and who asked only as hydramesh/storage/pseudonym says.

The passages of some hundred tasks make a chunk. A name is written out where it is met first in a chunk, and
is a number after that, so that a passage takes some thirty bytes.

A chunk begins with its version, as an odd number. One of the first version begins with its first passage at
once, whose first number is even; passages in it have nothing from CLIENT on."))
(in-package #:hydramesh/storage/traffic)

(defconstant +version+ 2 "Of what a chunk has of each passage. A higher one is not read.")

(defstruct passage
  "One task's way through the head.

ARRIVAL is in microseconds since 1970, QUEUED and RUNNING are in all. KIND is its field in Task.work, WORKER
the id of the one that had it last or \"\", OUTCOME \"DONE\", \"CANCELLED\" or an error's name, and NEEDS has
a bit for each capability. WANTED is how much it asked for, MADE how much it was given: tokens, images or
embeddings. MOVED says how often it went from one worker to another.

CLIENT and HOST are pseudonyms of who asked and from where, 0 for nobody. TAGS are those of the workers that it
asked for; PINNED-P says that WORKER was the only one for it, STREAMED-P that it wanted parts, and TOGETHER-P
that several workers ran it. WEIGHT is Task.weight, 0 if it became no job. DEADLINE and FIRST, when its first
part was passed on, count from its arrival and are 0 if there is none. READING is what could have been made
while it was read, and its last worker had it for RAN."
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
  (moved 0 :type number-kept)
  (client 0 :type number-kept)
  (host 0 :type number-kept)
  (tags '() :type list)
  (pinned-p nil)
  (streamed-p nil)
  (together-p nil)
  (weight 0 :type number-kept)
  (deadline 0 :type number-kept)
  (reading 0 :type number-kept)
  (first 0 :type number-kept)
  (ran 0 :type number-kept))

(defun passage-total (passage)
  "Return the microseconds from the arrival of PASSAGE to its end."
  (+ (passage-queued passage) (passage-running passage)))

(defun begun-writer ()
  (let ((writer (make-writer)))
    (write-number (1- (* 2 +version+)) writer)
    writer))

(defstruct chunk
  "A chunk that is being filled. Times in it are told as distances to the one before."
  (writer (begun-writer) :type writer)
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
    (write-number (passage-client passage) writer)
    (write-number (passage-host passage) writer)
    (add-tags (passage-tags passage) chunk)
    (write-number (logior (if (passage-pinned-p passage) 1 0)
                          (if (passage-streamed-p passage) 2 0)
                          (if (passage-together-p passage) 4 0))
                  writer)
    (write-number (passage-weight passage) writer)
    (write-number (passage-deadline passage) writer)
    (write-number (passage-reading passage) writer)
    (write-number (passage-first passage) writer)
    (write-number (passage-ran passage) writer)
    (incf (chunk-count chunk))))

(defun add-tags (tags chunk)
  (let ((count (min (length tags) +tags-kept+)))
    (write-number count (chunk-writer chunk))
    (loop for tag in tags
          repeat count
          do (add-name (cut tag) chunk))))

(defun chunk-full-p (chunk)
  "Return whether another chunk should be begun."
  (or (>= (chunk-count chunk) +chunk-tasks+)
      (>= (writer-length (chunk-writer chunk)) +chunk-bytes+)))

(defun chunk-octets (chunk)
  "Return the bytes of CHUNK."
  (let ((writer (chunk-writer chunk)))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(defun chunk-passages (octets)
  "Return the passages of a chunk, in the order in which they ended. Signal STORAGE-DAMAGED or -NEWER."
  (let* ((version (version-of octets))
         (reader (make-reader octets))
         (names (make-array 16 :adjustable t :fill-pointer 0))
         (latest 0))
    (labels ((number () (read-number reader))
             (name ()
               (let ((index (read-index reader (1+ (length names)))))
                 (when (= index (length names))
                   (vector-push-extend (read-text reader) names))
                 (aref names index)))
             (passage ()
               (setf latest (kept (+ latest (unzigzag (number)))))
               (make-passage :arrival latest :kind (name) :model (name) :worker (name)
                             :outcome (name) :needs (number) :bytes-in (number)
                             :bytes-out (number) :wanted (number) :made (number)
                             :queued (number) :running (number) :moved (number)))
             (add-rest (passage)
               (setf (passage-client passage) (number)
                     (passage-host passage) (number)
                     (passage-tags passage) (loop repeat (read-index reader (1+ +tags-kept+))
                                                  collect (name)))
               (let ((flags (number)))
                 (setf (passage-pinned-p passage) (logtest flags 1)
                       (passage-streamed-p passage) (logtest flags 2)
                       (passage-together-p passage) (logtest flags 4)))
               (setf (passage-weight passage) (number)
                     (passage-deadline passage) (number)
                     (passage-reading passage) (number)
                     (passage-first passage) (number)
                     (passage-ran passage) (number))))
      (when (> version 1)
        (number))
      (loop until (reader-done-p reader)
            collect (let ((passage (passage)))
                      (if (> version 1)
                          (add-rest passage)
                          (setf (passage-ran passage) (passage-running passage)))
                      passage)))))

(defun version-of (octets)
  "Return the version of the chunk that OCTETS are. Signal STORAGE-DAMAGED or -NEWER."
  (let* ((number (if (plusp (length octets)) (read-number (make-reader octets)) 0))
         (version (if (oddp number) (ceiling number 2) 1)))
    (when (> version +version+)
      (error 'storage-newer :reason (format nil "a later version of HydraMesh wrote its traffic (as version ~D, ~
                                                 this program knows ~D)" version +version+)))
    version))
