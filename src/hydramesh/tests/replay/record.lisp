(defpackage #:hydramesh/tests/replay/record
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals)
  (:import-from #:hydramesh/replay/record
                #:read-record #:record-arrivals #:record-held #:record-left-out #:record-passages
                #:record-replayed
                #:record-waiting #:too-many-tasks)
  (:import-from #:hydramesh/storage/archive #:archive-add-task #:archive-write #:open-archive)
  (:import-from #:hydramesh/storage/traffic #:passage-arrival #:passage-end)
  (:import-from #:hydramesh/tests/replay/simulation #:+start+ #:passage)
  (:import-from #:hydramesh/tests/storage/archive #:make-fake)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "That a record has what happened in its time, and no more than there is memory for."))
(in-package #:hydramesh/tests/replay/record)

(fiveam:def-suite record :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite record)

(defun store-with (passages)
  (let* ((store (make-fake)) (archive (open-archive store)))
    (dolist (passage (sort (copy-list passages) #'< :key #'passage-end))
      (archive-add-task archive passage (passage-end passage)))
    (archive-write archive (+ +start+ 100000000) :all t)
    store))

(test a-record-tells-what-ran-and-waited-when-it-began
  (let ((record (read-record (store-with (list (passage 1000000 2000000)             ; was over
                                               (passage 8000000 5000000)             ; ran
                                               (passage 9000000 2000000 :queued 4000000) ; waited
                                               (passage 12000000 1000000)
                                               (passage 12000000 1000000)
                                               (passage 13000000 1000000 :together-p t)))
                             (+ +start+ 10000000))))
    (is (= 1 (record-waiting record) (length (record-held record)) (record-left-out record)))
    (is (= 2 (length (record-replayed record))))
    (is (equal (list 10000000 12000000 12000001)
               (map 'list (lambda (at) (- at +start+)) (record-arrivals record))))
    (is (= 9000000 (- (passage-arrival (aref (record-passages record) 0)) +start+)))))

(test a-record-of-too-many-tasks-is-refused
  (let ((store (store-with (loop for index below 50 collect (passage (* index 1000) 1000)))))
    (signals too-many-tasks (read-record store +start+ 40))
    (is (= 39 (length (record-passages (read-record store (+ +start+ 10500) 40)))))))
