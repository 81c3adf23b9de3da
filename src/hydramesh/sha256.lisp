(defpackage #:hydramesh/sha256
  (:use #:cl)
  (:export #:sha256-hex)
  (:documentation "SHA-256 (FIPS 180-4)."))
(in-package #:hydramesh/sha256)

(deftype word () '(unsigned-byte 32))
(deftype words () '(simple-array word (*)))
(deftype octets () '(simple-array (unsigned-byte 8) (*)))

(eval-when (:compile-toplevel :load-toplevel :execute)
  (defun primes (count)
    (loop with found = '()
          for number from 2
          until (= (length found) count)
          do (when (notany (lambda (prime) (zerop (mod number prime))) found)
               (setf found (append found (list number))))
          finally (return found)))

  (defun root-bits (number root)
    "Return the first 32 bits of the fraction of the ROOT-th root of NUMBER, 2 or 3."
    (let* ((scaled (* number (expt 2 (* 32 root))))
           (low 0) (high (ash number 33)))
      (loop while (< (1+ low) high)
            do (let ((middle (floor (+ low high) 2)))
                 (if (<= (expt middle root) scaled)
                     (setf low middle)
                     (setf high middle))))
      (ldb (byte 32 0) low)))

  (defun constants (count root)
    (map '(simple-array (unsigned-byte 32) (*)) (lambda (prime) (root-bits prime root)) (primes count))))

(declaim (type words +start+ +round+))
(sb-ext:defglobal +start+ #.(constants 8 2))
(sb-ext:defglobal +round+ #.(constants 64 3))

(declaim (inline rotated))
(defun rotated (word count)
  "Return WORD rotated to the right by COUNT bits."
  (declare (type word word) (type (integer 1 31) count))
  (logior (ash word (- count)) (ldb (byte 32 0) (ash word (- 32 count)))))

(defmacro sum (&rest words)
  `(ldb (byte 32 0) (+ ,@words)))

(defun padded (octets)
  "Return OCTETS, a 1 bit, zeros, and the number of bits, to a multiple of 64 octets."
  (let* ((size (length octets))
         (whole (* 64 (ceiling (+ size 9) 64)))
         (padded (make-array whole :element-type '(unsigned-byte 8) :initial-element 0)))
    (replace padded octets)
    (setf (aref padded size) #x80)
    (dotimes (index 8 padded)
      (setf (aref padded (- whole 1 index)) (ldb (byte 8 (* 8 index)) (* 8 size))))))

(defun schedule (block start schedule)
  (declare (type octets block) (type words schedule) (type fixnum start) (optimize speed))
  (dotimes (index 16)
    (let ((at (+ start (* 4 index))))
      (declare (type fixnum at))
      (setf (aref schedule index)
            (logior (ash (aref block at) 24) (ash (aref block (+ at 1)) 16)
                    (ash (aref block (+ at 2)) 8) (aref block (+ at 3))))))
  (loop for index of-type fixnum from 16 below 64
        do (let ((one (aref schedule (- index 15))) (other (aref schedule (- index 2))))
             (setf (aref schedule index)
                   (sum (aref schedule (- index 16))
                        (logxor (rotated one 7) (rotated one 18) (ash one -3))
                        (aref schedule (- index 7))
                        (logxor (rotated other 17) (rotated other 19) (ash other -10)))))))

(defun compress (state schedule)
  (declare (type words state schedule) (optimize speed))
  (let ((a (aref state 0)) (b (aref state 1)) (c (aref state 2)) (d (aref state 3))
        (e (aref state 4)) (f (aref state 5)) (g (aref state 6)) (h (aref state 7)))
    (declare (type word a b c d e f g h))
    (dotimes (index 64)
      (let ((one (sum h (logxor (rotated e 6) (rotated e 11) (rotated e 25))
                      (logxor (logand e f) (logandc1 e g))
                      (aref +round+ index) (aref schedule index)))
            (two (sum (logxor (rotated a 2) (rotated a 13) (rotated a 22))
                      (logxor (logand a b) (logand a c) (logand b c)))))
        (setf h g g f f e e (sum d one) d c c b b a a (sum one two))))
    (loop for value of-type word in (list a b c d e f g h)
          for index of-type fixnum from 0
          do (setf (aref state index) (sum (aref state index) value)))))

(defun sha256-hex (octets)
  "Return the SHA-256 of OCTETS, a vector, in hexadecimal."
  (let ((padded (padded octets))
        (state (copy-seq +start+))
        (schedule (make-array 64 :element-type 'word)))
    (loop for start from 0 below (length padded) by 64
          do (schedule padded start schedule)
             (compress state schedule))
    (format nil "~(~{~8,'0x~}~)" (coerce state 'list))))
