(defpackage #:hydramesh/head/read-prompts
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/id-table
                #:id-table #:make-id-table #:id-table-count #:id-table-get #:id-table-put #:id-table-remove
                #:id-table-values)
  (:import-from #:hydramesh/head/line
                #:line #:make-line #:line-append #:line-first #:line-last #:line-remove)
  (:import-from #:hydramesh/prompt-blocks #:block-bytes #:hashes #:read-bytes)
  (:export #:read-prompts #:make-read-prompts #:read-prompts-count #:note-read #:bytes-read #:share-kept
           #:learn-kept #:reading-pace #:learn-reading-pace #:forget-unless)
  (:documentation "What one worker has read lately, as far as this head knows.

A worker keeps what it has computed of prompts, and reads only what is new of one that begins alike. How much
it can keep it may tell; heads take it that what was of use least recently goes first. They remember the latest
blocks anyhow, and learn from what answers tell of their prompts how far all that holds."))
(in-package #:hydramesh/head/read-prompts)

(defstruct (reader (:copier nil))
  "A model that has read something; KEPT is how much of that is still there, from 0 to 1. PACE is how many
seconds a unit of what jobs have to read takes, 0 if that was not measured. PASSES are those of its readings that
may still be there, the oldest first, of BYTES in all."
  (kept 1d0 :type double-float)
  (pace 0d0 :type double-float)
  (bytes 0 :type fixnum)
  (passes (make-line) :type line :read-only t))

(defstruct (pass (:copier nil))
  "The reading of one prompt by READER, NIL once that must have forgotten it, which is at NODE among its passes.
So many BLOCKS of it, with so many BYTES, were not read again since."
  (reader nil :type (or null reader))
  (node nil)
  (blocks 0 :type fixnum)
  (bytes 0 :type fixnum))

(defstruct (read-prompts (:constructor %make-read-prompts (half entropy younger older)) (:copier nil))
  "The blocks that a worker has read of late, at most twice HALF of them.

READERS are its models by their names. There are two generations, tables of the last passes by blocks: what was read
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

(defun note-read (prompts model hashes &optional (room 0))
  "Note that MODEL, by its name, has read a prompt with these blocks.
It can keep ROOM bytes of prompts, as many as it likes if that is 0."
  (declare (type hashes hashes) (type unsigned-byte room))
  (let ((reader (or (reader-of prompts model)
                    (setf (gethash model (read-prompts-readers prompts)) (make-reader)))))
    (when (> (+ (id-table-count (read-prompts-younger prompts)) (length hashes))
             (read-prompts-half prompts))
      (forget-older prompts))
    (let ((pass (make-pass :reader reader)))
      (setf (pass-node pass) (line-append (reader-passes reader) pass))
      (loop for block across hashes
            for place from 0
            do (put prompts pass block (block-bytes place))))
    (when (plusp room)
      (forget-beyond reader room))))

(defun put (prompts pass block size)
  "Let BLOCK, of SIZE bytes, be part of PASS, and no more of an earlier one."
  (let* ((younger (read-prompts-younger prompts))
         (older (read-prompts-older prompts))
         (before (or (id-table-get younger block) (id-table-get older block))))
    (unless (eq before pass)            ; by hashes that are no prompt's
      (when before
        (drop before size)
        (id-table-remove older block))
      (id-table-put younger block pass)
      (incf (pass-blocks pass))
      (incf (pass-bytes pass) size)
      (incf (reader-bytes (pass-reader pass)) size))))

(defun drop (pass size)
  "Note that a block of SIZE bytes is part of PASS no more."
  (let ((reader (pass-reader pass)))
    (when reader
      (decf (pass-blocks pass))
      (let ((size (min size (pass-bytes pass)))) ; hashes that are no prompt's may have other places
        (decf (pass-bytes pass) size)
        (decf (reader-bytes reader) size))
      (when (zerop (pass-blocks pass))
        (forget pass)))))

(defun forget (pass)
  (let ((reader (pass-reader pass)))
    (decf (reader-bytes reader) (pass-bytes pass))
    (line-remove (reader-passes reader) (pass-node pass))
    (setf (pass-reader pass) nil)))

(defun forget-beyond (reader room)
  "Forget the oldest passes of READER that are more than ROOM bytes together, but not the last."
  (loop with passes = (reader-passes reader)
        while (and (> (reader-bytes reader) room)
                   (not (eq (line-first passes) (line-last passes))))
        do (forget (line-first passes))))

(defun forget-older (prompts)
  (dolist (pass (id-table-values (read-prompts-older prompts)))
    (drop pass 0))
  (shiftf (read-prompts-older prompts)
          (read-prompts-younger prompts)
          (make-id-table (read-prompts-entropy prompts))))

(defun bytes-read (prompts model hashes)
  "Return how many bytes of a prompt with these blocks MODEL has read.
Each hash is of all the blocks up to its own, so who has read one has read those before, and it takes seven looks
to find the last of 64. Most workers have not read the first, so that comes before all else."
  (declare (type hashes hashes) (optimize speed))
  (let ((younger (read-prompts-younger prompts))
        (older (read-prompts-older prompts)))
    (flet ((reader (place)
             (let* ((block (aref hashes place))
                    (pass (or (id-table-get younger block) (id-table-get older block))))
               (and pass (pass-reader pass)))))
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
