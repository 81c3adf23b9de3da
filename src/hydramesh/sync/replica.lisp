(defpackage #:hydramesh/sync/replica
  (:use #:cl)
  (:import-from #:hydramesh/sync/limits #:+burst+ #:+links+ #:+workers+)
  (:import-from #:hydramesh/sync/state #:view-assigned)
  (:export #:replica #:make-replica #:replica-version #:replica-apply #:replica-fact
           #:replica-links #:replica-workers #:replica-assigned)
  (:documentation "Another head's state, as far as it has told it."))
(in-package #:hydramesh/sync/replica)

(defstruct (replica (:constructor make-replica ()) (:copier nil))
  "VERSION is that of the state; FIGURES are the facts about the head itself, and LINKS and WORKERS those
about heads and workers, by their ids. EARLY are changes, lists as the arguments of `replica-apply`, before
which others are missing."
  (version 0 :type (unsigned-byte 62))
  (figures '() :type list)
  (links (make-hash-table :test 'equal) :type hash-table :read-only t)
  (workers (make-hash-table :test 'equal) :type hash-table :read-only t)
  (early '() :type list))

(defun replica-fact (replica key &optional default)
  "Return the value of the fact KEY, a keyword; DEFAULT if it was not told."
  (getf (replica-figures replica) key default))

(defun replica-assigned (replica worker-id)
  "Return how many tasks of that head a worker has."
  (let ((view (gethash worker-id (replica-workers replica))))
    (if view (view-assigned view) 0)))

(defun replica-apply (replica base version facts)
  "Bring REPLICA from the version BASE to VERSION by FACTS, an alist of those that have changed. Return
whether it is at VERSION or later now: false if something before is missing. The second value is a list of
the workers of which something may have changed."
  (let ((known (replica-version replica)))
    (cond ((>= known version) (values t '()))
          ((> base known)
           (keep-early replica (list base version facts))
           (values nil '()))
          (t
           (let ((workers (apply-now replica base version facts)))
             (values t (remove-duplicates (nconc workers (apply-early replica)) :test #'string=)))))))

(defun apply-now (replica base version facts)
  "Do what is to be done at once; return the workers of which something may have changed."
  (let ((workers (if (and (zerop base) (plusp (replica-version replica))) (empty replica) '())))
    (setf (replica-version replica) version)
    (loop for (key . value) in facts
          do (if (consp key)
                 (destructuring-bind (kind . id) key
                   (ecase kind
                     (:link (keep (replica-links replica) id value +links+))
                     (:worker (keep (replica-workers replica) id value +workers+)
                      (push id workers))))
                 (setf (getf (replica-figures replica) key) value)))
    workers))

(defun keep-early (replica message)
  (let ((early (cons message (remove message (replica-early replica) :test #'same-p))))
    (setf (replica-early replica) (subseq early 0 (min +burst+ (length early))))))

(defun same-p (one other)
  (and (= (first one) (first other)) (= (second one) (second other))))

(defun apply-early (replica)
  "Do what came before what it follows, as far as that has come; return the workers as `apply-now` does."
  (loop for next = (find-if (lambda (message)
                              (and (<= (first message) (replica-version replica))
                                   (> (second message) (replica-version replica))))
                            (replica-early replica))
        while next
        nconc (apply #'apply-now replica next)
        finally (setf (replica-early replica)
                      (remove-if (lambda (message) (<= (second message) (replica-version replica)))
                                 (replica-early replica)))))

(defun empty (replica)
  "Forget all that was told; return the ids of the workers of which something was."
  (setf (replica-figures replica) '())
  (clrhash (replica-links replica))
  (prog1 (loop for id being the hash-keys of (replica-workers replica) collect id)
    (clrhash (replica-workers replica))))

(defun keep (table id value most)
  "Let ID have VALUE in TABLE, which has MOST entries at most."
  (cond ((eq value :gone) (remhash id table))
        ((or (nth-value 1 (gethash id table)) (< (hash-table-count table) most))
         (setf (gethash id table) value))))
