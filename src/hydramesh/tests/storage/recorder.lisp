(defpackage #:hydramesh/tests/storage/recorder
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:sb-posix)
  (:import-from #:uiop)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/head/observer #:make-finished-task #:observe-task #:observe-rate)
  (:import-from #:hydramesh/head/statistics
                #:make-statistics #:statistics-count-outcome #:statistics-moved #:statistics-queued
                #:durations-add)
  (:import-from #:hydramesh/storage/archive #:map-traffic)
  (:import-from #:hydramesh/storage/counters
                #:counters-of #:restore-counters #:counters-octets #:counters-read)
  (:import-from #:hydramesh/storage/opening #:open-storage #:storage-path)
  (:import-from #:hydramesh/storage/recorder
                #:start-recorder #:stop-recorder #:recorder-counters #:recorder-rate #:recorder-sample
                #:recorder-settle #:recorder-figures)
  (:import-from #:hydramesh/storage/ring #:make-ring #:ring-put #:ring-take #:ring-lost)
  (:import-from #:hydramesh/storage/store #:store-close)
  (:import-from #:hydramesh/storage/traffic #:passage-client #:passage-host #:passage-tags)
  (:import-from #:hydramesh/tests/storage/stores #:in-every-store)
  (:documentation "That what is handed over is written, and that nothing is worse than not being written."))
(in-package #:hydramesh/tests/storage/recorder)

(fiveam:def-suite recorder :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite recorder)

(defun task ()
  (make-finished-task :kind "text" :model "m" :outcome "DONE" :worker "w" :queued 5 :running 6
                      :total 11 :bytes-in 7 :bytes-out 8 :made 9 :wanted 10 :needs 3
                      :client "somebody" :host "192.0.2.7" :weight 100 :ran 6
                      :tags (loop repeat 20 collect (make-string 100 :initial-element #\t))))

(defun folder (path)
  (subseq path 0 (position #\/ path :from-end t)))

(defun tasks-in (state-dir storage)
  (let ((store (open-storage (storage-path state-dir storage) storage :writing nil)) (count 0))
    (unwind-protect (map-traffic (lambda (passage) (declare (ignore passage)) (incf count)) store)
      (store-close store))
    count))

(defun tasks-of (state-dir storage)
  (let ((store (open-storage (storage-path state-dir storage) storage :writing nil)) (found '()))
    (unwind-protect (map-traffic (lambda (passage) (push passage found)) store)
      (store-close store))
    found))

(defun figure (name recorder)
  (fourth (find name (recorder-figures recorder) :key #'first :test #'string=)))

(test a-ring-loses-what-it-has-no-room-for
  (let ((ring (make-ring 3)))
    (dotimes (number 5) (ring-put ring number))
    (is (equal '(0 1 2 nil) (loop repeat 4 collect (ring-take ring))))
    (is (= 2 (ring-lost ring)))
    (ring-put ring 7)
    (is (= 7 (ring-take ring)))))

(test a-ring-keeps-the-order-between-two-threads
  (let* ((ring (make-ring 64)) (many 200000)
         (taker (sb-thread:make-thread
                 (lambda ()
                   (loop with last = 0
                         for item = (ring-take ring)
                         do (cond ((null item) (sb-thread:thread-yield))
                                  ((eq item :end) (return last))
                                  ((> item last) (setf last item))
                                  (t (return :disorder))))))))
    (loop for number from 1 to many
          do (ring-put ring number))
    (loop for lost = (ring-lost ring)
          do (ring-put ring :end)
             (sb-thread:thread-yield)
          until (= lost (ring-lost ring)))
    (is (integerp (sb-thread:join-thread taker)))))

(test what-was-settled-is-on-the-disk
  (in-every-store (storage path)
    (let* ((folder (folder path)) (recorder (start-recorder folder storage)))
      (is (null (recorder-counters recorder)))
      (dotimes (number 3000) (observe-task recorder (task) number))
      (is (recorder-settle recorder 10))
      (is (= 3000 (tasks-in folder storage)))
      (is (= 3000 (figure "hydramesh_recorded" recorder)))
      (is (stop-recorder recorder 10)))))

(test who-asked-is-kept-as-a-pseudonym-of-this-store-alone
  (in-every-store (storage path)
    (let ((folder (folder path)) (kept '()))
      (dotimes (time 2)
        (let ((recorder (start-recorder folder storage)))
          (observe-task recorder (task) 0)
          (is (stop-recorder recorder 10))))
      (dolist (passage (tasks-of folder storage))
        (push (passage-client passage) kept)
        (is (< 0 (passage-client passage) 65536))
        (is (/= (passage-client passage) (passage-host passage)))
        (is (= 1 (length (passage-tags passage)))))
      (is (= (first kept) (second kept)))
      (with-open-file (file (storage-path folder storage) :element-type '(unsigned-byte 8))
        (let ((octets (make-array (file-length file) :element-type '(unsigned-byte 8))))
          (read-sequence octets file)
          (dolist (name '("somebody" "192.0.2.7"))
            (is (null (search (sb-ext:string-to-octets name) octets)))))))))

(test a-recorder-goes-on-where-the-last-one-stopped
  (in-every-store (storage path)
    (let* ((folder (folder path)) (recorder (start-recorder folder storage)))
      (recorder-sample recorder '(("a" . 7)) 1 2 3)
      (observe-rate recorder "worker" "model" 42d0 0)
      (observe-task recorder (task) 0)
      (is (= 42d0 (recorder-rate recorder "worker" "model")))
      (is (stop-recorder recorder 10))
      (let ((next (start-recorder folder storage)))
        (is (equal '(("a" . 7)) (recorder-counters next)))
        (is (= 42d0 (recorder-rate next "worker" "model")))
        (is (null (recorder-rate next "worker" "another")))
        (is (= 1 (tasks-in folder storage)))
        (is (stop-recorder next 10))))))

(test a-second-recorder-writes-nothing
  (in-every-store (storage path)
    (let* ((folder (folder path))
           (first (start-recorder folder storage))
           (second (start-recorder folder storage)))
      (is (= 0 (figure "hydramesh_recording" second)))
      (is (= 1 (figure "hydramesh_recording" first)))
      (observe-task second (task) 0)
      (is (not (recorder-settle second 10)))
      (is (stop-recorder second 10))
      (observe-task first (task) 0)
      (is (recorder-settle first 10))
      (is (= 1 (tasks-in folder storage)))
      (is (stop-recorder first 10)))))

(test a-damaged-file-is-replaced
  (in-every-store (storage path)
    (let ((folder (folder path)))
      (with-open-file (file (storage-path folder storage) :direction :output)
        (loop repeat 1000 do (write-line "this is no database" file)))
      (let ((recorder (start-recorder folder storage)))
        (observe-task recorder (task) 0)
        (is (recorder-settle recorder 10))
        (is (= 1 (tasks-in folder storage)))
        (is (probe-file (concatenate 'string (storage-path folder storage) ".damaged")))
        (is (stop-recorder recorder 10))))))

(test a-folder-that-cannot-be-made-stops-nothing
  (in-every-store (storage path)
    (with-open-file (file path :direction :output) (write-line "a file" file))
    (let ((recorder (start-recorder path storage)))
      (observe-task recorder (task) 0)
      (is (not (recorder-settle recorder 10)))
      (is (stop-recorder recorder 10))
      (is (= 1 (figure "hydramesh_unrecorded" recorder))))))

(test counters-go-on
  (let ((statistics (make-statistics)) (again (make-statistics)))
    (statistics-count-outcome statistics "text" "DONE")
    (statistics-count-outcome statistics "text" "DONE")
    (statistics-count-outcome statistics "status" "DONE")
    (incf (statistics-moved statistics) 3)
    (durations-add (statistics-queued statistics) 1500)
    (restore-counters (counters-read (counters-octets (counters-of statistics))) again)
    (is (equal (counters-of statistics) (counters-of again)))
    (statistics-count-outcome again "text" "DONE")
    (is (= 3 (cdr (assoc "outcome/text/DONE" (counters-of again) :test #'string=))))))

(test counters-of-a-later-version-are-passed-over
  (let ((statistics (make-statistics)))
    (restore-counters '(("new" . 1) ("queued/99" . 1) ("queued/x" . 1) ("outcome/text" . 1) ("a/b" . 2)) statistics)
    (is (equal (counters-of (make-statistics)) (counters-of statistics)))))
