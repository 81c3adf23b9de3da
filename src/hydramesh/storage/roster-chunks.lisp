(defpackage #:hydramesh/storage/roster-chunks
  (:use #:cl)
  (:import-from #:hydramesh/storage/limits #:+traffic-age+ #:+worker-chunks+)
  (:import-from #:hydramesh/storage/roster
                #:make-roster #:roster-begin #:roster-changed-p #:roster-changes #:roster-full-p #:roster-note
                #:roster-number #:roster-octets #:roster-written #:change-at #:change-kind)
  (:import-from #:hydramesh/storage/store #:store-read #:store-list #:+workers+)
  (:export #:roster-chunks #:open-roster-chunks #:roster-chunks-note #:roster-chunks-writes
           #:roster-chunks-written #:read-roster)
  (:documentation "In which chunks of a store it is kept what workers were, and for how long: as long as the
traffic."))
(in-package #:hydramesh/storage/roster-chunks)

(defconstant +pace+ 8192 "Bytes a second, of a chunk that is written again and again as it grows.")
(defconstant +waiting+ 4 "Full chunks that are not written yet.")

(defstruct (roster-chunks (:constructor make-roster-chunks (numbers)))
  "The chunks under NUMBERS are written. FULL are those that are full and not written yet, as STORE-WRITE takes
them, the newest first."
  (roster (make-roster))
  (numbers '() :type list)
  (full '() :type list)
  (written-at 0 :type unsigned-byte))

(defun open-roster-chunks (store)
  "Return the chunks in STORE, to which others can be added. Signal STORAGE-FAILURE."
  (make-roster-chunks (store-list store +workers+)))

(defun as-change (roster)
  (list +workers+ (roster-number roster) (roster-octets roster)))

(defun roster-chunks-note (chunks workers terms now at)
  "Note what has changed, see ROSTER-NOTE."
  (let ((roster (roster-chunks-roster chunks)))
    (when (roster-full-p roster)
      (when (roster-changed-p roster)
        (push (as-change roster) (roster-chunks-full chunks))
        (when (nthcdr +waiting+ (roster-chunks-full chunks))
          (setf (roster-chunks-full chunks) (subseq (roster-chunks-full chunks) 0 +waiting+))))
      ;; Milliseconds, and above the last one's even if the clock was set back.
      (roster-begin roster
                    (max (floor at 1000)
                         (1+ (max (roster-number roster)
                                  (or (first (last (roster-chunks-numbers chunks))) 0))))
                    at))
    (roster-note roster workers terms now at)))

(defun due-p (chunks octets now)
  "Return whether a chunk of so many OCTETS should be written at NOW: a large one less often."
  (not (< -1 (- now (roster-chunks-written-at chunks)) (floor (* 1000000 octets) +pace+))))

(defun outdated (chunks now)
  "Return the numbers of chunks before the one that was begun when the oldest traffic came, or too many."
  (let ((surplus (- (length (roster-chunks-numbers chunks)) +worker-chunks+)))
    (loop for (number next) on (roster-chunks-numbers chunks)
          for index from 0
          while (or (< index surplus)
                    (and next (< next (- (floor now 1000) (* 1000 +traffic-age+)))))
          collect number)))

(defun roster-chunks-writes (chunks now all)
  "Return what is to be written at NOW, as STORE-WRITE takes it; if ALL, also what has time."
  (let* ((roster (roster-chunks-roster chunks))
         (open (and (roster-changed-p roster) (as-change roster))))
    (append (when (and open (or all (due-p chunks (length (third open)) now)))
              (list open))
            (roster-chunks-full chunks)
            (loop for number in (outdated chunks now)
                  collect (list +workers+ number nil)))))

(defun roster-chunks-written (chunks writes now)
  "Note that WRITES, which ROSTER-CHUNKS-WRITES has returned, have been written at NOW."
  (let ((roster (roster-chunks-roster chunks)))
    (setf (roster-chunks-full chunks) '())
    (loop for (nil number content) in writes
          do (cond ((null content)
                    (setf (roster-chunks-numbers chunks) (remove number (roster-chunks-numbers chunks))))
                   (t
                    (setf (roster-chunks-numbers chunks)
                          (sort (adjoin number (roster-chunks-numbers chunks)) #'<))
                    (when (= number (roster-number roster))
                      (roster-written roster)
                      (setf (roster-chunks-written-at chunks) now)))))))

(defun read-roster (store since)
  "Return the changes in STORE that say what workers were from SINCE on, microseconds since 1970, in order.
Those before that say what was so then. Signal STORAGE-FAILURE."
  (let* ((numbers (store-list store +workers+))
         (first (or (position (floor since 1000) numbers :test #'>= :from-end t) 0)))
    (stable-sort (after-starts (loop for number in (nthcdr first numbers)
                                     for content = (store-read store +workers+ number)
                                     when content append (roster-changes content)))
                 #'< :key #'change-at)))

(defun after-starts (changes)
  "Return CHANGES, in the order in which they were noted. Those behind the start of a head are not before it."
  ;; A worker's time is that of its heartbeat, which may have come before the start was noted.
  (let ((started 0))
    (dolist (change changes changes)
      (when (eq (change-kind change) :started)
        (setf started (change-at change)))
      (setf (change-at change) (max started (change-at change))))))
