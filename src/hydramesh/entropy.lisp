(defpackage #:hydramesh/entropy
  (:use #:cl)
  (:export #:entropy #:make-entropy #:entropy-draw #:entropy-bits)
  (:documentation "Numbers that nobody can guess.

They are read from the system many at once, because to ask it for each one alone would be slow."))
(in-package #:hydramesh/entropy)

(defconstant +at-once+ 512)

(defstruct entropy
  "What was read and is not used yet: the first LEFT of DRAWN."
  (drawn (make-array +at-once+ :element-type '(unsigned-byte 64))
   :type (simple-array (unsigned-byte 64) (*)))
  (left 0 :type fixnum))

(defun entropy-draw (entropy)
  "Return a random number of 64 bits."
  (when (zerop (entropy-left entropy))
    (fill-up entropy))
  (let ((at (1- (entropy-left entropy))))
    (setf (entropy-left entropy) at)
    (aref (entropy-drawn entropy) at)))

(defun entropy-bits (entropy count)
  "Return a random number of COUNT bits, at most 64."
  (ldb (byte count 0) (entropy-draw entropy)))

(defun fill-up (entropy)
  (with-open-file (system "/dev/urandom" :element-type '(unsigned-byte 64))
    (setf (entropy-left entropy) (read-sequence (entropy-drawn entropy) system)))
  (assert (plusp (entropy-left entropy))))
