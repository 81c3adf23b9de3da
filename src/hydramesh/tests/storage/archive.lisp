(defpackage #:hydramesh/tests/storage/archive
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/storage/store
                #:store-read #:store-list #:store-write #:store-close #:store-traffic-chunks
                #:+traffic+ #:+minutes+ #:+hours+ #:storage-damaged #:storage-failure #:storage-newer
                #:storage-unavailable)
  (:import-from #:hydramesh/storage/codec
                #:make-writer #:writer-octets #:writer-length #:write-number #:write-text)
  (:import-from #:hydramesh/storage/archive
                #:open-archive #:archive-rates #:archive-counters #:archive-add-task
                #:archive-add-sample #:archive-add-rate #:archive-set-counters #:archive-write
                #:map-traffic)
  (:import-from #:hydramesh/storage/traffic
                #:make-passage #:passage-arrival #:passage-total #:passage-ran #:passage-client #:passage-prompt-tokens
                #:passage-blocks #:passage-cold-p #:make-chunk #:chunk-add #:chunk-octets
                #:chunk-passages)
  (:import-from #:hydramesh/storage/timeline
                #:make-minutes #:make-hours #:timeline-rows-since #:metric-index)
  (:import-from #:hydramesh/storage/limits #:+rates-kept+)
  (:import-from #:hydramesh/storage/rates #:rates-get #:rates-list)
  (:export #:make-fake #:passage)
  (:documentation "What is kept, and for how long."))
(in-package #:hydramesh/tests/storage/archive)

(fiveam:def-suite archive :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite archive)

;;; A store in memory, which fails when it is told to.

(defstruct (fake (:constructor make-fake (&optional (chunks 2048))))
  (table (make-hash-table :test #'equal))
  (chunks 0)
  (failing nil))

(defmethod store-read ((store fake) kind number)
  (values (gethash (list kind number) (fake-table store))))

(defmethod store-list ((store fake) kind)
  (sort (loop for (its number) being the hash-keys of (fake-table store)
              when (= its kind) collect number)
        #'<))

(defmethod store-write ((store fake) changes)
  (when (fake-failing store)
    (error 'storage-unavailable :reason "the test says so"))
  (loop for (kind number content) in changes
        do (if content
               (setf (gethash (list kind number) (fake-table store)) content)
               (remhash (list kind number) (fake-table store)))))

(defmethod store-close ((store fake)))

(defmethod store-traffic-chunks ((store fake))
  (fake-chunks store))

(defun us (&key (days 0) (hours 0) (minutes 0) (seconds 0))
  "Return a time: so much after some midnight."
  (+ (* 19000 24 3600 1000000)
     (* 1000000 (+ seconds (* 60 (+ minutes (* 60 (+ hours (* 24 days)))))))))

(defun passage (arrival &key (outcome "DONE") (model "some/model"))
  (make-passage :arrival arrival :kind "text" :model model :worker "w" :outcome outcome :needs 6
                :bytes-in 100 :bytes-out 200 :wanted 50 :made 40 :queued 1000 :running 9000 :moved 1
                :client 5 :host 65535 :tags '("gpu" "größer") :streamed-p t :weight 100
                :deadline 600000000 :reading 12 :first 2500 :ran 8000
                :prompt-tokens 900 :cached-tokens 700 :cold-p t :beside "v" :beside-ran 7000
                :prompt (+ arrival 500) :parent (- arrival 500) :shared 4 :blocks 6))

(defun passages (store &key (since 0))
  (let ((found '()))
    (map-traffic (lambda (passage) (push passage found)) store :since since)
    (nreverse found)))

(defun rows (timeline store &optional (since 0))
  (let ((found '()))
    (timeline-rows-since timeline store since (lambda (start row) (push (cons start row) found)))
    (nreverse found)))

(defun metric (row name)
  (aref (cdr row) (metric-index name)))

(test passages-come-back-as-they-were
  (let ((chunk (make-chunk))
        (passages (list (passage (us)) (passage (us :seconds 5) :model "ein anderes: größer")
                        (passage (us :seconds 2) :outcome "WORKER_LOST")
                        (make-passage) (passage (us :days 1)))))
    (dolist (passage passages)
      (chunk-add chunk passage))
    (is (equalp passages (chunk-passages (chunk-octets chunk))))))

(defun first-version ()
  "Return a chunk of two tasks as HydraMesh wrote them before a chunk had a version."
  (let ((writer (make-writer)))
    (flet ((numbers (&rest numbers)
             (dolist (number numbers) (write-number number writer)))
           (name (index text)
             (write-number index writer)
             (write-text text writer)))
      (numbers (* 2 (us)))
      (loop for text in '("text" "some/model" "w" "DONE")
            for index from 0
            do (name index text))
      (numbers 6 100 200 50 40 1000 9000 1)
      (numbers (* 2 5000000) 0 1 2 3 6 101 200 50 40 1000 9000 0))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(test what-an-earlier-version-wrote-is-read
  (let ((passages (chunk-passages (first-version))))
    (is (equal (list (us) (us :seconds 5)) (mapcar #'passage-arrival passages)))
    (is (= 10000 (passage-total (first passages))))
    (is (= 9000 (passage-ran (first passages))))
    (is (= 0 (passage-client (second passages))))))

(defun second-version ()
  "Return a chunk of one task as HydraMesh wrote it when it knew nothing of prompts."
  (let ((writer (make-writer)))
    (flet ((numbers (&rest numbers)
             (dolist (number numbers) (write-number number writer)))
           (name (index text)
             (write-number index writer)
             (write-text text writer)))
      (numbers 3 (* 2 (us)))
      (loop for text in '("text" "some/model" "w" "DONE")
            for index from 0
            do (name index text))
      (numbers 6 100 200 50 40 1000 9000 1 5 65535 1)
      (name 4 "gpu")
      (numbers 2 100 600000000 12 2500 8000))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(test what-the-second-version-wrote-is-read
  (let ((passage (first (chunk-passages (second-version)))))
    (is (= 8000 (passage-ran passage)))
    (is (= 0 (passage-prompt-tokens passage) (passage-blocks passage)))
    (is (not (passage-cold-p passage)))))

(test what-a-later-version-wrote-is-left-alone
  (let ((octets (chunk-octets (make-chunk))))
    (setf (aref octets 0) 99)
    (signals storage-newer (chunk-passages octets))))

(test a-damaged-chunk-is-noticed
  (let ((chunk (make-chunk)) (state (sb-ext:seed-random-state 1)))
    (loop repeat 20 do (chunk-add chunk (passage (us))))
    (let ((octets (chunk-octets chunk)))
      (signals storage-damaged (chunk-passages (subseq octets 0 (1- (length octets)))))
      (loop repeat 2000
            do (let ((changed (copy-seq octets)))
                 (setf (aref changed (random (length changed) state)) (random 256 state))
                 (handler-case (chunk-passages changed)
                   (storage-failure ()))))
      (fiveam:pass))))

(test a-task-is-there-once-it-is-written
  (let* ((store (make-fake)) (archive (open-archive store)))
    (archive-add-task archive (passage (us)) (us :seconds 1))
    (archive-write archive (us :seconds 2))
    (archive-add-task archive (passage (us :seconds 3)) (us :seconds 4))
    (is (= 1 (length (passages store))))
    (archive-write archive (us :seconds 5))
    (is (equalp (list (passage (us)) (passage (us :seconds 3))) (passages store)))
    (is (equalp (list (passage (us :seconds 3))) (passages store :since (us :seconds 1))))))

(test what-a-failing-store-refused-is-written-later
  (let* ((store (make-fake)) (archive (open-archive store)))
    (archive-add-task archive (passage (us)) (us :seconds 1))
    (setf (fake-failing store) t)
    (signals storage-unavailable (archive-write archive (us :seconds 1)))
    (setf (fake-failing store) nil)
    (archive-write archive (us :seconds 2))
    (is (= 1 (length (passages store))))
    (is (= 1 (metric (first (rows (make-minutes) store)) :tasks)))))

(test traffic-is-kept-for-a-day
  (let* ((store (make-fake)) (archive (open-archive store)))
    (loop for hour below 60
          do (loop repeat 1024 ; a chunk
                   do (archive-add-task archive (passage (us :hours hour)) (us :hours hour)))
             (archive-write archive (us :hours hour)))
    (let ((oldest (reduce #'min (mapcar #'passage-arrival (passages store)))))
      (is (<= (us :hours 34) oldest (us :hours 35))))))

(test no-load-makes-traffic-larger
  (let* ((store (make-fake 5)) (archive (open-archive store)))
    (loop for second below 100
          do (loop repeat 1024
                   do (archive-add-task archive (passage (us :seconds second)) (us :seconds second)))
             (archive-write archive (us :seconds second)))
    (is (<= (length (store-list store +traffic+)) 7))
    (is (= (us :seconds 99) (reduce #'max (mapcar #'passage-arrival (passages store)))))))

(test a-clock-that-was-set-back-does-no-harm
  (let* ((store (make-fake)) (archive (open-archive store)))
    (dolist (now (list (us :days 1000) (us) (us :minutes 1) (us :days 1)))
      (loop repeat 1024
            do (archive-add-task archive (passage now) now))
      (archive-write archive now))
    (is (= (* 4 1024) (length (passages store))))
    (is (= 4 (length (rows (make-minutes) store))))))

(test a-restart-goes-on
  (let* ((store (make-fake)) (archive (open-archive store)))
    (archive-add-task archive (passage (us)) (us))
    (archive-add-rate archive "w" "m" 12.5d0 (us))
    (archive-set-counters archive '(("a" . 1) ("b" . 2)))
    (archive-write archive (us) :all t)
    (let ((again (open-archive store)))
      (is (equal '(("a" . 1) ("b" . 2)) (archive-counters again)))
      (is (= 12.5d0 (rates-get (archive-rates again) "w" "m")))
      (archive-add-task again (passage (us :seconds 9)) (us :seconds 9))
      (archive-write again (us :seconds 9))
      (is (= 2 (length (passages store))))
      (is (= 2 (metric (first (rows (make-minutes) store)) :tasks)))
      (is (= 2 (metric (first (rows (make-hours) store)) :tasks))))))

(test a-row-says-what-happened-in-its-minute
  (let* ((store (make-fake)) (archive (open-archive store)))
    (archive-add-task archive (passage (us)) (us :seconds 10))
    (archive-add-task archive (passage (us) :outcome "CANCELLED") (us :seconds 20))
    (archive-add-task archive (passage (us) :outcome "TIMEOUT") (us :seconds 59))
    (archive-add-sample archive 3 4 5 (us :seconds 30))
    (archive-add-sample archive 1 9 2 (us :seconds 31))
    (archive-add-task archive (passage (us)) (us :minutes 1))
    (archive-write archive (us :minutes 1))
    (let* ((rows (rows (make-minutes) store)) (first (first rows)) (hours (rows (make-hours) store)))
      (is (= 2 (length rows)))
      (is (= (floor (us) 1000000) (car first)))
      (loop for (name value) in '((:tasks 3) (:done 1) (:cancelled 1) (:failed 1) (:moved 3)
                                  (:tokens 120) (:bytes-in 300) (:queue-us 3000) (:run-us 27000)
                                  (:queued 3) (:in-flight 9) (:workers 5))
            do (is (= value (metric first name)) "~A" name))
      (is (= 1 (length hours)))
      (is (= 4 (metric (first hours) :tasks))))))

(test minutes-are-kept-for-30-days-and-hours-for-two-years
  (let* ((store (make-fake)) (archive (open-archive store)))
    (loop for day from 0 to 800
          do (archive-add-sample archive 1 1 1 (us :days day))
             (archive-write archive (us :days day)))
    (flet ((days (timeline)
             (floor (- (us :days 800) (* 1000000 (car (first (rows timeline store)))))
                    (* 24 3600 1000000))))
      (is (<= 30 (days (make-minutes)) 31))
      (is (<= 730 (days (make-hours)) 733)))
    (is (<= (length (store-list store +minutes+)) 722))
    (is (<= (length (store-list store +hours+)) 734))))

(test rates-are-bounded
  (let* ((store (make-fake)) (archive (open-archive store)))
    (dotimes (number 10000)
      (archive-add-rate archive (format nil "w~D" number) "m" 1d0 (us :seconds number)))
    (is (<= (length (rates-list (archive-rates archive))) +rates-kept+))
    (is (rates-get (archive-rates archive) "w9999" "m"))
    (archive-add-rate archive "bad" "m" sb-ext:double-float-positive-infinity (us))
    (archive-add-rate archive "bad" "m" -1d0 (us))
    (is (null (rates-get (archive-rates archive) "bad" "m")))))

(test names-of-any-length-are-cut
  (let* ((store (make-fake)) (archive (open-archive store)))
    (archive-add-task archive (passage (us) :model (make-string 100000 :initial-element #\ä)) (us))
    (archive-write archive (us))
    (is (= 128 (length (hydramesh/storage/traffic:passage-model (first (passages store))))))))
