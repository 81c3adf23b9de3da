(defpackage #:hydramesh/tests/id-table
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:test)
  (:import-from #:hydramesh/entropy #:make-entropy #:entropy-draw #:entropy-bits)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/recent-sequences
                #:make-recent-sequences #:recent-sequences-add #:recent-sequences-discard
                #:recent-sequences-member-p)
  (:import-from #:hydramesh/id-table
                #:make-id-table #:id-table-clear #:id-table-count #:id-table-get #:id-table-put
                #:id-table-remove #:id-table-values)
  (:import-from #:hydramesh/tests/suite #:hydramesh))
(in-package #:hydramesh/tests/id-table)

(def-suite id-table :in hydramesh
  :description "What is known by ids of 64 bits, and which of them were seen lately.")
(in-suite id-table)

(defparameter +largest+ (1- (ash 1 64)))

(test a-table-does-what-a-hash-table-does
  (let ((table (make-id-table (make-entropy)))
        (model (make-hash-table))
        (state (sb-ext:seed-random-state 1)))
    (flet ((some-id ()
             (case (random 3 state)
               (0 (random 300 state))
               (1 (- +largest+ (random 300 state)))
               (t (ash (random 300 state) 48)))))
      (dotimes (step 60000)
        (let ((id (some-id)))
          (if (zerop (random 3 state))
              (unless (eq (and (id-table-remove table id) t) (remhash id model))
                (return (is (null id) "It was wrong about whether ~d was there." id)))
              (setf (gethash id model) (id-table-put table id step)))))
      (is (= (hash-table-count model) (id-table-count table) (length (id-table-values table))))
      (is (loop for id being the hash-keys of model using (hash-value value)
                always (eql value (id-table-get table id))))
      (is (loop repeat 10000
                for id = (some-id)
                always (eql (gethash id model) (id-table-get table id))))
      (id-table-clear table)
      (is (= 0 (id-table-count table)))
      (is (null (id-table-get table 0))))))

(test random-numbers-differ
  (let* ((entropy (make-entropy))
         (drawn (loop repeat 2000 collect (entropy-draw entropy))))
    (is (= 2000 (length (remove-duplicates drawn))))
    (is (< (entropy-bits entropy 53) (ash 1 53)))))

(test numbers-are-remembered-for-two-generations-at-most
  (let ((recent (make-recent-sequences (make-entropy) (seconds 60) :capacity 3)))
    (loop for number below 6
          do (recent-sequences-add recent number (seconds 1)))
    (is (loop for number below 6 always (recent-sequences-member-p recent number)))
    (recent-sequences-add recent 6 (seconds 1))
    (is (not (recent-sequences-member-p recent 0)))
    (is (recent-sequences-member-p recent 3))
    (recent-sequences-discard recent 3)
    (is (not (recent-sequences-member-p recent 3)))
    (recent-sequences-add recent 7 (seconds 100))
    (is (recent-sequences-member-p recent 6))
    (is (not (recent-sequences-member-p recent 4)))))
