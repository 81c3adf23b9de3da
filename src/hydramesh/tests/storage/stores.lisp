(defpackage #:hydramesh/tests/storage/stores
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals #:finishes #:skip)
  (:import-from #:uiop)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/storage/store
                #:store-read #:store-list #:store-write #:store-check #:store-close #:+traffic+
                #:+minutes+ #:+counters+ #:storage-failure #:storage-damaged #:storage-unavailable)
  (:import-from #:hydramesh/storage/opening #:open-storage #:set-aside)
  (:import-from #:hydramesh/plugin/plugin #:find-plugin #:plugin-reason #:start-plugin)
  (:export #:in-every-store #:bytes)
  (:documentation "What every store promises."))
(in-package #:hydramesh/tests/storage/stores)

(fiveam:def-suite stores :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite stores)

(defun call-in-every-store (function)
  (dolist (storage '("sqlite" "streamdb"))
    (let ((missing (and (string= storage "streamdb")
                        (not (start-plugin (find-plugin "streamdb"))))))
      (if missing
          (skip "StreamDB's library is not here: ~A" (plugin-reason (find-plugin "streamdb")))
          (let ((folder (sb-posix:mkdtemp (format nil "~A/hydramesh-XXXXXX" (uiop:temporary-directory)))))
            (unwind-protect (funcall function storage (format nil "~A/state.~A" folder storage))
              (uiop:delete-directory-tree (uiop:ensure-directory-pathname folder) :validate t)))))))

(defmacro in-every-store ((storage path) &body body)
  "Do BODY for every kind of store that there is here, with a PATH for one in an empty folder."
  `(call-in-every-store (lambda (,storage ,path) (declare (ignorable ,storage)) ,@body)))

(defun bytes (&rest octets)
  (coerce octets '(simple-array (unsigned-byte 8) (*))))

(defun file-bytes (path)
  (with-open-file (file path :element-type '(unsigned-byte 8))
    (let ((content (make-array (file-length file) :element-type '(unsigned-byte 8))))
      (read-sequence content file)
      content)))

(defun write-file (path content)
  (with-open-file (file path :element-type '(unsigned-byte 8) :direction :output :if-exists :supersede)
    (write-sequence content file)))

(defun written (storage path changes)
  (let ((store (open-storage path storage)))
    (store-write store changes)
    (store-close store)))

(test what-was-written-is-there-again
  (in-every-store (storage path)
    (let ((large (make-array 50000 :element-type '(unsigned-byte 8) :initial-element 7)))
      (written storage path `((,+counters+ 0 ,(bytes 1 2)) (,+traffic+ 1700000000000 ,large)
                              (,+traffic+ 3 ,(bytes)) (,+minutes+ 9 ,(bytes 0))))
      (let ((store (open-storage path storage)))
        (is (equalp (bytes 1 2) (store-read store +counters+ 0)))
        (is (equalp large (store-read store +traffic+ 1700000000000)))
        (is (equalp (bytes) (store-read store +traffic+ 3)))
        (is (null (store-read store +traffic+ 4)))
        (is (equal '(3 1700000000000) (store-list store +traffic+)))
        (is (equal '(9) (store-list store +minutes+)))
        (store-write store `((,+traffic+ 3 nil) (,+counters+ 0 ,(bytes 3))))
        (is (equal '(1700000000000) (store-list store +traffic+)))
        (is (equalp (bytes 3) (store-read store +counters+ 0)))
        (finishes (store-check store))
        (store-close store)))))

(test another-process-may-read-meanwhile
  (in-every-store (storage path)
    (let ((store (open-storage path storage)))
      (store-write store `((,+counters+ 0 ,(bytes 1))))
      (let ((reader (open-storage path storage :writing nil)))
        (store-write store `((,+counters+ 0 ,(bytes 2))))
        (is (member (aref (store-read reader +counters+ 0) 0) '(1 2)))
        (store-close reader))
      (store-close store))))

(test reading-makes-no-file
  (in-every-store (storage path)
    (signals storage-unavailable (open-storage path storage :writing nil))
    (is (null (probe-file path)))))

(test what-was-not-finished-is-removed
  (in-every-store (storage path)
    (written storage path `((,+counters+ 0 ,(bytes 1))))
    (when (string= storage "streamdb")
      (dolist (end '(".next" ".next.4711.tmp"))
        (write-file (concatenate 'string path end) (bytes 1 2 3))))
    (written storage path `((,+counters+ 0 ,(bytes 2))))
    (is (equal (list (pathname-name path))
               (mapcar #'pathname-name
                       (directory (merge-pathnames "*.*" (directory-namestring path))))))))

(test garbage-is-damage
  (in-every-store (storage path)
    (dolist (content (list (map '(vector (unsigned-byte 8)) #'char-code "This is no database at all.")
                           (make-array 100000 :element-type '(unsigned-byte 8) :initial-element 255)))
      (write-file path content)
      (signals storage-damaged (open-storage path storage)))))

(defun check-all (store)
  "Signal STORAGE-DAMAGED unless every chunk is as `written' below has made it."
  (store-check store)
  (dolist (number (store-list store +traffic+))
    (unless (every (lambda (octet) (= octet number)) (store-read store +traffic+ number))
      (error "A chunk has been changed, and nothing has noticed."))))

(test a-file-that-was-cut-is-damage
  (in-every-store (storage path)
    (written storage path (loop for number below 50
                                collect (list +traffic+ number
                                              (make-array 3000 :element-type '(unsigned-byte 8)
                                                               :initial-element number))))
    (let ((content (file-bytes path)))
      (dolist (length (list 30 5000 (floor (length content) 2) (1- (length content))))
        (write-file path (subseq content 0 length))
        (signals storage-failure
          (let ((store (open-storage path storage)))
            (unwind-protect (check-all store)
              (store-close store))))))))

(test no-byte-that-was-changed-is-worse-than-damage
  (in-every-store (storage path)
    (written storage path (loop for number below 8
                                collect (list +traffic+ number
                                              (make-array 900 :element-type '(unsigned-byte 8)
                                                              :initial-element number))))
    (let ((content (file-bytes path)) (state (sb-ext:seed-random-state 7)))
      (loop repeat 60
            do (let ((changed (copy-seq content)))
                 (setf (aref changed (random (length changed) state)) (random 256 state))
                 (write-file path changed)
                 (handler-case
                     (let ((store (open-storage path storage)))
                       (unwind-protect (check-all store)
                         (store-close store)))
                   (storage-failure ()))
                 (fiveam:pass))))))

(test something-else-than-a-file-is-left-alone
  (in-every-store (storage path)
    (sb-posix:mkfifo path #o600)
    (signals storage-unavailable (open-storage path storage))
    (is (sb-posix:stat path))))

(test a-damaged-file-is-kept-under-another-name
  (in-every-store (storage path)
    (write-file path (bytes 1 2 3))
    (let ((aside (set-aside path)))
      (is (equalp (bytes 1 2 3) (file-bytes aside)))
      (is (null (probe-file path)))
      (let ((store (open-storage path storage)))
        (is (null (store-list store +traffic+)))
        (store-close store))
      (write-file path (bytes 4))
      (is (string= aside (set-aside path)))
      (is (equalp (bytes 4) (file-bytes aside))))))
