(defpackage #:hydramesh/head/task-errors
  (:use #:cl)
  (:import-from #:hydramesh/answer-order #:too-much-of #:+last-resumed+)
  (:import-from #:hydramesh/errors #:make-task-error)
  (:import-from #:hydramesh/head/job #:job-arrived-at #:job-attempts #:job-deadline)
  (:import-from #:hydramesh/head/link #:message-too-large)
  (:import-from #:hydramesh/head/naming #:listed #:models)
  (:import-from #:hydramesh/head/worker #:worker-title)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:shown)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:queue-full #:gave-way #:answer-has-no-room #:answer-too-large #:answers-too-long
           #:task-too-large #:stopping #:late #:worker-lost #:disorderly #:too-much-resumed
           #:resumed-too-late #:no-memory #:too-large #:nothing-to-do #:no-model #:no-worker-named)
  (:documentation "The errors that the head itself ends tasks with, and what their reader can do.

Each function returns a TASK-ERROR. Those of tasks that no worker can serve are those of
hydramesh/head/unservable."))
(in-package #:hydramesh/head/task-errors)

;;; No room

(defun queue-full (length)
  "The queue has no room for another task."
  (make-task-error
   pb:+queue-full+
   (format nil "the queue is full: ~d tasks wait already" length)
   "try again later, add workers, or raise the head's queue_size"))

(defun gave-way (length)
  "The queue is full, and this client has more in it than others."
  (make-task-error
   pb:+queue-full+
   (format nil "the queue is full: ~d tasks wait, and this client has more of them than others" length)
   "send fewer at once, add workers, or raise the head's queue_size"))

(defun answer-has-no-room ()
  "Too much waits for the client to acknowledge it."
  (make-task-error
   pb:+queue-full+
   "the head has no memory left for this answer, because the client is slow to receive others"
   "receive answers faster, or ask for less at once"))

(defun answers-too-long (most)
  "What was delivered of all answers takes more than MOST bytes, and this one has most of it."
  (make-task-error
   pb:+queue-full+
   (format nil "the answers that are being given already take the ~d MiB that there are for them"
           (ash most -20))
   "try again later, or ask for less at once"))

(defun answer-too-large (reason)
  "The answer does not fit into a message; REASON is a MESSAGE-TOO-LARGE."
  (declare (type message-too-large reason))
  (make-task-error
   pb:+bad-request+
   (format nil "the answer cannot be sent: ~a" reason)
   "ask for less at once; the same answer is smaller in Protocol Buffers than in JSON"))

(defun task-too-large (reason)
  "With what it resumes, the task does not fit into a message; REASON is a MESSAGE-TOO-LARGE."
  (declare (type message-too-large reason))
  (make-task-error
   pb:+bad-request+
   (format nil "the task cannot be sent to a worker: ~a" reason)
   "ask for less at once"))

(defun no-memory (most)
  "The tasks that are not over take all the memory that there is for them."
  (make-task-error
   pb:+queue-full+
   (format nil "the tasks that wait and run already take the ~d MiB that there are for them"
           (ash most -20))
   "try again later, or send smaller tasks"))

;;; What goes wrong

(defun stopping ()
  "The head is about to end."
  (make-task-error pb:+shutting-down+ "this head is shutting down" "send the task to another head"))

(defun late (job exclusion)
  "The task's deadline has passed; if it waited because of the policy, EXCLUSION says so in words."
  (make-task-error
   pb:+deadline-exceeded+
   (format nil "the task was not done within ~a s~:[~;, in which no worker had room for it~]~@[; ~a~]"
           (seconds-in-words (- (job-deadline job) (job-arrived-at job)))
           (and (zerop (job-attempts job)) (null exclusion))
           exclusion)
   "ask for less, raise deadline_ms or the head's task_deadline, or add workers"))

(defun seconds-in-words (time)
  "Return TIME, in microseconds, as C's %g prints its seconds: six digits that count."
  (let* ((exact (/ time 1000000))
         (exponent (if (zerop exact)
                       0
                       (loop for exponent from 9 downto -6
                             when (>= exact (expt 10 exponent))
                               return exponent)))
         (digits (round exact (expt 10 (- exponent 5)))))
    (when (= digits 1000000)
      (setf digits 100000)
      (incf exponent))
    (if (<= -4 exponent 5)
        (decimal digits (- 5 exponent))
        (format nil "~ae~:[+~;-~]~2,'0d" (decimal digits 5) (minusp exponent) (abs exponent)))))

(defun decimal (digits places)
  "Return DIGITS with the point before the last PLACES of them, and no zeros at the end of these."
  (multiple-value-bind (whole fraction) (floor digits (expt 10 places))
    (string-right-trim "." (string-right-trim "0" (format nil "~d.~v,'0d" whole places fraction)))))

(defun worker-lost (worker what)
  "The worker is gone; WHAT says in which way."
  (make-task-error
   pb:+worker-lost+
   (format nil "the worker ~a ~a" (shown (worker-title worker)) what)
   "send the task again; the worker's log says why it ended"))

(defun disorderly (worker reason)
  "The worker sends more than the head keeps; REASON is a TOO-MUCH."
  (make-task-error
   pb:+internal+
   (format nil "the worker ~a sends ~a" (shown (worker-title worker)) (too-much-of reason))
   "ask for less at once; if that does not help, see the worker's log"))

;;; What a task lacks, or has too much of

(defun too-much-resumed (most)
  "What the task says was delivered is more than an answer may have."
  (make-task-error
   pb:+bad-request+
   (format nil "the task resumes an answer of more than ~d MiB" (ash most -20))
   "send it without `resume`, and ask for less at once"))

(defun resumed-too-late ()
  "The parts that follow could not be numbered."
  (make-task-error
   pb:+bad-request+
   (format nil "the task resumes an answer at an index above ~d" +last-resumed+)
   "set resume.index to the number of parts that came before"))

(defun too-large (size largest)
  "The task is larger than a task may be."
  (make-task-error
   pb:+bad-request+
   (format nil "the task has ~d MiB, and ~d MiB is the limit" (ash size -20) (ash largest -20))
   "send a shorter prompt, or fewer inputs at once"))

(defun nothing-to-do ()
  "The task does not say what to do."
  (make-task-error pb:+bad-request+
                   "the task has no work"
                   "set one of text, image, embed, transcribe, speak, rerank, load, manage and status"))

(defun no-worker-named ()
  "The task is one for a certain worker, and names none."
  (make-task-error pb:+bad-request+
                   "the task does not say which worker is to manage its model"
                   "set worker_id to one of those that `daiic status` shows"))

(defun no-model (workers)
  "The task names no model."
  (let ((names (models workers)))
    (make-task-error
     pb:+bad-request+
     "the task names no model"
     (format nil "set model~@[ to one of ~a~]" (and names (listed names))))))
