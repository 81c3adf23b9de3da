(defpackage #:hydramesh/head/finished
  (:use #:cl)
  (:import-from #:hydramesh/head/job
                #:job-arrived-at #:job-kind #:job-model #:job-needs #:job-numbers #:job-size
                #:numbers-bytes-in #:numbers-bytes-out #:numbers-made #:numbers-moved #:numbers-queued
                #:numbers-running #:numbers-worker)
  (:import-from #:hydramesh/head/observer #:make-finished-task #:observe-task)
  (:import-from #:hydramesh/work #:work-kind-name)
  (:export #:tell-finished)
  (:documentation "What an observer is told of a job that has ended."))
(in-package #:hydramesh/head/finished)

(defun tell-finished (observer job outcome now)
  "Tell OBSERVER, unless it is NIL, that JOB has ended with OUTCOME."
  (when observer
    (let ((numbers (job-numbers job)))
      (observe-task observer
                    (make-finished-task :kind (work-kind-name (job-kind job))
                                        :model (job-model job)
                                        :outcome outcome
                                        :worker (numbers-worker numbers)
                                        :queued (numbers-queued numbers)
                                        :running (numbers-running numbers)
                                        :total (- now (job-arrived-at job))
                                        :bytes-in (numbers-bytes-in numbers)
                                        :bytes-out (numbers-bytes-out numbers)
                                        :made (numbers-made numbers)
                                        :moved (numbers-moved numbers)
                                        :needs (job-needs job)
                                        :wanted (round (job-size job)))
                    now))))
