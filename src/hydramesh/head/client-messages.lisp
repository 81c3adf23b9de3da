(defpackage #:hydramesh/head/client-messages
  (:use #:cl)
  (:import-from #:hydramesh/answer-order
                #:+last-resumed+ #:answer-limits #:make-answer-limits #:size-of)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/errors #:task-error #:task-error-name)
  (:import-from #:hydramesh/events
                #:message-payload #:message-peer #:message-sequence #:microseconds #:seconds)
  (:import-from #:hydramesh/head/clients
                #:clients #:make-clients #:clients-expire #:clients-forget #:clients-get #:clients-heard
                #:clients-remember #:clients-waiting #:client-address #:client-answers-pings
                #:client-conclude #:client-job #:client-knows-p #:client-seen-at #:client-unfinished)
  (:import-from #:hydramesh/head/completion #:dispatcher-cancel)
  (:import-from #:hydramesh/head/dialect
                #:+json+ #:dialect-error #:dialect-id-in #:dialect-of #:dialect-read #:dialect-result)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher #:dispatcher-limits #:dispatcher-observer #:dispatcher-policy
                #:dispatcher-workers #:policy-task-deadline)
  (:import-from #:hydramesh/head/finished #:tell-finished)
  (:import-from #:hydramesh/head/job #:make-job #:job-number)
  (:import-from #:hydramesh/head/limits
                #:head-limits #:head-limits-ahead #:head-limits-ahead-bytes #:head-limits-delivered
                #:head-limits-json-task #:head-limits-task)
  (:import-from #:hydramesh/head/link #:link-ping #:link-send)
  (:import-from #:hydramesh/head/observer #:make-finished-task #:observe-task)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/head/nodes #:nodes)
  (:import-from #:hydramesh/head/report #:status-of)
  (:import-from #:hydramesh/head/statistics
                #:statistics #:statistics-count-outcome #:statistics-malformed #:statistics-repeated
                #:+done+ #:+status+)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:work-kind-loads #:work-kind-name #:work-of)
  (:import-from #:hydramesh/head/admission #:dispatcher-submit)
  (:local-nicknames (#:pb #:hydramesh/schema)
                    (#:task-errors #:hydramesh/head/task-errors))
  (:export #:client-messages #:make-client-messages #:client-messages-closed
           #:client-messages-task #:client-messages-cancel #:client-messages-unreachable
           #:client-messages-pong #:client-messages-tick)
  (:documentation "What clients send: TASKs become jobs, are answered at once, or are refused."))
(in-package #:hydramesh/head/client-messages)

(defconstant +ping-interval+ (seconds 2))

(defconstant +client-silence+ (seconds 10)
  "How long a client gives no sign of life until it is considered gone.")

(defconstant +millisecond+ 1000)

(defparameter +unreadable+ "unreadable" "As a kind of work: nobody knows which.")

(defstruct (client-messages (:constructor %make-client-messages))
  "Acts on them for the DISPATCHER; once CLOSED, new tasks are refused."
  (closed nil)
  (dispatcher nil :type dispatcher :read-only t)
  (nodes nil :type nodes :read-only t)
  (link nil :read-only t)
  (statistics nil :type statistics :read-only t)
  (limits nil :type head-limits :read-only t)
  (answer-limits nil :type answer-limits :read-only t)
  (clients nil :type clients :read-only t)
  (entropy nil :type entropy :read-only t)
  (arrivals 0 :type fixnum)
  (look-at 0 :type microseconds))

(defun make-client-messages (dispatcher nodes link statistics entropy)
  "Return what acts on the messages of clients, of which none is known yet."
  (let ((limits (dispatcher-limits dispatcher)))
    (%make-client-messages
     :dispatcher dispatcher
     :nodes nodes
     :link link
     :statistics statistics
     :limits limits
     :answer-limits (make-answer-limits :ahead (head-limits-ahead limits)
                                        :ahead-bytes (head-limits-ahead-bytes limits)
                                        :delivered (head-limits-delivered limits))
     :clients (make-clients limits entropy)
     :entropy entropy)))

(defun client-messages-task (messages message now)
  "Act on a TASK; one that is known already is ignored."
  (let* ((payload (message-payload message))
         (dialect (dialect-of payload)))
    (multiple-value-bind (task aside)
        (handler-case (read-task messages dialect payload)
          (task-error (error)
            (refuse-unreadable messages message dialect error)
            nil))
      (when task
        (let ((task-id (if (zerop (pb:task-id task)) (message-sequence message) (pb:task-id task)))
              (client (clients-heard (client-messages-clients messages) (message-peer message) now)))
          (cond ((client-knows-p client task-id)
                 (incf (statistics-repeated (client-messages-statistics messages))))
                (t
                 (clients-remember (client-messages-clients messages) client task-id now)
                 (if (pb:task-status task)
                     (answer-status messages client dialect task-id (pb:task-status task) now)
                     (begin messages client dialect task aside task-id (length payload) now)))))))))

(defun read-task (messages dialect payload)
  "Return what DIALECT-READ does; signal a TASK-ERROR if PAYLOAD is too large, too."
  (let* ((limits (client-messages-limits messages))
         (most (if (eq dialect +json+) (head-limits-json-task limits) (head-limits-task limits))))
    (when (> (length payload) most)
      (error (task-errors:too-large (length payload) most)))
    (dialect-read dialect payload)))

(defun answer-status (messages client dialect task-id asked now)
  "Answer what ASKED, a PB:STATUS-TASK, wants to know."
  (let* ((statistics (client-messages-statistics messages))
         (status (status-of (client-messages-dispatcher messages) (client-messages-nodes messages)
                            statistics asked now))
         (result (pb:make-result :id task-id :final t :status status)))
    (client-conclude client task-id (dialect-result dialect result) (client-messages-link messages))
    (statistics-count-outcome statistics +status+ +done+)))

(defun begin (messages client dialect task aside task-id size now)
  "Make a job of TASK, or refuse it."
  (let ((job nil))
    (handler-case
        (dispatcher-submit (client-messages-dispatcher messages)
                           (setf job (job-of messages client dialect task aside task-id size now))
                           now)
      (task-error (error)
        (client-conclude client task-id (dialect-error dialect error task-id 0)
                         (client-messages-link messages))
        (count-refused messages task job size (task-error-name error) now)))))

(defun count-refused (messages task job size outcome now)
  "Count a TASK of SIZE bytes that was refused, as JOB if it could be one."
  (let* ((kind (work-of task))
         (name (if kind (work-kind-name kind) +unreadable+))
         (observer (dispatcher-observer (client-messages-dispatcher messages))))
    (statistics-count-outcome (client-messages-statistics messages) name outcome)
    (cond (job
           (tell-finished observer job outcome now))
          (observer
           (observe-task observer
                         (make-finished-task :kind name
                                             :model (pb:task-model task)
                                             :outcome outcome
                                             :bytes-in size)
                         now)))))

(defun job-of (messages client dialect task aside task-id size now)
  "Return the job of TASK and ASIDE, see DIALECT-READ.
Signal a TASK-ERROR if it is not to be run, whatever workers there are."
  (let* ((dispatcher (client-messages-dispatcher messages))
         (kind (or (work-of task)
                   (error (task-errors:nothing-to-do))))
         (life (policy-task-deadline (dispatcher-policy dispatcher)))
         (asked (pb:task-deadline-ms task)))
    (check messages task)
    (make-job task aside task-id kind client dialect size
              (client-messages-answer-limits messages)
              (incf (client-messages-arrivals messages))
              now
              (+ now (if (zerop asked) life (min life (* asked +millisecond+))))
              (client-messages-entropy messages))))

(defun check (messages task)
  "Signal a TASK-ERROR if TASK, which has work, is not to be run."
  (let ((most (head-limits-delivered (client-messages-limits messages)))
        (resume (pb:task-resume task)))
    (when (string= (pb:task-model task) "")
      (error (task-errors:no-model
              (registry-workers (dispatcher-workers (client-messages-dispatcher messages))))))
    (unless (or (work-kind-loads (work-of task)) (string/= (pb:task-worker-id task) ""))
      (error (task-errors:no-worker-named)))
    (when resume
      (when (> (size-of resume) most)
        (error (task-errors:too-much-resumed most)))
      (when (> (pb:resume-index resume) +last-resumed+)
        (error (task-errors:resumed-too-late))))
    (when (client-messages-closed messages)
      (error (task-errors:stopping)))))

(defun refuse-unreadable (messages message dialect error)
  "Answer a TASK that cannot be read, under the id that is found in it, or its sequence number."
  (let* ((id (dialect-id-in dialect (message-payload message)))
         (task-id (if (zerop id) (message-sequence message) id)))
    (destructuring-bind (type . payload) (dialect-error dialect error task-id 0)
      (link-send (client-messages-link messages) (message-peer message) type payload))
    (statistics-count-outcome (client-messages-statistics messages)
                              +unreadable+
                              (task-error-name error))))

(defun client-messages-cancel (messages message now)
  "Act on a CANCEL."
  (let ((cancel (handler-case (pb:decode 'pb:cancel (message-payload message))
                  (pb:malformed ()
                    (incf (statistics-malformed (client-messages-statistics messages)))
                    nil))))
    (when cancel
      (let* ((clients (client-messages-clients messages))
             (client (clients-heard clients (message-peer message) now))
             (task-id (pb:cancel-id cancel))
             (job (client-job client task-id)))
        ;; Its TASK may come later, on a link that reorders.
        (clients-remember clients client task-id now)
        (when job
          (dispatcher-cancel (client-messages-dispatcher messages) (list job) now))))))

(defun client-messages-unreachable (messages peer now)
  "PEER no longer acknowledges anything, so its tasks end.
If it comes back and repeats them, they are run again."
  (let ((client (clients-forget (client-messages-clients messages) peer)))
    (when client
      (dispatcher-cancel (client-messages-dispatcher messages)
                         (sort (client-unfinished client) #'< :key #'job-number)
                         now))))

(defun client-messages-pong (messages peer now)
  "PEER has answered a PING."
  (let ((client (clients-get (client-messages-clients messages) peer)))
    (when client
      (setf (client-answers-pings client) t
            (client-seen-at client) now))))

(defun client-messages-tick (messages now)
  "Ask clients that wait for an answer whether they are there; forget those long gone.
A client to which there is nothing to send could leave unnoticed. One that has answered a PING before and
no longer does is gone."
  (when (>= now (client-messages-look-at messages))
    (setf (client-messages-look-at messages) (+ now +ping-interval+))
    (dolist (client (clients-waiting (client-messages-clients messages)))
      (if (and (client-answers-pings client)
               (> (- now (client-seen-at client)) +client-silence+))
          (client-messages-unreachable messages (client-address client) now)
          (link-ping (client-messages-link messages) (client-address client))))
    (clients-expire (client-messages-clients messages) now)))
