(defpackage #:hydramesh/tests/prompt-blocks
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:test #:is)
  (:import-from #:hydramesh/entropy #:make-entropy)
  (:import-from #:hydramesh/head/read-prompts
                #:make-read-prompts #:read-prompts-count #:note-read #:bytes-read #:share-kept #:learn-kept
                #:forget-unless)
  (:import-from #:hydramesh/prompt-blocks #:hashes-in #:read-bytes)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "What is made of Task.prefix, and what is remembered of it."))
(in-package #:hydramesh/tests/prompt-blocks)

(def-suite prompt-blocks :in hydramesh/tests/suite:hydramesh)
(in-suite prompt-blocks)

(defun octets (count)
  (let ((octets (make-array count :element-type '(unsigned-byte 8))))
    (dotimes (place count octets)
      (setf (aref octets place) (random 256)))))

(defun hashes (&rest numbers)
  (coerce numbers '(simple-array (unsigned-byte 64) (*))))

(test blocks-end-where-clients-end-them
  (is (equal '(0 256 4096 4608 8192 262144) (mapcar #'read-bytes '(0 1 16 17 24 64)))))

(test hashes-are-eight-octets-each-and-64-at-most
  (is (equalp #(#x0102030405060708 #xfffefdfcfbfaf9f8)
              (hashes-in (coerce '(1 2 3 4 5 6 7 8 255 254 253 252 251 250 249 248)
                                 '(simple-array (unsigned-byte 8) (*))))))
  (is (equalp #() (hashes-in (octets 0))))
  (is (equalp #() (hashes-in (octets 7))))
  (is (equalp #() (hashes-in (octets 801))))
  (is (= 64 (length (hashes-in (octets 800))))))

(test what-was-read-is-known-up-to-the-first-block-that-was-not
  (let ((read (make-read-prompts 1024 (make-entropy))))
    (note-read read "m" (hashes 1 2 0 4))
    (is (= 1024 (bytes-read read "m" (hashes 1 2 0 4 5))))
    (is (= 512 (bytes-read read "m" (hashes 1 2 3 4))))
    (is (= 0 (bytes-read read "m" (hashes 3 1))))
    (is (= 0 (bytes-read read "n" (hashes 1 2))))))

(test the-latest-half-at-least-is-kept-and-no-more-than-all
  (let ((read (make-read-prompts 100 (make-entropy))))
    (loop for first from 1 to 10000 by 7
          do (note-read read "m" (apply #'hashes (loop for block from first repeat 7 collect block)))
             (is (<= (read-prompts-count read) 100))
             (loop for earlier from (max 1 (- first 42)) to first by 7
                   do (unless (= 256 (bytes-read read "m" (hashes earlier)))
                        (fiveam:fail "~D is forgotten after ~D" earlier first)
                        (return))))
    (is (= 0 (bytes-read read "m" (hashes 1))))))

(test what-is-read-again-and-again-stays
  (let ((read (make-read-prompts 100 (make-entropy))))
    (loop for block from 2 to 1000
          do (note-read read "m" (hashes 1 block)))
    (is (= 256 (bytes-read read "m" (hashes 1))))))

(test what-a-cache-has-no-room-for-is-forgotten-the-least-recently-used-first
  (let ((read (make-read-prompts 1024 (make-entropy)))
        (room (* 5 256)))
    (flet ((note (&rest blocks)
             (note-read read "m" (apply #'hashes blocks) room))
           (bytes (&rest blocks)
             (bytes-read read "m" (apply #'hashes blocks))))
      (note 1 2)
      (note 3 4)
      (note 1 2)
      (note 5 6)
      (is (equal '(512 0 512) (list (bytes 1 2) (bytes 3 4) (bytes 5 6))))
      (note 1 7)                        ; what it shares with an earlier one is there once
      (is (equal '(512 512 512) (list (bytes 1 7) (bytes 1 2) (bytes 5 6))))
      (note-read read "n" (hashes 8 9 10 11) room)
      (is (= 512 (bytes 5 6)))
      (apply #'note (loop for block from 20 repeat 16 collect block))
      (is (= 4096 (apply #'bytes (loop for block from 20 repeat 16 collect block)))
          "The last one is there as far as is known, however long it is.")
      (is (= 0 (bytes 5 6)))
      (dotimes (round 50)
        (note 40 40 40)
        (note 41 42))
      (is (= 512 (bytes 41 42))))))

(test a-model-that-is-forgotten-has-read-nothing-and-may-read-again
  (let ((read (make-read-prompts 100 (make-entropy))))
    (note-read read "m" (hashes 1))
    (note-read read "n" (hashes 2))
    (learn-kept read "m" 0d0)
    (is (= 0.5d0 (share-kept read "m")))
    (forget-unless read (lambda (model) (string= model "n")))
    (is (= 0 (bytes-read read "m" (hashes 1))))
    (is (= 256 (bytes-read read "n" (hashes 2))))
    (note-read read "m" (hashes 3))
    (is (= 0 (bytes-read read "m" (hashes 1))))
    (is (= 256 (bytes-read read "m" (hashes 3))))
    (is (= 1d0 (share-kept read "m")))))
