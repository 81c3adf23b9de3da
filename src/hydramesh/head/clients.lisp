(defpackage #:hydramesh/head/clients
  (:use #:cl)
  (:import-from #:hydramesh/address #:address #:host-of)
  (:import-from #:hydramesh/entropy #:entropy)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/limits #:head-limits #:head-limits-clients #:head-limits-remembered-ids)
  (:import-from #:hydramesh/head/link #:link-send)
  (:import-from #:hydramesh/head/recent-sequences
                #:recent-sequences #:make-recent-sequences #:recent-sequences-capacity
                #:recent-sequences-member-p #:recent-sequences-add #:recent-sequences-discard)
  (:import-from #:hydramesh/id-table
                #:id-table #:make-id-table #:id-table-count #:id-table-get #:id-table-put
                #:id-table-remove #:id-table-values)
  (:export #:client #:make-client #:client-address #:client-host #:client-answers-pings
           #:client-seen-at #:client-unfinished #:client-job #:client-began #:client-ended
           #:client-knows-p #:client-conclude
           #:clients #:make-clients #:clients-waiting #:clients-get #:clients-forget #:clients-heard
           #:clients-remember #:clients-expire)
  (:documentation "The clients that have given the head tasks, and which tasks it knows of each.

A client repeats a task about which it hears nothing, so the head remembers ids for a while after their
tasks have ended."))
(in-package #:hydramesh/head/clients)

(defun remembered ()
  "For how long the id of a finished task is known at least, unless there are too many."
  (seconds 60))

(defstruct (client (:constructor %make-client))
  "The client at ADDRESS, on the machine HOST.

JOBS are those of its jobs that are not over, by their ids; KNOWN are the ids of all its recent tasks.
ANSWERS-PINGS is set once it has answered a PING; simple clients never do."
  (address 0 :type address :read-only t)
  (host nil :read-only t)
  (jobs nil :type id-table :read-only t)
  (known nil :type recent-sequences :read-only t)
  (answers-pings nil)
  (seen-at 0 :type microseconds))

(defun make-client (address entropy)
  "Return a client of which nothing is known yet."
  (%make-client :address address
                :host (host-of address)
                :jobs (make-id-table entropy)
                :known (make-recent-sequences entropy (remembered))))

(defun client-unfinished-p (client)
  "Return whether it has tasks that are not over."
  (plusp (id-table-count (client-jobs client))))

(defun client-unfinished (client)
  "Return a list of its jobs that are not over, in no order."
  (id-table-values (client-jobs client)))

(defun client-job (client task-id)
  "Return its job with the id TASK-ID if that is not over, else NIL."
  (id-table-get (client-jobs client) task-id))

(defun client-began (client task-id job)
  "JOB is not over from now on."
  (id-table-put (client-jobs client) task-id job))

(defun client-ended (client task-id)
  "The job with that id is over."
  (id-table-remove (client-jobs client) task-id))

(defun client-knows-p (client task-id)
  "Return whether CLIENT has used TASK-ID lately, or for a job that is not over."
  (or (client-job client task-id)
      (recent-sequences-member-p (client-known client) task-id)))

(defun client-conclude (client task-id answer link)
  "Send ANSWER, the type and payload of the last message about a task.
If there is no room for it, the client may ask again."
  (unless (link-send link (client-address client) (car answer) (cdr answer))
    (recent-sequences-discard (client-known client) task-id)))

(defstruct (clients (:constructor make-clients (limits entropy)))
  "All addresses that have sent something recently."
  (limits nil :type head-limits :read-only t)
  (entropy nil :type entropy :read-only t)
  (by-address (make-hash-table) :type hash-table :read-only t))

(defun clients-waiting (clients)
  "Return those with unfinished tasks."
  (loop for client being the hash-values of (clients-by-address clients)
        when (client-unfinished-p client)
          collect client))

(defun clients-get (clients address)
  "Return what is known of ADDRESS, or NIL."
  (values (gethash address (clients-by-address clients))))

(defun clients-forget (clients address)
  "Forget ADDRESS and return what was known of it, or NIL."
  (let ((client (clients-get clients address)))
    (remhash address (clients-by-address clients))
    client))

(defun clients-heard (clients address now)
  "Return the client at ADDRESS, which has just sent something."
  (let ((client (clients-get clients address)))
    (unless client
      (when (>= (hash-table-count (clients-by-address clients))
                (head-limits-clients (clients-limits clients)))
        (forget-one clients))
      (setf client (make-client address (clients-entropy clients))
            (gethash address (clients-by-address clients)) client))
    (setf (client-seen-at client) now)
    client))

(defun forget-one (clients)
  (loop for client being the hash-values of (clients-by-address clients)
        unless (client-unfinished-p client)
          return (clients-forget clients (client-address client))))

(defun clients-remember (clients client task-id now)
  "Know TASK-ID of CLIENT from now on; all clients get an equal part of the memory."
  (let ((known (client-known client)))
    (setf (recent-sequences-capacity known)
          (max 1 (floor (head-limits-remembered-ids (clients-limits clients))
                        (hash-table-count (clients-by-address clients)))))
    (recent-sequences-add known task-id now)))

(defun clients-expire (clients now)
  "Forget clients without an unfinished task that have been silent for as long as ids are remembered."
  (let ((oldest (- now (remembered))))
    (loop for client being the hash-values of (clients-by-address clients)
          when (and (< (client-seen-at client) oldest) (not (client-unfinished-p client)))
            do (clients-forget clients (client-address client)))))
