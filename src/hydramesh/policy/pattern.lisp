(defpackage #:hydramesh/policy/pattern
  (:use #:cl)
  (:export #:matches-p)
  (:documentation "Patterns of texts, in which * stands for anything."))
(in-package #:hydramesh/policy/pattern)

(defconstant +longest+ 1024 "Characters of a text; a longer one is like no pattern.")

(defun matches-p (pattern text)
  "Return whether TEXT is what PATTERN says. That takes no more steps than the product of their lengths."
  (declare (type simple-string pattern text))
  (let ((at 0) (in 0) (star -1) (retry 0))
    (declare (type fixnum at in star retry))
    (when (> (length text) +longest+)
      (return-from matches-p nil))
    (loop while (< in (length text))
          do (cond ((and (< at (length pattern)) (char= (schar pattern at) #\*))
                    (setf star at retry in)
                    (incf at))
                   ((and (< at (length pattern)) (char= (schar pattern at) (schar text in)))
                    (incf at)
                    (incf in))
                   ((minusp star) (return-from matches-p nil))
                   (t
                    ;; The last * takes one more.
                    (setf at (1+ star))
                    (incf retry)
                    (setf in retry))))
    (loop while (and (< at (length pattern)) (char= (schar pattern at) #\*))
          do (incf at))
    (= at (length pattern))))
