(defpackage #:hydramesh/prompt-blocks
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:export #:hashes #:+no-hashes+ #:hashes-in #:read-bytes #:block-bytes)
  (:documentation "The blocks of a prompt whose hashes are in Task.prefix, see docs/cluster.md.

A head tells by them how much of a prompt a worker has read before. Blocks of long prompts are longer, so that
few hashes tell of any prompt to about an eighth of its length."))
(in-package #:hydramesh/prompt-blocks)

(deftype hashes ()
  "The hashes of a prompt's blocks, from the first on."
  '(simple-array (unsigned-byte 64) (*)))

(defconstant +hash+ 8 "Octets of a hash.")

(sb-ext:defglobal +no-hashes+ (make-array 0 :element-type '(unsigned-byte 64)))
(declaim (type hashes +no-hashes+))

(sb-ext:defglobal +ends+
    (coerce (loop with end = 0
                  for (count size) in '((16 256) (8 512) (8 1024) (8 2048) (8 4096) (8 8192) (8 16384))
                  append (loop repeat count collect (incf end size)))
            '(simple-array (unsigned-byte 32) (*)))
  "Where each block ends, in bytes of the prompt; what comes after the last one is not hashed.")
(declaim (type (simple-array (unsigned-byte 32) (64)) +ends+))

(defun read-bytes (count)
  "Return how many bytes of a prompt the first COUNT blocks have."
  (declare (type (integer 0 64) count))
  (if (zerop count) 0 (aref +ends+ (1- count))))

(defun block-bytes (place)
  "Return how many bytes the block at PLACE has, the first of which is 0."
  (- (read-bytes (1+ place)) (read-bytes place)))

(defun hashes-in (prefix)
  "Return the hashes of PREFIX, a Task.prefix, that count; none if it is malformed."
  (declare (type octets prefix))
  (multiple-value-bind (count rest) (floor (length prefix) +hash+)
    (if (or (zerop count) (plusp rest))
        +no-hashes+
        (let ((hashes (make-array (min count (length +ends+)) :element-type '(unsigned-byte 64))))
          (dotimes (place (length hashes) hashes)
            (setf (aref hashes place)
                  (loop with hash of-type (unsigned-byte 64) = 0
                        for at from (* +hash+ place) below (* +hash+ (1+ place))
                        do (setf hash (logior (ldb (byte 64 0) (ash hash 8)) (aref prefix at)))
                        finally (return hash))))))))
