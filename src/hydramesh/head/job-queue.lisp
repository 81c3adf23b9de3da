(defpackage #:hydramesh/head/job-queue
  (:use #:cl)
  (:import-from #:hydramesh/head/job
                #:job #:job-awaits #:job-weight #:job-number #:job-queued-at #:job-failed-on #:job-group-key
                #:job-forget-group-key)
  (:import-from #:hydramesh/head/line
                #:make-line #:line-empty-p #:line-first #:line-insert #:line-items #:line-remove)
  (:import-from #:hydramesh/head/shares
                #:share #:make-share #:share-host #:share-served #:share-standings
                #:shares #:make-shares #:shares-join #:shares-leave #:shares-charge #:shares-most)
  (:import-from #:hydramesh/head/turns
                #:turns #:make-turns #:turns-empty-p #:turns-put #:turns-drop #:turns-next
                #:turns-standings #:standing #:standing-share #:standing-member)
  (:import-from #:hydramesh/head/worker #:worker-awaited)
  (:export #:job-queue #:make-job-queue #:job-queue-length #:job-queue-group-of #:job-queue-add
           #:job-queue-remove #:job-queue-await #:job-queue-patient #:job-queue-serve #:job-queue-giving-way #:job-queue-groups
           #:group #:group-unservable-since #:group-first #:group-jobs)
  (:documentation "The bounded queue of jobs that wait for a worker.

Jobs that can run on the same workers form a group. Within a group and among groups, clients take
turns as hydramesh/head/shares says, and each client's jobs go in the order of arrival; a group that
has to wait does not hold up the others. A job that was on a worker before has had its turn already
and goes first."))
(in-package #:hydramesh/head/job-queue)

;;; Groups

(defstruct (group (:copier nil))
  "Jobs that can run on the same workers, which is what their KEY says; MOVED-P ones were on another
one before.

HOSTS are turns of the TURNS of clients, whose members are lines of jobs. UNSERVABLE-SINCE is when
the last such worker was lost, NIL while there is one. HOST-SERVED, SERVED and NUMBER are the order in
which JOB-QUEUE-SERVE goes by it."
  (key nil :read-only t)
  (moved-p nil :read-only t)
  (hosts (make-turns) :type turns :read-only t)
  (unservable-since nil)
  (host-served 0d0 :type double-float)
  (served 0d0 :type double-float)
  (number 0 :type fixnum))

(defstruct (place (:copier nil))
  "Where a job waits: in its GROUP as one of its SHARE, at the places NODE of the line that its share
has there, and SHARE-NODE of its share's own."
  (group nil :type group :read-only t)
  (share nil :type share :read-only t)
  (node nil :read-only t)
  (share-node nil :read-only t))

(defun group-empty-p (group)
  (turns-empty-p (group-hosts group)))

(defun group-first (group)
  "Return the job whose turn it is."
  (line-first (standing-member (turns-next (standing-member (turns-next (group-hosts group)))))))

(defun group-jobs (group)
  "Return a list of all jobs in GROUP, in the order of arrival."
  (sort (loop for host in (turns-standings (group-hosts group))
              nconc (loop for client in (turns-standings (standing-member host))
                          nconc (line-items (standing-member client))))
        #'< :key #'job-number))

(defun note-order (group)
  "Note what GROUP is to be served by; return whether that has changed."
  (let* ((host (turns-next (group-hosts group)))
         (client (turns-next (standing-member host)))
         (host-served (share-served (standing-share host)))
         (served (share-served (standing-share client)))
         (number (job-number (line-first (standing-member client)))))
    (unless (and (= host-served (group-host-served group))
                 (= served (group-served group))
                 (= number (group-number group)))
      (setf (group-host-served group) host-served
            (group-served group) served
            (group-number group) number))))

(defun served-before-p (one other)
  "Return whether the group ONE is to be served before OTHER, as far as was noted."
  (declare (type group one other))
  (cond ((not (eq (group-moved-p one) (group-moved-p other))) (group-moved-p one))
        ((/= (group-host-served one) (group-host-served other))
         (< (group-host-served one) (group-host-served other)))
        ((/= (group-served one) (group-served other)) (< (group-served one) (group-served other)))
        (t (< (group-number one) (group-number other)))))

(defun standing-in (group share)
  "Return the standing of SHARE in GROUP, or NIL."
  (cdr (assoc group (share-standings share) :test #'eq)))

(defun stand (group share turns member number)
  "Let SHARE have MEMBER waiting in GROUP, and take TURNS; return MEMBER."
  (push (cons group (turns-put turns share member number)) (share-standings share))
  member)

(defun unstand (group share turns)
  "Let SHARE, which has nothing left in GROUP, take no more TURNS."
  (let ((entry (assoc group (share-standings share) :test #'eq)))
    (turns-drop turns (cdr entry))
    (setf (share-standings share) (delete entry (share-standings share) :test #'eq :count 1))))

(defun group-add (group job share)
  "Add JOB, of the client with that SHARE, in the order of arrival; return its place in the line."
  (let* ((host (share-host share))
         (number (job-number job))
         (standing (standing-in group host))
         (clients (if standing
                      (standing-member standing)
                      (stand group host (group-hosts group) (make-turns) number)))
         (standing (standing-in group share))
         (jobs (if standing
                   (standing-member standing)
                   (stand group share clients (make-line) number))))
    (line-insert jobs job #'job-number)))

(defun group-remove (group share node)
  "Remove the job that is at the place NODE of the line of SHARE."
  (let* ((host (share-host share))
         (clients (standing-member (standing-in group host)))
         (jobs (standing-member (standing-in group share))))
    (line-remove jobs node)
    (when (line-empty-p jobs)
      (unstand group share clients))
    (when (turns-empty-p clients)
      (unstand group host (group-hosts group)))))

;;; Queue

(defstruct (job-queue (:copier nil))
  "All jobs that wait, in the groups of TABLE, which are found by their keys. PLACES are where they wait,
by their numbers, and PATIENT those of them that wait for a worker though others are free. HAD-TURN is the share of all that were on a worker before."
  (table (make-hash-table :test 'equal) :type hash-table :read-only t)
  (shares (make-shares) :type shares :read-only t)
  (places (make-hash-table) :type hash-table :read-only t)
  (patient (make-hash-table) :type hash-table :read-only t)
  (had-turn (make-share nil (make-share nil nil)) :type share :read-only t))

(defun job-queue-length (queue)
  "Return the number of jobs that wait."
  (hash-table-count (job-queue-places queue)))

(defun job-queue-group-of (queue job)
  "Return the group that JOB belongs to, if there are jobs in it, else NIL."
  (values (gethash (job-group-key job) (job-queue-table queue))))

(defun job-queue-add (queue job now)
  "Let JOB wait; return its group."
  (let ((moved-p (and (job-failed-on job) t)))
    (setf (job-queued-at job) now)
    (multiple-value-bind (share share-node)
        (if moved-p
            (job-queue-had-turn queue)
            (shares-join (job-queue-shares queue) job))
      (enter queue job moved-p share share-node))))

(defun enter (queue job moved-p share share-node)
  "Put JOB into the group where it belongs, as one of its SHARE; return that group."
  (let* ((key (job-group-key job))
         (groups (job-queue-table queue))
         (group (or (gethash key groups)
                    (setf (gethash key groups) (make-group :key key :moved-p moved-p)))))
    (setf (gethash (job-number job) (job-queue-places queue))
          (make-place :group group :share share :share-node share-node
                      :node (group-add group job share)))
    group))

(defun leave (queue place)
  "Take the job at PLACE out of its group, and that out of the queue if it is empty then."
  (let ((group (place-group place)))
    (group-remove group (place-share place) (place-node place))
    (when (group-empty-p group)
      (remhash (group-key group) (job-queue-table queue)))))

(defun job-queue-await (queue job worker)
  "Let JOB, which waits or is about to, wait for WORKER, or for any if that is NIL, as if it always had.
It keeps its turn, and holds up only those behind it that wait for the same worker."
  (unless (eq worker (job-awaits job))
    (let ((place (gethash (job-number job) (job-queue-places queue))))
      (when place
        (leave queue place))
      (note-awaits queue job worker)
      (when place
        (let ((before (place-group place)))
          (setf (group-unservable-since (enter queue job (group-moved-p before)
                                               (place-share place) (place-share-node place)))
                (group-unservable-since before)))))))

(defun note-awaits (queue job worker)
  (when (job-awaits job)
    (decf (worker-awaited (job-awaits job)))
    (remhash (job-number job) (job-queue-patient queue)))
  (setf (job-awaits job) worker)
  (job-forget-group-key job)
  (when worker
    (incf (worker-awaited worker))
    (setf (gethash (job-number job) (job-queue-patient queue)) job)))

(defun job-queue-remove (queue job &optional (cost 0d0))
  "Remove JOB, which must be waiting; charge its client COST, in seconds of a worker, for its turn."
  (let* ((place (gethash (job-number job) (job-queue-places queue)))
         (share (place-share place)))
    (remhash (job-number job) (job-queue-places queue))
    (leave queue place)
    (unless (group-moved-p (place-group place))
      (shares-leave (job-queue-shares queue) job share (place-share-node place))
      (shares-charge (job-queue-shares queue) share cost (job-weight job)))
    (when (job-awaits job)
      (note-awaits queue job nil))))

(defun job-queue-groups (queue)
  "Return a list of the groups, which may change meanwhile."
  (loop for group being the hash-values of (job-queue-table queue) collect group))

(defun job-queue-giving-way (queue job measure size)
  "Return the job that should give way to JOB, see SHARES-MOST."
  (shares-most (job-queue-shares queue) job measure size))

(defun job-queue-serve (queue assign room-p)
  "Assign jobs to workers, in turn, while ROOM-P returns true.

ASSIGN assigns a job and returns its cost in seconds, NIL if it has to wait, with all others of its
group, unless it has had it await a worker."
  (declare (type function assign room-p))
  (let ((groups (job-queue-groups queue)))
    (mapc #'note-order groups)
    (setf groups (sort groups #'served-before-p))
    (loop while (and groups (funcall room-p))
          do (let ((group (pop groups)))
               (if (note-order group) ; its client has been served from another group meanwhile
                   (setf groups (merge 'list (list group) groups #'served-before-p))
                   (let* ((job (group-first group))
                          (cost (funcall assign job)))
                     (when cost
                       (job-queue-remove queue job cost))
                     (unless (or (group-empty-p group)
                                 (eq job (group-first group)))
                       (note-order group)
                       (setf groups (merge 'list (list group) groups #'served-before-p)))))))))
