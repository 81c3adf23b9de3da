(defpackage #:hydramesh/sync/addresses
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/sync/limits
                #:+addresses+ #:+first-probe+ #:+greetings+ #:+longest-probe+ #:+known-probe+ #:+known+)
  (:export #:addresses #:make-addresses #:addresses-count #:addresses-let-be #:addresses-known-p
           #:addresses-heard #:addresses-own #:addresses-due)
  (:documentation "Where there may be other heads, and when to try whether there are.

Whoever does not answer may be down, unreachable, or a head that does not know SYNC. Silence looks the same,
so it is tried ever more seldom."))
(in-package #:hydramesh/sync/addresses)

(defstruct (place (:copier nil))
  "TRY-AT is when it is tried next; WAIT, how long after that again. HEARD-AT is when a head was heard there,
NIL for never. OWN: this head itself is there."
  (try-at 0 :type (unsigned-byte 62))
  (wait +first-probe+ :type (unsigned-byte 62))
  (heard-at nil :type (or null (unsigned-byte 62)))
  (own nil :type boolean))

(defstruct (addresses (:constructor make-addresses ()) (:copier nil))
  "PLACES by their addresses."
  (places (make-hash-table) :type hash-table :read-only t))

(defun addresses-count (addresses)
  (hash-table-count (addresses-places addresses)))

(defun addresses-known-p (addresses address)
  "Return whether a head may be at ADDRESS, as settings or workers say."
  (nth-value 1 (gethash address (addresses-places addresses))))

(defun addresses-let-be (addresses named)
  "Let ADDRESSES be those of NAMED, a list in which those come first that matter most. Return those that are
new."
  (let ((places (addresses-places addresses))
        (named (subseq named 0 (min +addresses+ (length named)))))
    (loop for address being the hash-keys of places
          unless (member address named)
            do (remhash address places))
    (loop for address in named
          unless (gethash address places)
            do (setf (gethash address places) (make-place))
            and collect address)))

(defun addresses-heard (addresses address now)
  "Note that a head was heard at ADDRESS: it is tried at once when it is lost."
  (let ((place (gethash address (addresses-places addresses))))
    (when place
      (setf (place-heard-at place) now
            (place-try-at place) now
            (place-wait place) +first-probe+))))

(defun addresses-own (addresses address)
  "Note that this head itself is at ADDRESS, and need not be tried."
  (let ((place (gethash address (addresses-places addresses))))
    (when place
      (setf (place-own place) t))))

(defun addresses-due (addresses now taken)
  "Return the addresses that are to be tried now, and will be again later, +GREETINGS+ at most; none of
TAKEN, a list."
  (loop for address being the hash-keys of (addresses-places addresses) using (hash-value place)
        when (and (< (length due) +greetings+)
                  (>= now (place-try-at place))
                  (not (place-own place))
                  (not (member address taken)))
          collect address into due
          and do (setf (place-try-at place) (+ now (place-wait place))
                       (place-wait place) (min (* 2 (place-wait place)) (longest place now)))
        finally (return due)))

(defun longest (place now)
  (let ((heard-at (place-heard-at place)))
    (if (and heard-at (< (- now heard-at) +known+)) +known-probe+ +longest-probe+)))
