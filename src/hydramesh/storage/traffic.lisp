(defpackage #:hydramesh/storage/traffic
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/storage/codec
                #:number-kept #:kept #:cut #:writer #:make-writer #:writer-octets #:writer-length
                #:write-number #:write-text #:reader #:make-reader #:reader-done-p #:read-number #:read-index
                #:read-text)
  (:import-from #:hydramesh/storage/limits #:+chunk-tasks+ #:+chunk-bytes+ #:+tags-kept+)
  (:import-from #:hydramesh/storage/store #:storage-newer)
  (:export #:passage #:make-passage #:passage-arrival #:passage-kind #:passage-model #:passage-worker
           #:passage-outcome #:passage-needs #:passage-bytes-in #:passage-bytes-out #:passage-wanted
           #:passage-made #:passage-queued #:passage-running #:passage-moved
           #:passage-client #:passage-host #:passage-tags #:passage-pinned-p #:passage-streamed-p
           #:passage-together-p #:passage-weight #:passage-deadline #:passage-reading #:passage-first
           #:passage-ran #:passage-prompt-tokens #:passage-cached-tokens #:passage-cold-p
           #:passage-beside #:passage-beside-ran #:passage-prompt #:passage-parent #:passage-shared
           #:passage-blocks #:passage-total #:passage-end
           #:chunk #:make-chunk #:chunk-add #:chunk-full-p #:chunk-octets #:chunk-passages)
  (:documentation "The traffic that went through a head: when tasks came, how large they were, how long they
took. What they asked and were answered is not kept, and who asked only as hydramesh/storage/pseudonym says.

The passages of some hundred tasks make a chunk. A name is written out where it is met first in a chunk, and
is a number after that, so that a passage takes some fifty bytes.

A chunk begins with its version, as an odd number. One of the first version begins with its first passage at
once, whose first number is even; passages in it have nothing from CLIENT on. In the second version they have
nothing from PROMPT-TOKENS on."))
(in-package #:hydramesh/storage/traffic)

(defconstant +version+ 3 "Of what a chunk has of each passage. A higher one is not read.")

;; Flags of a passage.
(defconstant +pinned+ 1)
(defconstant +streamed+ 2)
(defconstant +together+ 4)
(defconstant +cold+ 8)
(defconstant +beside+ 16 "It has a worker that lost a race.")

(defstruct passage
  "One task's way through the head.

ARRIVAL is in microseconds since 1970, QUEUED and RUNNING are in all. KIND is its field in Task.work,
WORKER the id of the one that had it last or \"\", OUTCOME \"DONE\", \"CANCELLED\" or an error's name, and
NEEDS has a bit for each capability. WANTED is how much it asked for, MADE how much it was given: tokens,
images or embeddings. MOVED says how often it went from one worker to another.

CLIENT and HOST are pseudonyms of who asked and from where, 0 for nobody. TAGS are those of the workers
that it asked for; PINNED-P says that WORKER was the only one for it, STREAMED-P that it wanted parts, and
TOGETHER-P that several workers ran it. WEIGHT is Task.weight, 0 if it became no job. DEADLINE and FIRST,
when its first part was passed on, count from its arrival and are 0 if there is none. READING is what could
have been made while it was read, and its last worker had it for RAN.

Of PROMPT-TOKENS that worker still had CACHED-TOKENS, as it told. COLD-P says that it had the model not
loaded at first. The worker BESIDE has lost a race, after it had the task for BESIDE-RAN. PROMPT to BLOCKS
say how the prompt begins, see HYDRAMESH/STORAGE/PROMPTS."
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
  (ran 0 :type number-kept)
  (prompt-tokens 0 :type number-kept)
  (cached-tokens 0 :type number-kept)
  (cold-p nil)
  (beside "" :type string)
  (beside-ran 0 :type number-kept)
  (prompt 0 :type number-kept)
  (parent 0 :type number-kept)
  (shared 0 :type number-kept)
  (blocks 0 :type number-kept))

(defun passage-total (passage)
  "Return the microseconds from the arrival of PASSAGE to its end."
  (+ (passage-queued passage) (passage-running passage)))

(defun passage-end (passage)
  "Return when PASSAGE ended, in microseconds since 1970."
  (+ (passage-arrival passage) (passage-total passage)))

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
    (write-number (flags-of passage) writer)
    (write-number (passage-weight passage) writer)
    (write-number (passage-deadline passage) writer)
    (write-number (passage-reading passage) writer)
    (write-number (passage-first passage) writer)
    (write-number (passage-ran passage) writer)
    (write-number (passage-prompt-tokens passage) writer)
    (write-number (passage-cached-tokens passage) writer)
    (when (raced-p passage)
      (add-name (cut (passage-beside passage)) chunk)
      (write-number (passage-beside-ran passage) writer))
    (add-prompt passage writer)
    (incf (chunk-count chunk))))

(defun raced-p (passage)
  (string/= (passage-beside passage) ""))

(defun flags-of (passage)
  (logior (if (passage-pinned-p passage) +pinned+ 0)
          (if (passage-streamed-p passage) +streamed+ 0)
          (if (passage-together-p passage) +together+ 0)
          (if (passage-cold-p passage) +cold+ 0)
          (if (raced-p passage) +beside+ 0)))

(defun add-prompt (passage writer)
  (write-number (passage-blocks passage) writer)
  (when (plusp (passage-blocks passage))
    (write-number (passage-prompt passage) writer)
    (write-number (passage-shared passage) writer)
    (when (plusp (passage-shared passage))
      ;; It is not far from there.
      (write-number (kept (- (passage-prompt passage) (passage-parent passage))) writer))))

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

(defstruct (scan (:constructor make-scan (reader)))
  "A chunk that is being read: the NAMES so far, and when the LATEST passage arrived."
  (reader nil :type reader)
  (names (make-array 16 :adjustable t :fill-pointer 0))
  (latest 0 :type number-kept))

(defun chunk-passages (octets)
  "Return the passages of a chunk, in the order in which they ended. Signal STORAGE-DAMAGED or -NEWER."
  (let* ((version (version-of octets))
         (reader (make-reader octets))
         (scan (make-scan reader)))
    (when (> version 1)
      (read-number reader))
    (loop until (reader-done-p reader)
          collect (let* ((passage (read-passage scan)) (flags (if (> version 1) (read-rest passage scan) 0)))
                    (when (= version 1)
                      (setf (passage-ran passage) (passage-running passage)))
                    (when (> version 2)
                      (read-worker passage flags scan)
                      (read-prompt passage reader))
                    passage))))

(defun read-name (scan)
  (let* ((names (scan-names scan))
         (index (read-index (scan-reader scan) (1+ (length names)))))
    (when (= index (length names))
      (vector-push-extend (read-text (scan-reader scan)) names))
    (aref names index)))

(defun read-passage (scan)
  "Return a passage with what all versions have of it."
  (flet ((number () (read-number (scan-reader scan)))
         (name () (read-name scan)))
    (setf (scan-latest scan) (kept (+ (scan-latest scan) (unzigzag (number)))))
    (make-passage :arrival (scan-latest scan) :kind (name) :model (name) :worker (name)
                  :outcome (name) :needs (number) :bytes-in (number)
                  :bytes-out (number) :wanted (number) :made (number)
                  :queued (number) :running (number) :moved (number))))

(defun read-rest (passage scan)
  "Read what PASSAGE has since the second version; return its flags."
  (flet ((number () (read-number (scan-reader scan))))
    (setf (passage-client passage) (number)
          (passage-host passage) (number)
          (passage-tags passage) (loop repeat (read-index (scan-reader scan) (1+ +tags-kept+))
                                       collect (read-name scan)))
    (let ((flags (number)))
      (setf (passage-pinned-p passage) (logtest flags +pinned+)
            (passage-streamed-p passage) (logtest flags +streamed+)
            (passage-together-p passage) (logtest flags +together+)
            (passage-weight passage) (number)
            (passage-deadline passage) (number)
            (passage-reading passage) (number)
            (passage-first passage) (number)
            (passage-ran passage) (number))
      flags)))

(defun read-worker (passage flags scan)
  "Read what PASSAGE tells of its workers since the third version."
  (flet ((number () (read-number (scan-reader scan))))
    (setf (passage-cold-p passage) (logtest flags +cold+)
          (passage-prompt-tokens passage) (number)
          (passage-cached-tokens passage) (number))
    (when (logtest flags +beside+)
      (setf (passage-beside passage) (read-name scan)
            (passage-beside-ran passage) (number)))))

(defun read-prompt (passage reader)
  (setf (passage-blocks passage) (read-number reader))
  (when (plusp (passage-blocks passage))
    (setf (passage-prompt passage) (read-number reader)
          (passage-shared passage) (read-number reader))
    (when (plusp (passage-shared passage))
      (setf (passage-parent passage) (kept (- (passage-prompt passage) (read-number reader)))))))

(defun version-of (octets)
  "Return the version of the chunk that OCTETS are. Signal STORAGE-DAMAGED or -NEWER."
  (let* ((number (if (plusp (length octets)) (read-number (make-reader octets)) 0))
         (version (if (oddp number) (ceiling number 2) 1)))
    (when (> version +version+)
      (error 'storage-newer :reason (format nil "a later version of HydraMesh wrote its traffic (as version ~D, ~
                                                 this program knows ~D)" version +version+)))
    version))
