(defpackage #:hydramesh/storage/pseudonym
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:entropy-draw)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/storage/store #:storage-damaged)
  (:export #:salt #:make-salt #:draw-salt #:salt-octets #:salt-read #:keyed-hash #:pseudonym)
  (:documentation "Numbers in the place of clients' names, so that it can be told which tasks came from the
same one, and of a name that a policy has which tasks came from it, but not who asked.

A pseudonym is one of 65,535, by SipHash-2-4 (Aumasson and Bernstein, 2012) under a salt that each store draws
for itself. There are so few that of many names some share one: a guess that fits proves little."))
(in-package #:hydramesh/storage/pseudonym)

(defconstant +pseudonyms+ 65535)

(deftype word () '(unsigned-byte 64))

(defstruct (salt (:constructor make-salt (low high)))
  "A key of 128 bits."
  (low 0 :type word :read-only t)
  (high 0 :type word :read-only t))

(defun draw-salt (entropy)
  "Return a salt that nobody can guess."
  (make-salt (entropy-draw entropy) (entropy-draw entropy)))

(declaim (inline word-at plus rotated))

(defun word-at (octets start)
  "Return the word of the eight or fewer OCTETS from START, the lowest first."
  (declare (type octets octets) (type fixnum start))
  (let ((word 0))
    (declare (type word word))
    (loop for index of-type fixnum from start below (min (+ start 8) (length octets))
          for shift of-type (integer 0 64) from 0 by 8
          do (setf word (logior word (ldb (byte 64 0) (ash (aref octets index) shift)))))
    word))

(defun salt-octets (salt)
  "Return SALT as bytes."
  (let ((octets (make-array 16 :element-type '(unsigned-byte 8))))
    (dotimes (index 8 octets)
      (setf (aref octets index) (ldb (byte 8 (* 8 index)) (salt-low salt))
            (aref octets (+ 8 index)) (ldb (byte 8 (* 8 index)) (salt-high salt))))))

(defun salt-read (octets)
  "Return the salt that SALT-OCTETS made OCTETS of. Signal STORAGE-DAMAGED."
  (unless (= (length octets) 16)
    (error 'storage-damaged :reason "a part of it is not what was written"))
  (make-salt (word-at octets 0) (word-at octets 8)))

(defun plus (one other)
  (declare (type word one other))
  (ldb (byte 64 0) (+ one other)))

(defun rotated (word count)
  (declare (type word word) (type (integer 1 63) count))
  (logior (ldb (byte 64 0) (ash word count)) (ash word (- count 64))))

(defmacro rounds (count a b c d)
  "Mix the words A, B, C and D, variables, COUNT times."
  `(loop repeat ,count
         do (setf ,a (plus ,a ,b) ,b (logxor (rotated ,b 13) ,a) ,a (rotated ,a 32)
                  ,c (plus ,c ,d) ,d (logxor (rotated ,d 16) ,c)
                  ,a (plus ,a ,d) ,d (logxor (rotated ,d 21) ,a)
                  ,c (plus ,c ,b) ,b (logxor (rotated ,b 17) ,c) ,c (rotated ,c 32))))

(defun keyed-hash (octets salt)
  "Return SipHash-2-4 of OCTETS under SALT, 64 bits."
  (declare (type octets octets))
  (let* ((low (salt-low salt))
         (high (salt-high salt))
         (whole (* 8 (floor (length octets) 8)))
         (a (logxor low #x736f6d6570736575))
         (b (logxor high #x646f72616e646f6d))
         (c (logxor low #x6c7967656e657261))
         (d (logxor high #x7465646279746573)))
    (declare (type word low high a b c d) (type fixnum whole))
    (flet ((take (word)
             (declare (type word word))
             (setf d (logxor d word))
             (rounds 2 a b c d)
             (setf a (logxor a word))))
      (loop for start of-type fixnum from 0 below whole by 8
            do (take (word-at octets start)))
      (take (logior (ldb (byte 64 0) (ash (logand 255 (length octets)) 56)) (word-at octets whole))))
    (setf c (logxor c #xff))
    (rounds 4 a b c d)
    (logxor a b c d)))

(defun pseudonym (name salt)
  "Return the number that stands for NAME, 0 for none."
  (if (string= name "")
      0
      (1+ (mod (keyed-hash (coerce (sb-ext:string-to-octets name :external-format :utf-8) 'octets) salt)
               +pseudonyms+))))
