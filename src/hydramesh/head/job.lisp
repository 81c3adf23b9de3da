(defpackage #:hydramesh/head/job
  (:use #:cl)
  (:import-from #:hydramesh/answer-order
                #:answer-order #:make-answer-order #:answer-order-task #:answer-order-made-by #:size-of)
  (:import-from #:hydramesh/entropy #:entropy-bits)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/aside #:aside #:encoded-with #:whole)
  (:import-from #:hydramesh/head/clients #:client)
  (:import-from #:hydramesh/head/decision #:decision)
  (:import-from #:hydramesh/head/latency #:near-p)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-client-name #:head-limits-tags)
  (:import-from #:hydramesh/head/pace #:pace #:pace-class)
  (:import-from #:hydramesh/head/shared-model #:shared-model #:shared-model-plan)
  (:import-from #:hydramesh/head/tags #:tag-set)
  (:import-from #:hydramesh/head/worker #:worker-process)
  (:import-from #:hydramesh/prompt-blocks #:hashes #:+no-hashes+ #:hashes-in)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work
                #:work-kind #:work-kind-seeded #:work-kind-size #:work-kind-reading #:needs-of
                #:bytes-to-read #:capabilities)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:job #:make-job #:job-id #:job-client #:job-dialect #:job-bytes #:job-number #:job-kind
           #:job-model #:job-pinned #:job-needs #:job-tags #:job-size #:job-reading #:job-prefix #:job-read-before
           #:job-near-p #:job-streams-p #:job-user
           #:job-weight #:job-answer #:job-awaits #:job-patient-until #:job-arrived-at #:job-queued-at #:job-deadline #:job-worker #:job-attempt
           #:job-attempts #:job-missed-p #:job-failed-on #:job-too-small #:job-error
           #:job-numbers #:numbers-worker #:numbers-began-at #:numbers-first-at #:numbers-queued #:numbers-running
           #:numbers-ran #:numbers-prompt-tokens #:numbers-cached-tokens #:numbers-cold-p
           #:numbers-beside #:numbers-beside-ran
           #:numbers-bytes-in #:numbers-bytes-out #:numbers-made #:numbers-moved
           #:job-pace-class #:job-pace #:job-heard-at #:job-stalled-p #:job-late-at #:job-hedge #:job-hedge-worker
           #:hedge #:make-hedge #:hedge-worker #:hedge-attempt #:hedge-pace #:hedge-decision #:hedge-began-at
           #:job-group #:job-decision #:job-plan #:job-view #:job-inside #:job-class #:job-asked-model #:job-told-model
           #:job-share #:job-failed-here #:job-too-small-here #:job-encoded #:job-group-key
           #:job-forget-group-key)
  (:documentation "One task that the head has accepted, until it has ended."))
(in-package #:hydramesh/head/job)

(defconstant +surely-small+ (ash 1 12)
  "Bytes of a task that is kept decoded: that may take fifty times the memory.")

(defconstant +usual-weight+ 100 "Of Task.weight.")

(defconstant +most-weight+ 1000 "Of Task.weight; more counts as this much.")

(defconstant +seed-bits+ 53 "Seeds that we draw are exact in JSON's numbers too.")

(defparameter +nothing+ (make-array 0 :element-type '(unsigned-byte 8)))

(defstruct numbers
  "What an observer is told of a job when it ends: the id of the last WORKER, since when it was there,
how long the job was QUEUED and RUNNING in all, for how long the last one RAN it, when the first part was
passed on, 0 if none was, and what was received and passed on. PROMPT-TOKENS and CACHED-TOKENS are as the worker
told; COLD-P says that it had the model not loaded when it got the job. The worker BESIDE has lost a race, after
it had the job for BESIDE-RAN."
  (worker "" :type string)
  (began-at 0 :type microseconds)
  (first-at 0 :type microseconds)
  (ran 0 :type microseconds)
  (queued 0 :type microseconds)
  (running 0 :type microseconds)
  (bytes-in 0 :type fixnum)
  (bytes-out 0 :type fixnum)
  (made 0 :type fixnum)
  (moved 0 :type fixnum)
  (prompt-tokens 0 :type (unsigned-byte 32))
  (cached-tokens 0 :type (unsigned-byte 32))
  (cold-p nil)
  (beside "" :type string)
  (beside-ran 0 :type microseconds))

(defstruct (hedge (:copier nil))
  "A job's ATTEMPT on a second WORKER, with PACE and DECISION as those of the job."
  (worker nil :read-only t)
  (attempt 0 :type (unsigned-byte 64) :read-only t)
  (pace nil :type (or null pace) :read-only t)
  (decision nil :type (or null decision) :read-only t)
  (began-at 0 :type microseconds :read-only t))

(defstruct (job (:constructor %make-job))
  "A task that waits in the queue, or runs on WORKER as its ATTEMPT.

NUMBER is the job's own, and orders jobs by arrival. USER is on whose behalf its client asks, WEIGHT
that user's among those of the client, where 1 is usual, BYTES the size of the TASK and of what is kept of the answer that it resumes, SIZE and READING what it has a worker
make, see HYDRAMESH/WORK, and NEAR-P whether the way there counts. PREFIX are the hashes of its prompt's blocks,
of which its worker had READ-BEFORE bytes. Its worker needs a model with all of
NEEDS, and all of TAGS; PINNED is the id of the only one that may run it, or \"\". STREAMS-P says that it
asks for parts, MISSED-P that a part of its answer came from another address
than its worker's. FAILED-ON are the processes on which it has failed, the last time with ERROR, and
TOO-SMALL those that could not hold its model alone, but might lead a group. GROUP are the workers that hold its model together, if one
alone cannot; DECISION is why it runs where it does if one does. The policy in force has made
PLAN of it, sees VIEW of it, counts it as INSIDE the reservations of that set while it runs, and decides alike
for all of its CLASS. ASKED-MODEL is the one that its client asked for, while a fallback has taken the place
of that, and TOLD-MODEL the one that the client takes the answer to be of. ASIDE is the encoded work of a large task, or all of it but the id and what it resumes,
which ANSWER's task does not have.
PACE is the record of its worker for tasks of PACE-CLASS, NIL if that had to load the model first. HEARD-AT
is when the last part came from there, NIL until the first, STALLED-P says that the worker was blamed for
that, and LATE-AT is when it is to be looked at whether the task is late, NIL if never. HEDGE is the attempt on
a second worker. AWAITS is a busy worker for which it waits though others are free, see
HYDRAMESH/HEAD/PATIENCE, and until PATIENT-UNTIL at most, NIL if it never did.
Times are of the head's monotonic clock."
  (id 0 :type (unsigned-byte 64) :read-only t)
  (client nil :type client :read-only t)
  (dialect nil :read-only t)
  (bytes 0 :type fixnum :read-only t)
  (number 0 :type fixnum :read-only t)
  (kind nil :type work-kind :read-only t)
  (model "" :type string)
  (pinned "" :type string :read-only t)
  (needs 0 :type capabilities :read-only t)
  (tags '() :type list :read-only t)
  (size 0d0 :type double-float :read-only t)
  (reading 0d0 :type double-float :read-only t)
  (near-p nil :read-only t)
  (streams-p nil :read-only t)
  (prefix +no-hashes+ :type hashes :read-only t)
  (read-before 0 :type (unsigned-byte 32))
  (user "" :type string :read-only t)
  (weight 1d0 :type double-float :read-only t)
  (answer nil :type answer-order :read-only t)
  (aside nil :type (or null aside) :read-only t)
  (arrived-at 0 :type microseconds :read-only t)
  (queued-at 0 :type microseconds)
  (deadline 0 :type microseconds :read-only t)
  (awaits nil)
  (patient-until nil :type (or null microseconds))
  (worker nil)
  (attempt 0 :type (unsigned-byte 64))
  (attempts 0 :type fixnum)
  (missed-p nil)
  (failed-on '() :type list)
  (too-small '() :type list)
  (error nil)
  (group nil :type (or null shared-model))
  (decision nil :type (or null decision))
  (plan nil)
  (view nil)
  (inside 0 :type unsigned-byte)
  (class nil)
  (asked-model nil :type (or null string))
  (told-model "" :type string)
  (pace-class 0 :type fixnum :read-only t)
  (pace nil :type (or null pace))
  (heard-at nil :type (or null microseconds))
  (stalled-p nil)
  (late-at nil :type (or null microseconds))
  (hedge nil :type (or null hedge))
  (numbers nil :type numbers :read-only t)
  (key nil))

(defun make-job (task aside task-id kind client dialect size limits number now deadline entropy)
  "Return the job of TASK and what was left ASIDE of it, see DIALECT-READ, of SIZE bytes in all.
LIMITS are those of the answer; DEADLINE is a time. A seed that TASK lacks is drawn from ENTROPY."
  (let* ((needs (needs-of task))
         (reading (* (work-kind-reading kind) (bytes-to-read task size needs)))
         (kind-size (funcall (work-kind-size kind) task))
         (resume (pb:task-resume task))
         (user (pb:task-client task))
         (weight (pb:task-weight task))
         (prefix (if (plusp reading) (hashes-in (pb:task-prefix task)) +no-hashes+))
         (split (and aside t)))
    (setf (pb:task-client task) ""      ; no worker needs to know
          (pb:task-weight task) 0
          (pb:task-prefix task) +nothing+
          (pb:task-shards task) nil)    ; clients must not choose where workers connect to
    (when (work-kind-seeded kind)
      (draw-seed task entropy))
    (cond (aside
           (drop-work task kind))
          ((> size +surely-small+)
           (setf aside (whole (encoded-but-resume task)))))
    (%make-job
     :id task-id
     :client client
     :dialect dialect
     :bytes (if resume (+ size (size-of resume)) size)
     :number number
     :kind kind
     :model (pb:task-model task)
     :told-model (pb:task-model task)
     :pinned (pb:task-worker-id task)
     :needs needs
     :tags (at-most (1+ (head-limits-tags +limits+)) (tag-set (pb:task-tags task)))
     :size kind-size
     :reading reading
     :near-p (near-p kind needs (+ kind-size reading) (pb:task-stream task))
     :streams-p (pb:task-stream task)
     :prefix prefix
     :user (let ((most (head-limits-client-name +limits+)))
             (if (> (length user) most) (subseq user 0 most) user))
     :weight (if (zerop weight) 1d0 (/ (float (min weight +most-weight+) 1d0) +usual-weight+))
     :answer (make-answer-order (if (and aside (not split)) (pb:make-task :resume resume) task)
                                limits)
     :aside aside
     :pace-class (pace-class (+ reading (if (pb:task-stream task) 1d0 kind-size)) (pb:task-stream task))
     :arrived-at now
     :queued-at now
     :deadline deadline
     :numbers (make-numbers :bytes-in size))))

(defun job-hedge-worker (job)
  "Return the second worker that JOB runs on too, NIL if there is none."
  (and (job-hedge job) (hedge-worker (job-hedge job))))

(defun at-most (count tags)
  "Return the first COUNT of TAGS: no worker has as many, so the others make no difference."
  (if (nthcdr count tags) (subseq tags 0 count) tags))

(defun seed-of (task)
  "Return the seed of the work in TASK; NIL if it has none."
  (ecase (pb:task-work task)
    (:text (pb:text-task-seed (pb:task-text task)))
    (:image (pb:image-task-seed (pb:task-image task)))
    (:transcribe (pb:transcribe-task-seed (pb:task-transcribe task)))
    (:speak (pb:speak-task-seed (pb:task-speak task)))))

(defun (setf seed-of) (seed task)
  (ecase (pb:task-work task)
    (:text (setf (pb:text-task-seed (pb:task-text task)) seed))
    (:image (setf (pb:image-task-seed (pb:task-image task)) seed))
    (:transcribe (setf (pb:transcribe-task-seed (pb:task-transcribe task)) seed))
    (:speak (setf (pb:speak-task-seed (pb:task-speak task)) seed))))

(defun draw-seed (task entropy)
  "Give TASK, of a kind that has seeds, one if it has none, so that every run answers alike."
  (unless (seed-of task)
    (setf (seed-of task) (entropy-bits entropy +seed-bits+))))

(defun encoded-but-resume (task)
  "Return TASK encoded, without its id and what it resumes, which change."
  (let ((resume (pb:task-resume task)))
    (setf (pb:task-id task) 0
          (pb:task-resume task) nil)
    (prog1 (pb:encode task)
      (setf (pb:task-resume task) resume))))

(defun drop-work (task kind)
  "Leave no more of the work in TASK, of KIND, than the seed, which may have been drawn here."
  (let ((seed (and (work-kind-seeded kind) (seed-of task))))
    (ecase (pb:task-work task)
      (:text (setf (pb:task-text task) (pb:make-text-task)))
      (:image (setf (pb:task-image task) (pb:make-image-task)))
      (:transcribe (setf (pb:task-transcribe task) (pb:make-transcribe-task)))
      (:speak (setf (pb:task-speak task) (pb:make-speak-task)))
      ((:embed :load :rerank :manage) (setf (pb:task-work task) nil)))
    (when seed
      (setf (seed-of task) seed))))

(defun job-encoded (job attempt)
  "Return the payload of the TASK that has a worker run JOB as ATTEMPT."
  (let ((task (answer-order-task (job-answer job))))
    (setf (pb:task-id task) attempt)
    (encoded-with (job-aside job) task)))

(defun job-share (job group)
  "Have its next worker lead GROUP, or run the model alone if that is NIL."
  (setf (job-group job) group
        (pb:task-shards (answer-order-task (job-answer job))) (and group (shared-model-plan group))))

(defun job-group-key (job)
  "Return what is EQUAL for jobs that can run on the same workers, and wait for the same; only a queue may change
it while one waits there."
  (or (job-key job)
      (setf (job-key job)
            (let ((made-by (answer-order-made-by (job-answer job))))
              (list* (job-class job)    ; first, so that the hash takes it in
                     (job-model job)
                     (job-needs job)
                     (job-pinned job)
                     (job-tags job)
                     (job-failed-on job)
                     (job-too-small job)
                     (and (job-awaits job) (worker-process (job-awaits job)))
                     (and made-by
                          (list (pb:model-identity-weights made-by)
                                (pb:model-identity-tokenizer made-by)
                                (pb:model-identity-quantization made-by)
                                (pb:model-identity-precision made-by))))))))

(defun job-forget-group-key (job)
  "JOB waits no longer, and may be of another group when it waits again."
  (setf (job-key job) nil))

(defun job-failed-here (job process)
  "Note that JOB has failed on PROCESS, a worker's."
  (setf (job-failed-on job) (with-process process (job-failed-on job))))

(defun job-too-small-here (job process)
  "Note that PROCESS, a worker's, could not hold the model of JOB alone."
  (setf (job-too-small job) (with-process process (job-too-small job))))

(defun with-process (process others)
  "Return PROCESS and OTHERS in order, so that jobs which were on the same ones are of one group."
  (flet ((before-p (one other)
           (if (string= (car one) (car other))
               (< (cdr one) (cdr other))
               (string< (car one) (car other)))))
    (sort (copy-list (adjoin process others :test #'equal)) #'before-p)))
