(defpackage #:hydramesh/head/shares
  (:use #:cl)
  (:import-from #:hydramesh/address #:address-port)
  (:import-from #:hydramesh/head/clients #:client-host #:client-address)
  (:import-from #:hydramesh/head/job #:job #:job-client #:job-user #:job-bytes)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-idle-shares)
  (:import-from #:hydramesh/head/line
                #:line #:make-line #:line-append #:line-remove #:line-last)
  (:export #:share #:make-share #:share-host #:share-queued #:share-bytes #:share-served
           #:share-standings
           #:shares #:make-shares #:shares-join #:shares-leave #:shares-charge #:shares-most)
  (:documentation "Whose turn it is among the clients whose tasks wait.

Workers' time is shared by start-time fair queueing (Goyal, Vin and Cheng, 1996) on two levels: among
hosts, and within a host among its clients. A share has a virtual time, which grows by what its tasks
cost when they get a worker; the share with the least virtual time is next. One that had nothing
waiting starts at the present, so nobody can save up turns.

A client is an address together with what it says in Task.client. More ports or more names gain
nothing, as they only divide the host's share; nor does a larger Task.weight, by which a client's
virtual time grows more slowly."))
(in-package #:hydramesh/head/shares)

(defstruct (share (:constructor make-share (name host)) (:copier nil))
  "A host, or a client within its HOST.

JOBS are those of a client that wait, in the order in which they came to wait. QUEUED is their number
and BYTES their size; a host's are those of all its CLIENTS. SERVED is the share's virtual time, in
seconds of a worker, CLOCK the present for its CLIENTS. STANDINGS are what it has waiting in each
group of the queue."
  (name nil :read-only t)
  (host nil :type (or null share) :read-only t)
  (clients nil :type (or null hash-table))
  (jobs (make-line) :type line :read-only t)
  (queued 0 :type fixnum)
  (bytes 0 :type fixnum)
  (served 0d0 :type double-float)
  (clock 0d0 :type double-float)
  (standings '() :type list))

(defun share-client (share name)
  "Return the share of its client with that NAME, which is compared by EQUAL and copied."
  (let ((clients (or (share-clients share)
                     (setf (share-clients share) (make-hash-table :test 'equal)))))
    (or (gethash name clients)
        (progn
          (when (> (hash-table-count clients) (head-limits-idle-shares +limits+))
            (forget-idle share))
          (let ((name (if (consp name) (cons (car name) (cdr name)) name)))
            (setf (gethash name clients) (make-share name share)))))))

(defun forget-idle (share)
  "Forget its clients with nothing in the queue that were served no more than others, and any others
beyond a bound."
  (let* ((most (head-limits-idle-shares +limits+))
         (clients (share-clients share))
         (idle (loop for client being the hash-values of clients
                     when (zerop (share-queued client)) collect client))
         (left (length idle)))
    (dolist (client (sort idle #'< :key #'share-served))
      (unless (or (<= (share-served client) (share-clock share)) (> left most))
        (return))
      (remhash (share-name client) clients)
      (decf left))))

(defmacro do-levels ((level share) &body body)
  "Run BODY for SHARE, its host and what all hosts are in."
  `(loop for ,level = ,share then (share-host ,level)
         while ,level
         do (progn ,@body)))

(defstruct (shares (:copier nil))
  "The shares of all whose tasks wait, or recently did."
  (all (make-share nil nil) :type share :read-only t))

(defun share-of (shares job)
  "Return the share to which JOB belongs."
  (let* ((client (job-client job))
         (host (share-client (shares-all shares) (client-host client)))
         (name (cons (address-port (client-address client)) (job-user job))))
    (declare (dynamic-extent name))
    (share-client host name)))

(defun shares-join (shares job)
  "Let JOB wait for its turn; return its client's share, and its place there for SHARES-LEAVE."
  (let ((share (share-of shares job))
        (bytes (job-bytes job)))
    (do-levels (level share)
      (let ((above (share-host level)))
        (when (and above (zerop (share-queued level)))
          (setf (share-served level) (max (share-served level) (share-clock above)))))
      (incf (share-queued level))
      (incf (share-bytes level) bytes))
    (values share (line-append (share-jobs share) job))))

(defun shares-leave (shares job share place)
  "Let JOB, which is at that PLACE of SHARE, wait no longer."
  (declare (ignore shares))
  (line-remove (share-jobs share) place)
  (let ((bytes (job-bytes job)))
    (do-levels (level share)
      (decf (share-queued level))
      (decf (share-bytes level) bytes))))

(defun shares-charge (shares share cost weight)
  "Count COST, in seconds of a worker, as served to a client of that WEIGHT."
  (declare (ignore shares) (type double-float cost weight))
  (do-levels (level share)
    (let ((above (share-host level)))
      (when above
        (setf (share-clock above) (max (share-clock above) (share-served level)))
        (incf (share-served level) (/ cost weight))
        (setf weight 1d0)))))           ; it is among the clients of one host: hosts have none

(defun shares-most (shares job measure size)
  "Return the waiting job that should give way to JOB, which adds SIZE to MEASURE.

MEASURE is #'SHARE-QUEUED or #'SHARE-BYTES. It is the latest job of the share that has most, and NIL
if that is the share of JOB."
  (let* ((own (share-of shares job))
         (host (share-host own)))
    (loop for mine in (list host own)
          for above in (list (shares-all shares) host)
          for largest = (largest above measure mine)
          unless (eq largest mine)
            do (return
                 (when (> (funcall measure largest) (+ (funcall measure mine) size))
                   (loop while (share-clients largest)
                         do (setf largest (largest largest measure)))
                   (line-last (share-jobs largest)))))))

(defun largest (share measure &optional mine)
  "Return the client of SHARE that has most of MEASURE: MINE if no other has more."
  (let* ((largest mine)
         (most (if mine (funcall measure mine) -1)))
    (declare (type fixnum most))
    (loop for client being the hash-values of (share-clients share)
          for amount of-type fixnum = (funcall measure client)
          when (> amount most)
            do (setf largest client
                     most amount))
    largest))
