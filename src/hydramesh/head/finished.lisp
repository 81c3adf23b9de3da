(defpackage #:hydramesh/head/finished
  (:use #:cl)
  (:import-from #:hydramesh/head/clients #:client-host)
  (:import-from #:hydramesh/head/job
                #:job-arrived-at #:job-client #:job-deadline #:job-group #:job-kind #:job-model #:job-needs
                #:job-numbers #:job-pinned #:job-prefix #:job-reading #:job-size #:job-streams-p #:job-tags #:job-user
                #:job-weight
                #:numbers-bytes-in #:numbers-bytes-out #:numbers-first-at #:numbers-made #:numbers-moved
                #:numbers-queued #:numbers-ran #:numbers-running #:numbers-worker
                #:numbers-prompt-tokens #:numbers-cached-tokens #:numbers-cold-p #:numbers-beside
                #:numbers-beside-ran)
  (:import-from #:hydramesh/head/observer #:make-finished-task #:observe-task)
  (:import-from #:hydramesh/work #:work-kind-name)
  (:export #:tell-finished)
  (:documentation "What an observer is told of a job that has ended."))
(in-package #:hydramesh/head/finished)

(defun tell-finished (observer job outcome now)
  "Tell OBSERVER, unless it is NIL, that JOB has ended with OUTCOME."
  (when observer
    (let* ((numbers (job-numbers job))
           (arrived-at (job-arrived-at job))
           (first-at (numbers-first-at numbers)))
      (observe-task observer
                    (make-finished-task :kind (work-kind-name (job-kind job))
                                        :model (job-model job)
                                        :outcome outcome
                                        :worker (numbers-worker numbers)
                                        :queued (numbers-queued numbers)
                                        :running (numbers-running numbers)
                                        :total (- now arrived-at)
                                        :bytes-in (numbers-bytes-in numbers)
                                        :bytes-out (numbers-bytes-out numbers)
                                        :made (numbers-made numbers)
                                        :moved (numbers-moved numbers)
                                        :needs (job-needs job)
                                        :wanted (round (job-size job))
                                        :client (job-user job)
                                        :host (client-host (job-client job))
                                        :tags (job-tags job)
                                        :pinned (string/= (job-pinned job) "")
                                        :streamed (job-streams-p job)
                                        :together (and (job-group job) t)
                                        :weight (round (* 100 (job-weight job)))
                                        :deadline (- (job-deadline job) arrived-at)
                                        :reading (round (job-reading job))
                                        :first (if (zerop first-at) 0 (- first-at arrived-at))
                                        :ran (numbers-ran numbers)
                                        :prefix (job-prefix job)
                                        :prompt-tokens (numbers-prompt-tokens numbers)
                                        :cached-tokens (numbers-cached-tokens numbers)
                                        :cold (numbers-cold-p numbers)
                                        :beside (numbers-beside numbers)
                                        :beside-ran (numbers-beside-ran numbers))
                    now))))
