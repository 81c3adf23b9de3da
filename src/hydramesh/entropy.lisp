(defpackage #:hydramesh/entropy
  (:use #:cl)
  (:import-from #:cffi)
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
  ;; Without a file: a head that has no descriptor left works on.
  (let ((drawn (entropy-drawn entropy)) (size (* 8 +at-once+)))
    (cffi:with-pointer-to-vector-data (target drawn)
      (loop with filled = 0
            while (< filled size)
            do (let ((count (cffi:foreign-funcall "getrandom" :pointer (cffi:inc-pointer target filled)
                                                              :size (- size filled) :unsigned-int 0 :ssize)))
                 (if (plusp count)
                     (incf filled count)
                     ;; A signal has come.
                     (assert (= (sb-alien:get-errno) sb-unix:eintr))))))
    (setf (entropy-left entropy) +at-once+)))
