(defpackage #:hydramesh/audio/utterance
  (:use #:cl)
  (:import-from #:hydramesh/audio/limits #:+utterance+)
  (:import-from #:hydramesh/audio/samples #:samples #:make-samples)
  (:export #:utterance #:make-utterance #:utterance-add #:utterance-end)
  (:documentation "What somebody says from one pause to the next, gathered from blocks of sound."))
(in-package #:hydramesh/audio/utterance)

(defconstant +quiet+ -55.0 "Decibels; what is softer is a pause, if it lasts.")
(defconstant +pause+ 600 "Milliseconds.")
(defconstant +least+ 150 "Milliseconds of sound; what is shorter was no word.")

(defstruct (utterance (:constructor %make-utterance (rate)))
  "What is being said: the first COUNT of SAMPLES, of which the last QUIET were soft, and LOUD were not. Before
anything is said, the last block is kept: a word begins softly."
  (rate 0 :type (unsigned-byte 32))
  (samples (make-samples 0) :type samples)
  (count 0 :type fixnum)
  (loud 0 :type fixnum)
  (quiet 0 :type fixnum))

(defun make-utterance (rate)
  "Return one of RATE samples a second in which nothing has been said yet."
  (%make-utterance rate))

(defun last-of (utterance milliseconds)
  "Return how many samples last MILLISECONDS."
  (floor (* milliseconds (utterance-rate utterance)) 1000))

(defun append-block (utterance block)
  "Add BLOCK to the samples of UTTERANCE."
  (let* ((count (utterance-count utterance))
         (end (+ count (length block))))
    (when (> end (length (utterance-samples utterance)))
      (setf (utterance-samples utterance)
            (replace (make-samples (max end (* 2 count))) (utterance-samples utterance) :end2 count)))
    (replace (utterance-samples utterance) block :start1 count)
    (setf (utterance-count utterance) end)))

(defun utterance-add (utterance block level)
  "Add BLOCK, samples as loud as LEVEL in decibels. Return what was said, samples, if it ends here, or NIL."
  (append-block utterance block)
  (cond ((> level +quiet+)
         (incf (utterance-loud utterance) (length block))
         (setf (utterance-quiet utterance) 0))
        (t
         (incf (utterance-quiet utterance) (length block))))
  (cond ((zerop (utterance-loud utterance))
         (begin-with utterance block)
         nil)
        ((or (>= (utterance-quiet utterance) (last-of utterance +pause+))
             (>= (utterance-count utterance) (* +utterance+ (utterance-rate utterance))))
         (utterance-end utterance))))

(defun begin-with (utterance block)
  "Keep nothing but BLOCK, after which something may be said."
  (replace (utterance-samples utterance) block)
  (setf (utterance-count utterance) (length block)
        (utterance-quiet utterance) 0))

(defun utterance-end (utterance)
  "Return what was said up to here, samples, or NIL; and begin anew."
  (let ((said (and (>= (utterance-loud utterance) (last-of utterance +least+))
                   (subseq (utterance-samples utterance) 0 (utterance-count utterance)))))
    (setf (utterance-count utterance) 0
          (utterance-loud utterance) 0
          (utterance-quiet utterance) 0
          ;; What was long is not kept for one who may never say as much again.
          (utterance-samples utterance) (make-samples 0))
    said))
