(defpackage #:hydramesh/service/close-match
  (:use #:cl)
  (:export #:close-match)
  (:documentation "Which of some words was meant, as Ratcliff and Obershelp compare two words: by the
longest run of letters that both have, and again what is left of it and right of it."))
(in-package #:hydramesh/service/close-match)

(defparameter +close+ 6/10 "From which ratio on two words are taken for one.")

(defun longest-match (one other start1 end1 start2 end2)
  "Return where the longest common run begins in ONE and in OTHER, and its length."
  (let ((best1 start1) (best2 start2) (size 0)
        (runs (make-array (1+ (- end2 start2)) :initial-element 0)))
    (loop for i from start1 below end1
          do (loop with diagonal = 0
                   for j from start2 below end2
                   for slot = (1+ (- j start2))
                   for above = (aref runs slot)
                   do (setf (aref runs slot)
                            (if (char= (char one i) (char other j)) (1+ diagonal) 0))
                      (when (> (aref runs slot) size)
                        (setf size (aref runs slot)
                              best1 (1+ (- i size))
                              best2 (1+ (- j size))))
                      (setf diagonal above)))
    (values best1 best2 size)))

(defun common (one other start1 end1 start2 end2)
  (multiple-value-bind (at1 at2 size) (longest-match one other start1 end1 start2 end2)
    (if (zerop size)
        0
        (+ size
           (common one other start1 at1 start2 at2)
           (common one other (+ at1 size) end1 (+ at2 size) end2)))))

(defun likeness (one other)
  (/ (* 2 (common one other 0 (length one) 0 (length other)))
     (max 1 (+ (length one) (length other)))))

(defun close-match (word words)
  "Return the one of WORDS that is closest to WORD, or NIL if none is close."
  (let ((best nil) (highest +close+))
    (dolist (candidate words best)
      (let ((likeness (likeness candidate word)))
        (when (>= likeness highest)
          (setf best candidate highest likeness))))))
