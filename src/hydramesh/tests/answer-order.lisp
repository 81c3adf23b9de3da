(defpackage #:hydramesh/tests/answer-order
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:signals #:test)
  (:import-from #:hydramesh/answer-order
                #:make-answer-order #:make-answer-limits #:too-much #:answer-order-accept
                #:answer-order-follow
                #:answer-order-early-bytes #:answer-order-finished-p #:answer-order-resume-here
                #:answer-order-task)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:local-nicknames (#:pb #:hydramesh/schema)))
(in-package #:hydramesh/tests/answer-order)

(def-suite answer-order :in hydramesh
  :description "Parts are passed on in order and once, and an answer can be continued.")
(in-suite answer-order)

(defun part (index &key (text (format nil "~d " index)) final started-over)
  (pb:make-result :index index :text text :final final :started-over started-over
                  :tokens (coerce (list index) '(simple-array (unsigned-byte 32) (*)))))

(defun indices (parts)
  (mapcar #'pb:result-index parts))

(defun accept (order part)
  "Return a list of what may be passed on now."
  (loop for ready = (answer-order-accept order part) then (answer-order-follow order)
        while ready
        collect ready))

(defun order (&rest limits)
  (make-answer-order (pb:make-task) (apply #'make-answer-limits limits)))

(test parts-in-any-order-are-passed-on-in-theirs
  (let ((order (order)))
    (is (equal '() (indices (accept order (part 2)))))
    (is (equal '() (indices (accept order (part 1)))))
    (is (plusp (answer-order-early-bytes order)))
    (is (equal '(0 1 2) (indices (accept order (part 0)))))
    (is (= 0 (answer-order-early-bytes order)))
    (is (equal '() (indices (accept order (part 1)))))
    (is (equal '(3) (indices (accept order (part 3 :final t)))))
    (is (answer-order-finished-p order))
    (is (equal '() (indices (accept order (part 4)))))))

(test a-second-run-continues-after-what-was-passed-on
  (let ((order (order)))
    (mapc (lambda (index) (accept order (part index))) '(0 1 3))
    (answer-order-resume-here order)
    (let ((resume (pb:task-resume (answer-order-task order))))
      (is (= 2 (pb:resume-index resume)))
      (is (string= "0 1 " (pb:resume-text resume)))
      (is (equalp #(0 1) (pb:resume-tokens resume))))
    (is (= 0 (answer-order-early-bytes order)))
    (accept order (part 2 :text "zwei‐"))
    (answer-order-resume-here order)
    (is (string= "0 1 zwei‐" (pb:resume-text (pb:task-resume (answer-order-task order)))))))

(test what-comes-before-a-part-that-starts-over-is-dropped
  (let ((order (order)))
    (mapc (lambda (index) (accept order (part index))) '(0 1))
    (accept order (part 2 :started-over t))
    (answer-order-resume-here order)
    (is (string= "2 " (pb:resume-text (pb:task-resume (answer-order-task order)))))
    (is (= 3 (pb:resume-index (pb:task-resume (answer-order-task order)))))))

(test more-than-is-kept-is-refused
  (signals too-much (accept (order :ahead 16) (part 16)))
  (let ((order (order :ahead-bytes 300)))
    (is (null (accept order (part 1 :text (make-string 400 :initial-element #\a)))))
    (signals too-much (accept order (part 2))))
  (let ((order (order :delivered 100)))
    (accept order (part 0))
    (accept order (part 1))
    (signals too-much (accept order (part 2)))))

(test what-was-passed-on-before-too-much-came-counts
  (let ((order (order :delivered 100))
        (passed '()))
    (accept order (part 1))
    (accept order (part 2))
    (signals too-much
      (loop for ready = (answer-order-accept order (part 0)) then (answer-order-follow order)
            while ready
            do (push (pb:result-index ready) passed)))
    (answer-order-resume-here order)
    (is (= (length passed) (pb:resume-index (pb:task-resume (answer-order-task order)))))))

(test a-part-that-waits-takes-no-more-memory-than-it-came-in
  (let* ((order (order))
         (part (pb:make-result :index 1 :images (loop repeat 1000 collect (pb:make-image))))
         (payload (pb:encode part)))
    (answer-order-accept order part payload)
    (is (= (length payload) (answer-order-early-bytes order)))
    (loop for held being the hash-values of (hydramesh/answer-order::answer-order-early order)
          do (is (eq payload held)))
    (is (= 1000 (length (pb:result-images (second (accept order (part 0)))))))))
