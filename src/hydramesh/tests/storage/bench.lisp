(defpackage #:hydramesh/tests/storage/bench
  (:use #:cl)
  (:import-from #:uiop)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/plugin/plugin #:find-plugin #:plugin-reason #:start-plugin)
  (:import-from #:hydramesh/head/observer #:make-finished-task #:observe-task)
  (:import-from #:hydramesh/storage/opening #:storage-path)
  (:import-from #:hydramesh/storage/recorder
                #:start-recorder #:stop-recorder #:recorder-settle #:recorder-figures)
  (:export #:run)
  (:documentation "What it costs that a task is recorded: the head's thread, all threads together, and the disk.

    src/hydramesh/build.sh lisp --eval '(asdf:load-system \"hydramesh/tests/storage/bench\")' \\
        --eval '(hydramesh/tests/storage/bench:run)' --quit"))
(in-package #:hydramesh/tests/storage/bench)

(defconstant +rate+ 10000 "Tasks a second.")
(defconstant +seconds+ 10)

;; Clocks of Linux.
(defconstant +monotonic+ 1)
(defconstant +cpu+ 2 "The processor time of this process.")

(defun nanoseconds (clock)
  (multiple-value-bind (seconds nanoseconds) (sb-unix::clock-gettime clock)
    (+ (* seconds 1000000000) nanoseconds)))

(defun task (number)
  (make-finished-task :kind "text" :model "Qwen/Qwen2.5-0.5B-Instruct" :outcome "DONE"
                      :worker (if (evenp number) "3f9c1c6e5d1b4a3f" "77aa1c6e5d1b4a3f")
                      :queued (* 7 (mod number 911)) :running (+ 200000 (mod (* 7919 number) 90000))
                      :total (+ 210000 (mod (* 7919 number) 90000)) :bytes-in (+ 300 (mod number 97))
                      :bytes-out (+ 900 (mod number 101)) :made 64 :wanted 256 :needs 6
                      :client (svref #("gateway" "a-key" "another-key") (mod number 3)) :host "192.0.2.7"
                      :weight 100 :streamed (oddp number) :deadline 600000000 :reading (mod number 97)
                      :first (+ 30000 (mod (* 7919 number) 9000)) :ran (+ 200000 (mod (* 7919 number) 90000))))

(defun measure (storage)
  (let* ((folder (sb-posix:mkdtemp (format nil "~A/hydramesh-XXXXXX" (uiop:temporary-directory))))
         (recorder (start-recorder folder storage))
         (here 0)
         (before (nanoseconds +cpu+)))
    (dotimes (slice (* 100 +seconds+))
      (let ((began (nanoseconds +monotonic+)))
        (loop for number from (* slice 100) repeat (floor +rate+ 100)
              do (observe-task recorder (task number) 0))
        (incf here (- (nanoseconds +monotonic+) began))
        (sleep (max 0 (- 1/100 (/ (- (nanoseconds +monotonic+) began) 1000000000))))))
    (recorder-settle recorder 30)
    (let ((tasks (* +rate+ +seconds+))
          (all (- (nanoseconds +cpu+) before)))
      (stop-recorder recorder 30)
      (format t "~8A: the head's thread ~,2F us a task, all together ~,2F us, ~,1F bytes of the file~%"
              storage (/ here tasks 1000) (/ all tasks 1000)
              (/ (sb-posix:stat-size (sb-posix:stat (storage-path folder storage))) tasks))
      (loop for (name nil nil number) in (recorder-figures recorder)
            when (and (string= name "hydramesh_unrecorded") (plusp number))
              do (format t "  ~D were lost~%" number)))
    (uiop:delete-directory-tree (uiop:ensure-directory-pathname folder) :validate t)))

(defun run ()
  "Print what it costs, for each kind of store."
  (format t "recording ~D tasks a second for ~D s~%" +rate+ +seconds+)
  (measure "sqlite")
  (let ((streamdb (find-plugin "streamdb")))
    (if (start-plugin streamdb)
        (measure "streamdb")
        (format t "streamdb is left out: ~A~%" (plugin-reason streamdb)))))
