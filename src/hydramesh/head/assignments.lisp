(defpackage #:hydramesh/head/assignments
  (:use #:cl)
  (:import-from #:hydramesh/answer-order
                #:answer-order-accept #:answer-order-follow #:answer-order-drop-early #:answer-order-resume-beside
                #:answer-order-early-bytes #:answer-order-delivered-bytes)
  (:import-from #:hydramesh/entropy #:entropy #:entropy-draw)
  (:import-from #:hydramesh/events #:+task+ #:+cancel+)
  (:import-from #:hydramesh/head/breaker #:breaker-began #:breaker-ended)
  (:import-from #:hydramesh/head/job
                #:job #:job-answer #:job-group #:job-attempt #:job-attempts #:job-encoded #:job-forget-group-key
                #:job-heard-at #:job-hedge #:job-pace #:job-pace-class #:job-decision #:job-stalled-p
                #:make-hedge #:hedge-worker #:hedge-attempt #:hedge-pace #:hedge-decision #:hedge-began-at
                #:job-missed-p #:job-model #:job-number #:job-numbers #:job-queued-at #:job-read-before #:job-worker
                #:numbers-began-at #:numbers-beside #:numbers-beside-ran #:numbers-cold-p #:numbers-queued
                #:numbers-ran #:numbers-running #:numbers-worker)
  (:import-from #:hydramesh/head/link #:link-send)
  (:import-from #:hydramesh/head/model-index #:worker-model-pace #:worker-model-readiness #:+loaded+)
  (:import-from #:hydramesh/head/reservations #:count-in #:count-out)
  (:import-from #:hydramesh/head/shared-model #:shared-model-has-p #:shared-model-running)
  (:import-from #:hydramesh/head/worker
                #:worker-address #:worker-attempts #:worker-breaker #:worker-drop #:worker-id
                #:worker-last-assignment #:worker-models #:worker-take)
  (:import-from #:hydramesh/head/worker-models #:worker-began)
  (:import-from #:hydramesh/id-table
                #:id-table #:make-id-table #:id-table-count #:id-table-get #:id-table-put
                #:id-table-remove #:id-table-values)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:assignments #:make-assignments #:assignments-count #:assignments-early-bytes
           #:assignments-delivered-bytes
           #:assignments-get #:assignments-of #:assignments-with-part-on #:assignments-assign #:assignments-release
           #:assignments-accept #:assignments-follow #:assignments-earliest #:assignments-recall
           #:assignments-hedge #:assignments-call-off #:assignments-drop-hedge #:assignments-promote
           #:assignments-stop #:assignments-unload)
  (:documentation "Which job is on which worker, and what workers are told about it.

Each time a job is assigned to a worker is an attempt, with an id of its own under which that worker
knows it. A job that is late may have two, on two workers, until a part of the answer comes from either; see
hydramesh/head/races."))
(in-package #:hydramesh/head/assignments)

(defstruct (assignments (:constructor %make-assignments (link entropy jobs)))
  "All JOBS that are on workers, by attempt id.
EARLY-BYTES is the size of those parts of their answers that wait for an earlier one, DELIVERED-BYTES what
is kept of the answers to all jobs that are not over. HEDGED of the jobs are there twice, as they run on two
workers."
  (link nil :read-only t)
  (entropy nil :type entropy :read-only t)
  (jobs nil :type id-table :read-only t)
  (made 0 :type fixnum)
  (early-bytes 0 :type fixnum)
  (delivered-bytes 0 :type fixnum)
  (hedged 0 :type fixnum))

(defun make-assignments (link entropy)
  "Return no assignments; ids of attempts come from ENTROPY."
  (%make-assignments link entropy (make-id-table entropy)))

(defun assignments-count (assignments)
  "Return how many jobs are on workers."
  (- (id-table-count (assignments-jobs assignments)) (assignments-hedged assignments)))

(defun assignments-get (assignments attempt)
  "Return the job that runs as ATTEMPT, or NIL."
  (id-table-get (assignments-jobs assignments) attempt))

(defun assignments-of (assignments worker)
  "Return a list of the jobs for which WORKER is the first or the second, in the order of their arrival."
  (sort (loop for attempt being the hash-keys of (worker-attempts worker)
              collect (assignments-get assignments attempt))
        #'< :key #'job-number))

(defun assignments-with-part-on (assignments process)
  "Return a list of the jobs on workers that lead a group which PROCESS is in, in the order of arrival."
  (sort (remove-if-not (lambda (job)
                         (and (job-group job) (shared-model-has-p (job-group job) process)))
                       (id-table-values (assignments-jobs assignments)))
        #'< :key #'job-number))

(defun assignments-assign (assignments job worker now)
  "Send JOB to WORKER; return false if there is no room for the message."
  (let ((pace (pace-on worker job))     ; before it begins to load the model
        (attempt (begin-attempt assignments job worker now)))
    (when attempt
      (setf (job-attempt job) attempt
            (job-worker job) worker
            (job-pace job) pace
            (job-heard-at job) nil
            (job-stalled-p job) nil)
      (incf (job-attempts job))
      (job-forget-group-key job)
      (worker-began worker (job-model job))
      (when (job-group job)
        (incf (shared-model-running (job-group job))))
      (let ((numbers (job-numbers job)))
        (incf (numbers-queued numbers) (- now (job-queued-at job)))
        (setf (numbers-cold-p numbers) (null pace)
              (numbers-began-at numbers) now
              (numbers-worker numbers) (worker-id worker)))
      t)))

(defun begin-attempt (assignments job worker now)
  "Send JOB to WORKER; return the attempt that it is there, NIL if there is no room for the message."
  ;; Nobody but its worker can name an attempt.
  (let ((attempt (draw-attempt assignments)))
    (when (link-send (assignments-link assignments) (worker-address worker) +task+
                     (job-encoded job attempt))
      (setf (worker-last-assignment worker) (incf (assignments-made assignments)))
      (id-table-put (assignments-jobs assignments) attempt job)
      (take worker attempt now)
      (count-in job worker)
      attempt)))

(defun pace-on (worker job)
  "Return how fast WORKER begins to answer tasks like JOB, NIL if that tells nothing of this one."
  (let ((model (gethash (job-model job) (worker-models worker))))
    (and model
         (null (job-group job))
         (= (worker-model-readiness model) +loaded+)
         (worker-model-pace model (job-pace-class job)))))

(defun take (worker attempt now)
  (worker-take worker attempt)
  (when (worker-breaker worker)
    (breaker-began (worker-breaker worker) attempt now)))

(defun drop (worker attempt)
  (worker-drop worker attempt)
  (when (worker-breaker worker)
    (breaker-ended (worker-breaker worker) attempt)))

(defun draw-attempt (assignments)
  "Return an id that nobody can guess, and that is not 0."
  (loop for id = (entropy-draw (assignments-entropy assignments))
        unless (zerop id)
          return id))

(defun assignments-release (assignments job now)
  "Take JOB, which has ended there, off its worker, and return that. If it runs on a second one, that is told to
stop."
  (when (job-hedge job)
    (assignments-call-off assignments job now))
  (let ((worker (take-off assignments job now)))
    (when (job-group job)
      (decf (shared-model-running (job-group job))))
    worker))

(defun take-off (assignments job now)
  "Take JOB off its worker, and return that."
  (let ((worker (job-worker job))
        (numbers (job-numbers job)))
    (setf (job-worker job) nil
          (job-missed-p job) nil)
    (setf (numbers-ran numbers) (- now (numbers-began-at numbers)))
    (incf (numbers-running numbers) (numbers-ran numbers))
    (decf (assignments-early-bytes assignments) (answer-order-early-bytes (job-answer job)))
    (answer-order-drop-early (job-answer job))
    (end-attempt assignments job worker (job-attempt job))
    worker))

(defun end-attempt (assignments job worker attempt)
  (id-table-remove (assignments-jobs assignments) attempt)
  (drop worker attempt)
  (count-out job worker))

;;; A second worker

(defun assignments-hedge (assignments job worker decision now)
  "Send JOB to WORKER, too, where it goes on after what was passed on; DECISION is why it is that one. Return
false if there is no room for the message."
  (answer-order-resume-beside (job-answer job))
  (let ((pace (pace-on worker job))
        (attempt (begin-attempt assignments job worker now)))
    (when attempt
      (incf (assignments-hedged assignments))
      (setf (job-hedge job)
            (make-hedge :worker worker :attempt attempt :pace pace :decision decision :began-at now)))))

(defun assignments-call-off (assignments job now)
  "Tell the second worker of JOB to stop."
  (let ((hedge (assignments-drop-hedge assignments job)))
    (note-beside job (hedge-worker hedge) (- now (hedge-began-at hedge)))
    (assignments-stop assignments (worker-address (hedge-worker hedge)) (hedge-attempt hedge))))

(defun note-beside (job worker ran)
  "Note that WORKER has lost the race for JOB, after it RAN there."
  (let ((numbers (job-numbers job)))
    (setf (numbers-beside numbers) (worker-id worker)
          (numbers-beside-ran numbers) ran)))

(defun assignments-drop-hedge (assignments job)
  "Take JOB off its second worker, which has ended it or is gone; return what it was there."
  (let ((hedge (job-hedge job)))
    (setf (job-hedge job) nil)
    (decf (assignments-hedged assignments))
    (end-attempt assignments job (hedge-worker hedge) (hedge-attempt hedge))
    hedge))

(defun assignments-promote (assignments job now &key tell)
  "Take JOB off its first worker, and let the second be its worker from now on; return the first, which is told
to stop if it is to TELL that."
  (let* ((hedge (job-hedge job))
         (numbers (job-numbers job))
         (attempt (job-attempt job))
         (first (take-off assignments job now)))
    (when tell
      (assignments-stop assignments (worker-address first) attempt))
    (decf (assignments-hedged assignments))
    (setf (job-hedge job) nil
          (job-worker job) (hedge-worker hedge)
          (job-attempt job) (hedge-attempt hedge)
          (job-pace job) (hedge-pace hedge)
          (job-decision job) (hedge-decision hedge)
          (job-heard-at job) nil
          (job-stalled-p job) nil
          (job-read-before job) 0       ; that was on the first one
          (numbers-worker numbers) (worker-id (hedge-worker hedge)))
    (setf (numbers-cold-p numbers) (null (hedge-pace hedge)))
    (note-beside job first (numbers-ran numbers))
    ;; The time in which both had it counts once.
    (decf (numbers-running numbers) (- now (hedge-began-at hedge)))
    (setf (numbers-began-at numbers) (hedge-began-at hedge))
    first))

(defmacro counting-kept ((assignments answer) &body body)
  "Return what BODY does, and count what it changes of what is kept of ANSWER."
  (let ((early (gensym)) (delivered (gensym)))
    `(let ((,early (answer-order-early-bytes ,answer))
           (,delivered (answer-order-delivered-bytes ,answer)))
       (unwind-protect (progn ,@body)
         (incf (assignments-early-bytes ,assignments)
               (- (answer-order-early-bytes ,answer) ,early))
         (incf (assignments-delivered-bytes ,assignments)
               (- (answer-order-delivered-bytes ,answer) ,delivered))))))

(defun assignments-accept (assignments job part payload)
  "Add PART, which came as PAYLOAD, to the answer to JOB; return it if it may be passed on now, else NIL.
Signal TOO-MUCH if its worker sends more than is kept."
  (let ((answer (job-answer job)))
    (counting-kept (assignments answer)
      (answer-order-accept answer part payload))))

(defun assignments-follow (assignments job)
  "Return the part of the answer to JOB that came early and may be passed on now, or NIL.
Signal TOO-MUCH as `assignments-accept` does."
  (let ((answer (job-answer job)))
    (counting-kept (assignments answer)
      (answer-order-follow answer))))

(defun assignments-earliest (assignments)
  "Return the job whose parts take most of the early bytes."
  (flet ((early (job)
           (answer-order-early-bytes (job-answer job))))
    (reduce (lambda (one other) (if (> (early other) (early one)) other one))
            (id-table-values (assignments-jobs assignments)))))

(defun assignments-recall (assignments job now)
  "Take JOB off its worker and tell the worker to stop."
  (let ((worker (assignments-release assignments job now)))
    (assignments-stop assignments (worker-address worker) (job-attempt job))))

(defun assignments-stop (assignments address attempt)
  "Tell the worker at ADDRESS that nobody wants ATTEMPT any more."
  (link-send (assignments-link assignments) address +cancel+
             (pb:encode (pb:make-cancel :id attempt))))

(defun assignments-unload (assignments worker model)
  "Have WORKER take MODEL out of memory; whether it does, its heartbeats tell."
  (link-send (assignments-link assignments) (worker-address worker) +task+
             (pb:encode (pb:make-task :id (draw-attempt assignments)
                                      :model model
                                      :unload (pb:make-unload-task)))))
