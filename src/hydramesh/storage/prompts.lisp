(defpackage #:hydramesh/storage/prompts
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:entropy #:make-entropy)
  (:import-from #:hydramesh/id-table
                #:id-table #:make-id-table #:id-table-count #:id-table-get #:id-table-put #:id-table-remove)
  (:import-from #:hydramesh/prompt-blocks #:hashes)
  (:import-from #:hydramesh/storage/limits #:+prompt-blocks+)
  (:export #:prompts #:make-prompts #:note-prompt)
  (:documentation "Which prompts begin alike, told without their hashes.

A prompt whose blocks nobody had before gets a number, and its blocks are those of that number. Of one that
begins like others it is kept with which number the last block came that they share, and how many blocks
that is; what follows are blocks of its own number. So the tree in which the prompts are can be drawn
again, and nothing of them can be guessed."))
(in-package #:hydramesh/storage/prompts)

(defstruct (prompts (:constructor %make-prompts (entropy younger older)))
  "The numbers with which blocks came first, in two generations as in HYDRAMESH/HEAD/READ-PROMPTS. NUMBER
is the last one that was given."
  (entropy nil :type entropy :read-only t)
  (younger nil :type id-table)
  (older nil :type id-table)
  (number 0 :type unsigned-byte))

(defun make-prompts ()
  "Return no prompts; +PROMPT-BLOCKS+ of their blocks will be kept at most."
  (let ((entropy (make-entropy)))
    (%make-prompts entropy (make-id-table entropy) (make-id-table entropy))))

(defun note-prompt (prompts hashes at)
  "Note a prompt with the blocks HASHES, of which there is at least one, AT a time that is above all
numbers which were given before this program started. Return its number, that of the one with which its
last known block came, and how many blocks were known from the first on."
  (declare (type hashes hashes))
  (let* ((number (setf (prompts-number prompts) (max at (1+ (prompts-number prompts)))))
         (known (loop for hash across hashes
                      for first = (first-with prompts hash)
                      while first collect first)))
    (make-room prompts (length hashes))
    (loop for hash across hashes
          for firsts = known then (rest firsts)
          do (id-table-remove (prompts-older prompts) hash)
             (id-table-put (prompts-younger prompts) hash (or (first firsts) number)))
    (values number (or (first (last known)) 0) (length known))))

(defun first-with (prompts hash)
  (or (id-table-get (prompts-younger prompts) hash)
      (id-table-get (prompts-older prompts) hash)))

(defun make-room (prompts count)
  (when (> (+ (id-table-count (prompts-younger prompts)) count) (floor +prompt-blocks+ 2))
    (shiftf (prompts-older prompts) (prompts-younger prompts) (make-id-table (prompts-entropy prompts)))))
