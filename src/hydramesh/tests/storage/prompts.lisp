(defpackage #:hydramesh/tests/storage/prompts
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/storage/limits #:+prompt-blocks+)
  (:import-from #:hydramesh/storage/prompts #:make-prompts #:note-prompt)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "That it is told of prompts how they begin, and nothing else."))
(in-package #:hydramesh/tests/storage/prompts)

(fiveam:def-suite prompts :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite prompts)

(defun blocks (&rest numbers)
  (coerce numbers '(simple-array (unsigned-byte 64) (*))))

(defun noted (prompts at &rest numbers)
  (multiple-value-list (note-prompt prompts (apply #'blocks numbers) at)))

(test prompts-that-begin-alike-are-told-to
  (let ((prompts (make-prompts)))
    (is (equal '(1000 0 0) (noted prompts 1000 11 12 13)))
    (is (equal '(1001 0 0) (noted prompts 1000 21)))
    ;; It goes on after the third block of the first.
    (is (equal '(1002 1000 3) (noted prompts 1000 11 12 13 14)))
    (is (equal '(1003 1000 2) (noted prompts 900 11 12 33)))
    ;; Nothing of it is new, and its last block came with the third.
    (is (equal '(2000 1002 4) (noted prompts 2000 11 12 13 14)))
    (is (equal '(2001 1003 3) (noted prompts 2000 11 12 33 34 35)))))

(test what-was-seen-long-ago-is-forgotten-and-what-comes-again-is-not
  (let ((prompts (make-prompts)))
    (noted prompts 1 11 12)
    (noted prompts 1 21 22)
    (loop repeat (floor +prompt-blocks+ 16)
          for number from 100 by 32
          do (note-prompt prompts (coerce (loop for index below 32 collect (+ number index))
                                          '(simple-array (unsigned-byte 64) (*)))
                          1)
             (noted prompts 1 11 12))
    (is (= 2 (third (noted prompts 1 11 12 13))))
    (is (= 0 (third (noted prompts 1 21 22 23))))))
