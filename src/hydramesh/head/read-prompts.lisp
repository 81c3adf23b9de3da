(defpackage #:hydramesh/head/read-prompts
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/id-table
                #:id-table #:make-id-table #:id-table-count #:id-table-get #:id-table-put #:id-table-remove)
  (:import-from #:hydramesh/prompt-blocks #:hashes #:read-bytes)
  (:export #:read-prompts #:make-read-prompts #:read-prompts-count #:note-read #:bytes-read #:share-kept
           #:learn-kept #:reading-pace #:learn-reading-pace #:forget-unless)
  (:documentation "What one worker has read lately, as far as this head knows.

A worker keeps what it has computed of prompts, and reads only what is new of one that begins alike. How long
it keeps that it tells nobody: heads remember the latest blocks, and learn from what answers tell of their
prompts how far that holds."))
(in-package #:hydramesh/head/read-prompts)

(defstruct (reader (:copier nil))
  "A model that has read something; KEPT is how much of that is still there, from 0 to 1. PACE is how many
seconds a unit of what jobs have to read takes, 0 if that was not measured."
  (kept 1d0 :type double-float)
  (pace 0d0 :type double-float))

(defstruct (read-prompts (:constructor %make-read-prompts (half entropy younger older)) (:copier nil))
  "The blocks that a worker has read of late, at most twice HALF of them.

READERS are its models by their names. There are two generations, tables of readers by blocks: what was read
since the YOUNGER one began, and before that. When the younger one has HALF, the OLDER one is forgotten."
  (half 0 :type fixnum :read-only t)
  (entropy nil :type entropy :read-only t)
  (readers (make-hash-table :test 'equal) :type hash-table :read-only t)
  (younger nil :type id-table)
  (older nil :type id-table))

(defun make-read-prompts (most entropy)
  "Return what is known of a worker that has read nothing yet; MOST blocks of it will be kept."
  (%make-read-prompts (floor most 2) entropy (make-id-table entropy) (make-id-table entropy)))

(defun read-prompts-count (prompts)
  "Return how many blocks are kept."
  (+ (id-table-count (read-prompts-younger prompts)) (id-table-count (read-prompts-older prompts))))

(defun reader-of (prompts model)
  (values (gethash model (read-prompts-readers prompts))))

(defun note-read (prompts model hashes)
  "Note that MODEL, by its name, has read a prompt with these blocks."
  (declare (type hashes hashes))
  (let ((reader (or (reader-of prompts model)
                    (setf (gethash model (read-prompts-readers prompts)) (make-reader)))))
    (when (> (+ (id-table-count (read-prompts-younger prompts)) (length hashes))
             (read-prompts-half prompts))
      (shiftf (read-prompts-older prompts)
              (read-prompts-younger prompts)
              (make-id-table (read-prompts-entropy prompts))))
    (loop for block across hashes
          do (id-table-remove (read-prompts-older prompts) block)
             (id-table-put (read-prompts-younger prompts) block reader))))

(defun bytes-read (prompts model hashes)
  "Return how many bytes of a prompt with these blocks MODEL has read.
Each hash is of all the blocks up to its own, so who has read one has read those before, and it takes seven looks
to find the last of 64. Most workers have not read the first, so that comes before all else."
  (declare (type hashes hashes) (optimize speed))
  (let ((younger (read-prompts-younger prompts))
        (older (read-prompts-older prompts)))
    (flet ((reader (place)
             (let ((block (aref hashes place)))
               (or (id-table-get younger block) (id-table-get older block)))))
      (declare (inline reader))
      (let ((reader (and (plusp (length hashes)) (reader 0))))
        (if (and reader (eq reader (reader-of prompts model)))
            (let ((read 1)
                  (most (length hashes)))
              (declare (type fixnum read most))
              (loop while (< read most)
                    do (let ((middle (ash (+ read most 1) -1)))
                         (if (eq reader (reader (1- middle)))
                             (setf read middle)
                             (setf most (1- middle)))))
              (read-bytes read))
            0)))))

(defun share-kept (prompts model)
  "Return how much of what MODEL has read is still there, from 0 to 1.
That is as much as it was of late, when all was thought to be there."
  (let ((reader (reader-of prompts model)))
    (if reader (reader-kept reader) 0d0)))

(defun learn-kept (prompts model kept)
  "Note how much of what MODEL has read was still there, from 0 to 1."
  (declare (type double-float kept))
  (let ((reader (reader-of prompts model)))
    (when reader
      (setf (reader-kept reader) (/ (+ (reader-kept reader) kept) 2)))))

(defun reading-pace (prompts model)
  "Return in how many seconds MODEL reads a unit of what jobs have to read, 0 if that was not measured."
  (let ((reader (reader-of prompts model)))
    (if reader (reader-pace reader) 0d0)))

(defun learn-reading-pace (prompts model pace)
  "Note how many seconds it took MODEL to read a unit."
  (declare (type double-float pace))
  (let ((reader (reader-of prompts model)))
    (when reader
      (setf (reader-pace reader)
            (if (plusp (reader-pace reader)) (/ (+ (reader-pace reader) pace) 2) pace)))))

(defun forget-unless (prompts test)
  "Forget what models have read whose names TEST is false of; their blocks are nobody's until they age."
  (let ((readers (read-prompts-readers prompts)))
    (loop for model being the hash-keys of readers
          unless (funcall test model)
            collect model into gone
          finally (dolist (model gone)
                    (remhash model readers)))))
