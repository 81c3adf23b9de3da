(defpackage #:hydramesh/id-table
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:entropy #:entropy-draw)
  (:export #:id #:id-table #:make-id-table #:id-table-count #:id-table-get #:id-table-put
           #:id-table-remove #:id-table-clear #:id-table-values)
  (:documentation "What is known by ids of 64 bits, which others choose.

Most such ids are bignums to Lisp: in a hash table of its own, each would be an object that every
garbage collection visits. Here they lie in one array of numbers, by open addressing with linear
probing. A secret multiplier spreads them, so nobody can choose ids that fall on one place."))
(in-package #:hydramesh/id-table)

(deftype id () "An id." '(unsigned-byte 64))

(deftype place () '(unsigned-byte 40))

(defconstant +smallest+ 3 "Bits of the number of places in an empty table.")

(defstruct (id-table (:constructor %make-id-table))
  "COUNT ids, each with a value. Of the KEYS, 0 is a free place; id 0 has a place of its own."
  (count 0 :type place)
  (bits +smallest+ :type (integer 1 40))
  (multiplier 1 :type (unsigned-byte 64))
  (keys (free-keys +smallest+) :type (simple-array (unsigned-byte 64) (*)))
  (items nil :type (or null simple-vector))
  (zero nil)
  (zero-item nil))

(defun free-keys (bits)
  (make-array (ash 1 bits) :element-type '(unsigned-byte 64) :initial-element 0))

(defun make-id-table (entropy &key (valued t))
  "Return an empty table whose secret comes from ENTROPY.
It is a set, in which every id has the value T, unless it is VALUED."
  (%make-id-table :multiplier (logior 1 (entropy-draw entropy))
                  :items (and valued (make-array (ash 1 +smallest+) :initial-element nil))))

(declaim (inline home following))

(defun home (id multiplier bits)
  "Return the place at which ID is, unless that was taken."
  (declare (type id id multiplier) (type (integer 1 40) bits))
  (ash (ldb (byte 64 0) (* id multiplier)) (- bits 64)))

(defun following (place mask)
  (declare (type place place mask))
  (logand (1+ place) mask))

(declaim (inline find-place))
(defun find-place (table id)
  "Return the place of ID, or the free one where it would be; and whether it is there."
  (declare (type id id) (optimize speed (safety 0)))
  (let* ((keys (id-table-keys table))
         (mask (1- (length keys)))
         (place (home id (id-table-multiplier table) (id-table-bits table))))
    (declare (type place place mask))
    (loop
      (let ((key (aref keys place)))
        (cond ((= key id) (return (values place t)))
              ((zerop key) (return (values place nil)))
              (t (setf place (following place mask))))))))

;; Called from elsewhere, most ids would be made into objects first.
(declaim (inline id-table-get))
(defun id-table-get (table id)
  "Return the value of ID, NIL if it is not there."
  (declare (type id id))
  (if (zerop id)
      (and (id-table-zero table) (id-table-zero-item table))
      (multiple-value-bind (place found) (find-place table id)
        (and found
             (let ((items (id-table-items table)))
               (if items (svref items place) t))))))

(defun id-table-put (table id item)
  "Let ITEM be the value of ID; return it."
  (declare (type id id))
  (if (zerop id)
      (progn
        (unless (id-table-zero table)
          (incf (id-table-count table)))
        (setf (id-table-zero table) t
              (id-table-zero-item table) item))
      (multiple-value-bind (place found) (find-place table id)
        (let ((items (id-table-items table)))
          (unless found
            (setf (aref (id-table-keys table) place) id)
            (incf (id-table-count table)))
          (when items
            (setf (svref items place) item))
          (when (> (* 2 (id-table-count table)) (length (id-table-keys table)))
            (grow table)))
        item)))

(defun grow (table)
  "Double the number of places."
  (let ((keys (id-table-keys table))
        (items (id-table-items table)))
    (incf (id-table-bits table))
    (setf (id-table-keys table) (free-keys (id-table-bits table)))
    (when items
      (setf (id-table-items table) (make-array (* 2 (length items)) :initial-element nil)))
    (loop for key across keys
          for place of-type place from 0
          unless (zerop key)
            do (let ((new (find-place table key)))
                 (setf (aref (id-table-keys table) new) key)
                 (when items
                   (setf (svref (id-table-items table) new) (svref items place)))))))

(defun id-table-remove (table id)
  "Remove ID; return true if it was there."
  (declare (type id id))
  (if (zerop id)
      (when (id-table-zero table)
        (setf (id-table-zero table) nil
              (id-table-zero-item table) nil)
        (decf (id-table-count table))
        t)
      (multiple-value-bind (place found) (find-place table id)
        (when found
          (free-place table place)
          (decf (id-table-count table))
          t))))

(defun free-place (table free)
  "Free the place FREE, and move into it what would not be found behind a free one."
  (declare (type place free))
  (let* ((keys (id-table-keys table))
         (items (id-table-items table))
         (mask (1- (length keys)))
         (place free))
    (declare (type place place mask))
    (loop
      (setf place (following place mask))
      (let ((key (aref keys place)))
        (when (zerop key)
          (return))
        (let ((home (home key (id-table-multiplier table) (id-table-bits table))))
          ;; It may move if its home is not between the free place and its own.
          (when (>= (logand (- place home) mask) (logand (- place free) mask))
            (setf (aref keys free) key)
            (when items
              (setf (svref items free) (svref items place)))
            (setf free place)))))
    (setf (aref keys free) 0)
    (when items
      (setf (svref items free) nil))))

(defun id-table-clear (table)
  "Remove all ids. A table keeps its size if that many were in it, so that it need not grow again."
  (when (< (* 8 (id-table-count table)) (length (id-table-keys table)))
    (setf (id-table-bits table) +smallest+
          (id-table-keys table) (free-keys +smallest+))
    (when (id-table-items table)
      (setf (id-table-items table) (make-array (ash 1 +smallest+)))))
  (fill (id-table-keys table) 0)
  (when (id-table-items table)
    (fill (id-table-items table) nil))
  (setf (id-table-count table) 0
        (id-table-zero table) nil
        (id-table-zero-item table) nil)
  table)

(defun id-table-values (table)
  "Return a list of the values, in no order."
  (let ((values (loop for key across (id-table-keys table)
                      for item across (id-table-items table)
                      unless (zerop key)
                        collect item)))
    (if (id-table-zero table)
        (cons (id-table-zero-item table) values)
        values)))
