(defpackage #:hydramesh/replay/prompts
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:make-entropy)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-read-blocks)
  (:import-from #:hydramesh/head/read-prompts #:bytes-read #:make-read-prompts #:note-read)
  (:import-from #:hydramesh/prompt-blocks #:hashes)
  (:import-from #:hydramesh/replay/mixing #:mixed)
  (:import-from #:hydramesh/replay/record #:kind-of)
  (:import-from #:hydramesh/storage/traffic
                #:passage-blocks #:passage-model #:passage-parent #:passage-prompt #:passage-reading
                #:passage-shared)
  (:import-from #:hydramesh/work #:work-kind-reading)
  (:export #:prompt-tree #:hashes-of #:make-cache #:share-in #:note-in)
  (:documentation "How the prompts of a record begin, and what of them workers have read.

The record has no hashes, only which prompts share how many blocks; blocks that are the same get the same
number here, which takes the place of their hash."))
(in-package #:hydramesh/replay/prompts)

(defconstant +most-blocks+ 64 "Of a prompt.")

(defun prompt-tree (passages)
  "Return a table of PASSAGES by the numbers of their prompts."
  (let ((tree (make-hash-table)))
    (loop for passage across passages
          when (plusp (passage-blocks passage))
            do (setf (gethash (passage-prompt passage) tree) passage))
    tree))

(defun hashes-of (tree passage)
  "Return the numbers of the blocks of PASSAGE's prompt, which is in TREE."
  (let* ((limit (min +most-blocks+ (passage-blocks passage)))
         (hashes (make-array limit :element-type '(unsigned-byte 64))))
    (loop with number = (passage-prompt passage)
          for known = passage then (gethash number tree)
          while (plusp limit)
          do (let ((shared (if (and known (< (passage-parent known) number)) ; else it is damaged
                               (min limit (passage-shared known))
                               0)))
               (loop for index from shared below limit
                     do (setf (aref hashes index) (mixed number index)))
               (setf limit shared
                     number (if known (passage-parent known) 0))))
    hashes))

;;; What a worker has

(defun make-cache ()
  "Return the cache of a worker that has read nothing. It keeps as much as a head believes that it does."
  (make-read-prompts (head-limits-read-blocks +limits+) (make-entropy)))

(defun share-in (cache passage hashes)
  "Return which part of what PASSAGE has a worker read is in CACHE, from 0 to 1."
  (declare (type hashes hashes))
  (if (or (zerop (length hashes)) (zerop (passage-reading passage)))
      0
      (min 1 (/ (* (bytes-read cache (passage-model passage) hashes) (work-kind-reading (kind-of passage)))
                (passage-reading passage)))))

(defun note-in (cache passage hashes)
  "Let CACHE have what was read of PASSAGE."
  (declare (type hashes hashes))
  (when (plusp (length hashes))
    (note-read cache (passage-model passage) hashes)))
