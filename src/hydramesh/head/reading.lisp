(defpackage #:hydramesh/head/reading
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/head/job
                #:job-attempts #:job-kind #:job-model #:job-numbers #:job-prefix #:job-read-before #:job-reading
                #:job-worker #:numbers-began-at #:numbers-cached-tokens #:numbers-first-at #:numbers-prompt-tokens)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-read-blocks)
  (:import-from #:hydramesh/head/read-prompts
                #:make-read-prompts #:note-read #:bytes-read #:share-kept #:learn-kept #:learn-reading-pace)
  (:import-from #:hydramesh/head/statistics
                #:statistics-read-before #:statistics-prompt-tokens #:statistics-cached-tokens)
  (:import-from #:hydramesh/head/worker #:worker-read)
  (:import-from #:hydramesh/head/worker-models #:worker-caches)
  (:import-from #:hydramesh/prompt-blocks #:hashes)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:+bytes-per-token+ #:work-kind-reading)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:saved #:share-read #:note-assigned #:note-part)
  (:documentation "What a worker has read of a job's prompt before, and need not read again."))
(in-package #:hydramesh/head/reading)

(declaim (inline saved))
(defun saved (worker job)
  "Return how much of the reading of JOB is spared by what WORKER should still have."
  (if (or (zerop (length (the hashes (job-prefix job))))
          (null (worker-read worker)))
      0d0
      (reckoned worker job)))

(declaim (ftype (function (t t) double-float) reckoned))
(defun reckoned (worker job)
  (let* ((read (worker-read worker))
         (before (bytes-read read (job-model job) (job-prefix job))))
    (if (zerop before)
        0d0
        (* (min (* before (work-kind-reading (job-kind job))) (job-reading job))
           (share-kept read (job-model job))))))

(defun share-read (worker job)
  "Return the share of what JOB has a worker read that WORKER should still have, from 0 to 1."
  (if (plusp (job-reading job)) (/ (saved worker job) (job-reading job)) 0d0))

(defun note-assigned (job worker statistics)
  "Note that WORKER has got JOB."
  (setf (job-read-before job)
        (if (and (plusp (length (job-prefix job))) (worker-read worker))
            (bytes-read (worker-read worker) (job-model job) (job-prefix job))
            0))
  (when (plusp (job-read-before job))
    (incf (statistics-read-before statistics))))

(defun note-part (job part statistics entropy)
  "Note what PART of the answer to JOB tells: the first one that its worker has read the prompt.
The last one tells how much of the prompt it still had, and so how fast it has read the rest."
  (when (pb:result-final part)
    (count-tokens statistics (job-numbers job) (pb:result-usage part)))
  (when (and (plusp (length (job-prefix job)))
             (or (pb:result-final part) (pb:result-model part)))
    (let* ((worker (job-worker job))
           (read (or (worker-read worker)
                     (setf (worker-read worker)
                           (make-read-prompts (head-limits-read-blocks +limits+) entropy)))))
      (when (pb:result-final part)
        (learn read job (pb:result-usage part)))
      (note-read read (job-model job) (job-prefix job)
                 (* +bytes-per-token+ (worker-caches worker (job-model job))))
      (when (pb:result-final part)
        (learn-pace read job (pb:result-usage part))))))

(defconstant +least-read+ 256
  "Tokens of a prompt; how long it takes to read fewer tells more of other things.")

(defun learn-pace (read job usage)
  "Let READ know how fast its worker has read what it did not have of the prompt of JOB, by when its answer began."
  (let* ((numbers (job-numbers job))
         (unread (if usage (- (pb:usage-prompt-tokens usage) (pb:usage-cached-tokens usage)) 0)))
    (when (and (>= unread +least-read+)
               (plusp (numbers-first-at numbers))
               (= 1 (job-attempts job)))
      (learn-reading-pace read
                          (job-model job)
                          (/ (- (numbers-first-at numbers) (numbers-began-at numbers))
                             1d6
                             (* (job-reading job) (/ unread (pb:usage-prompt-tokens usage))))))))

(defun count-tokens (statistics numbers usage)
  (when usage
    (let* ((tokens (pb:usage-prompt-tokens usage))
           (cached (min (pb:usage-cached-tokens usage) tokens)))
      (setf (numbers-prompt-tokens numbers) tokens
            (numbers-cached-tokens numbers) cached)
      (incf (statistics-prompt-tokens statistics) tokens)
      (incf (statistics-cached-tokens statistics) cached))))

(defun learn (read job usage)
  "Let READ know how much of the prompt its worker still had by USAGE, if it should have had any."
  (when (and usage (plusp (job-read-before job)) (plusp (pb:usage-prompt-tokens usage)))
    (let ((expected (min 1d0 (/ (* (job-read-before job) (work-kind-reading (job-kind job)))
                                (job-reading job))))
          (cached (/ (float (pb:usage-cached-tokens usage) 1d0) (pb:usage-prompt-tokens usage))))
      (learn-kept read (job-model job) (min 1d0 (/ cached expected))))))
