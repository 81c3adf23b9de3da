(defpackage #:hydramesh/tests/iot/record
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/domain/keeping #:close-keeping #:keep #:keeping-path #:kept-numbers #:open-keeping)
  (:import-from #:hydramesh/domain/node #:make-node #:node-store)
  (:import-from #:hydramesh/iot/chunks #:+minutes+ #:chunk-number)
  (:import-from #:hydramesh/iot/history
                #:read-histories #:history-device #:history-latest #:history-steps)
  (:import-from #:hydramesh/iot/record #:map-rows #:open-record #:record-note #:record-write)
  (:import-from #:hydramesh/iot/windows
                #:aggregate-count #:aggregate-least #:aggregate-most #:aggregate-sum)
  (:import-from #:hydramesh/storage/opening #:open-storage)
  (:import-from #:hydramesh/storage/store #:store-close)
  (:import-from #:hydramesh/tests/storage/stores #:in-every-store)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "What is kept of readings, and how it is shown."))
(in-package #:hydramesh/tests/iot/record)

(fiveam:def-suite readings :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite readings)

(defun call-recording (folder storage function)
  "Call FUNCTION with a node that keeps what it has in FOLDER, then close that."
  (let ((keeping (open-keeping folder storage)))
    (unwind-protect (funcall function (make-node nil 0 :store keeping))
      (close-keeping keeping))))

(defun rows (folder storage unit &rest options)
  "Return what is stored in FOLDER, as (device start count sum least most)."
  (let ((store (open-storage (keeping-path folder storage) storage :writing nil)) (rows '()))
    (unwind-protect
         (apply #'map-rows
                (lambda (sensor device start aggregate)
                  (declare (ignore sensor))
                  (push (list device start (aggregate-count aggregate) (aggregate-sum aggregate)
                              (aggregate-least aggregate) (aggregate-most aggregate))
                        rows))
                store unit options)
      (store-close store))
    (nreverse rows)))

(defmacro in-every-folder ((storage folder) &body body)
  (let ((path (gensym)))
    `(in-every-store (,storage ,path)
       (let ((,folder (subseq ,path 0 (position #\/ ,path :from-end t))))
         ,@body))))

(test readings-of-a-minute-are-a-row-that-is-there-after-a-restart
  (in-every-folder (storage folder)
    (call-recording folder storage
                    (lambda (node)
                      (let ((record (open-record node "air" 60)))
                        (record-note record "roof" -5 120)
                        (record-note record "roof" 7 179)
                        (record-note record "desk" 20 179)
                        (record-note record "roof" 100 180)
                        (record-write record))))
    (call-recording folder storage
                    (lambda (node)
                      (let ((record (open-record node "air" 60)) (other (open-record node "soil" 60)))
                        (record-note record "roof" 200 185)
                        (record-note other "roof" 1 185)
                        (record-write record)
                        (record-write other))))
    (is (equal '(("roof" 120 2 2 -5 7) ("desk" 120 1 20 20 20) ("roof" 180 1 100 100 100)
                 ("roof" 180 1 200 200 200))
               (rows folder storage 60 :sensor-name "air")))
    (is (equal '(("roof" 180 1 1 1 1)) (rows folder storage 60 :sensor-name "soil")))
    (is (= 5 (length (rows folder storage 60))))
    (is (equal '("roof" "roof") (mapcar #'first (rows folder storage 60 :sensor-name "air" :since 180))))))

(test a-chunk-that-is-damaged-hides-no-other
  (in-every-folder (storage folder)
    (call-recording folder storage
                    (lambda (node)
                      (keep node +minutes+ (chunk-number "air" 7) (vector 3 97 105 114 255 255 255))
                      (let ((record (open-record node "air" 60)))
                        (record-note record "roof" 7 120)
                        (record-write record))))
    (let ((*error-output* (make-broadcast-stream)))
      (is (equal '(("roof" 120 1 7 7 7)) (rows folder storage 60))))))

(test restarts-go-on-with-a-chunk-that-is-not-full
  (in-every-folder (storage folder)
    (loop for minute from 1 to 5
          do (call-recording folder storage
                             (lambda (node)
                               (let ((record (open-record node "air" 60)))
                                 (record-note record "roof" minute (* 60 minute))
                                 (record-note record (format nil "new ~D" minute) minute (* 60 minute))
                                 (record-write record)
                                 (is (= 1 (length (kept-numbers node +minutes+))))))))
    (is (equal '(1 2 3 4 5) (loop for (device nil nil sum) in (rows folder storage 60 :sensor-name "air")
                                  when (string= device "roof") collect sum)))
    (is (= 10 (length (rows folder storage 60))))))

(test the-oldest-rows-make-room
  (let* ((node (make-node nil 0)) (record (open-record node "air" 60)) (most 0))
    (loop for minute from 1 to 2600
          do (dotimes (index 700)
               (record-note record (format nil "a device with quite a long name, the number ~D" index) minute
                            (* 60 minute)))
             (when (zerop (mod minute 100))
               (setf most (max most (length (kept-numbers node +minutes+))))))
    (is (= 1000 most))))

(test what-is-shown-are-steps-and-the-latest
  (in-every-folder (storage folder)
    (call-recording folder storage
                    (lambda (node)
                      (let ((record (open-record node "air" 60)))
                        (loop for minute from 1000 to 1003
                              do (record-note record "roof" (* 1000 minute) (* 60 minute)))
                        (record-note record "desk" 5 (* 60 1004))
                        (record-write record))))
    (let* ((store (open-storage (keeping-path folder storage) storage :writing nil))
           (histories (read-histories store (* 60 1000) (* 60 1006) 3)))
      (store-close store)
      (is (equal '("desk" "roof") (mapcar #'history-device histories)))
      (is (equal '(5 1003000) (mapcar #'history-latest histories)))
      (is (equal '(2 2 nil) (map 'list (lambda (step) (and step (aggregate-count step)))
                                 (history-steps (second histories))))))))
