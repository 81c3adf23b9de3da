(defpackage #:hydramesh/head/heads
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address #:loopback-p #:numeric)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher #:dispatcher-in-flight #:dispatcher-queue #:dispatcher-workers)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length)
  (:import-from #:hydramesh/head/proximity #:proximity-group)
  (:import-from #:hydramesh/head/presence #:named-heads)
  (:import-from #:hydramesh/head/registry #:registry-count #:registry-note-elsewhere #:registry-workers)
  (:import-from #:hydramesh/head/worker #:worker-attempts #:worker-id #:worker-proximity #:worker-set-aside-p)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/sync/exchange
                #:exchange #:make-exchange #:exchange-id #:exchange-leave #:exchange-name
                #:exchange-neighbours #:exchange-role #:exchange-take #:exchange-tick)
  (:import-from #:hydramesh/sync/limits #:+addresses+)
  (:import-from #:hydramesh/sync/neighbour
                #:neighbour-address #:neighbour-heard-at #:neighbour-id #:neighbour-replica #:neighbour-rtt)
  (:import-from #:hydramesh/sync/replica #:replica-fact #:replica-workers)
  (:import-from #:hydramesh/sync/state #:make-view)
  (:import-from #:hydramesh/version #:+version+)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:heads #:make-heads #:heads-exchange #:heads-peers #:heads-take #:heads-tick #:heads-leave
           #:master-p #:heads-statuses #:heads-views)
  (:documentation "The other heads: where to look for them, what they are told of this one, and what they
tell.

What they have on a worker counts as its load at once, before the worker's next heartbeat tells of it."))
(in-package #:hydramesh/head/heads)

(defconstant +farthest+ (1- (ash 1 31)) "The largest group that can be told.")

(defparameter +look+ (seconds 2) "Between two times that it is seen which heads workers name.")

(defstruct (heads (:constructor %make-heads) (:copier nil))
  "PEERS are the addresses at which the settings say that there are heads. REACHABLE-P is a function that
tells of an address whether a head there may be spoken to; CLOSED-P one that tells whether this head takes
no more tasks. SEALED: whatever comes is from a member of the cluster. NOW is when time was last told."
  (dispatcher nil :type dispatcher :read-only t)
  (closed-p nil :type function :read-only t)
  (reachable-p nil :type function :read-only t)
  (sealed nil :type boolean :read-only t)
  (exchange nil :type (or null exchange))
  (peers '() :type list)
  (look-at 0 :type microseconds)
  (now 0 :type microseconds))

(defun make-heads (dispatcher link id incarnation &key closed-p reachable-p sealed)
  "Return what knows the heads beside the one with ID and INCARNATION, of which none is heard yet."
  (let ((heads (%make-heads :dispatcher dispatcher :closed-p closed-p :reachable-p reachable-p
                            :sealed sealed)))
    (setf (heads-exchange heads)
          (make-exchange id
                         incarnation
                         link
                         (lambda () (facts heads))
                         (lambda (worker-id number contested)
                           (registry-note-elsewhere (dispatcher-workers dispatcher)
                                                    worker-id number contested))
                         sealed))
    heads))

;;; What this head tells

(defun state-of (heads)
  (if (funcall (heads-closed-p heads)) pb:+draining+ pb:+ready+))

(defun facts (heads)
  "Return an alist of all that others are told of this head."
  (let* ((dispatcher (heads-dispatcher heads))
         (workers (dispatcher-workers dispatcher)))
    (list* (cons :version +version+)
           (cons :state (state-of heads))
           (cons :workers (registry-count workers))
           (cons :queued (job-queue-length (dispatcher-queue dispatcher)))
           (cons :in-flight (dispatcher-in-flight dispatcher))
           (loop for worker in (registry-workers workers)
                 for view = (view-of worker (heads-now heads))
                 when view
                   collect (cons (cons :worker (worker-id worker)) view)))))

(defun view-of (worker now)
  "Return what is told of WORKER, NIL if there is nothing to tell."
  (let ((assigned (hash-table-count (worker-attempts worker)))
        (group (proximity-group (worker-proximity worker)))
        (aside (worker-set-aside-p worker now)))
    (when (or (plusp assigned) group aside)
      (make-view assigned (and group (min group +farthest+)) (and aside t)))))

;;; Where there are others

(defun heads-tick (heads now)
  "Do what time demands; to be called several times a second."
  (setf (heads-now heads) now)
  (when (>= now (heads-look-at heads))
    (setf (heads-look-at heads) (+ now +look+))
    (exchange-name (heads-exchange heads) (addresses heads)))
  (exchange-tick (heads-exchange heads) now))

(defun addresses (heads)
  "Return where there may be heads, those first that the settings name."
  (remove-duplicates
   (remove-if-not (heads-reachable-p heads)
                  (append (heads-peers heads)
                          (named-by-workers heads)))
   :from-end t))

(defun named-by-workers (heads)
  (loop for name in (named-heads (registry-workers (dispatcher-workers (heads-dispatcher heads)))
                                 t +addresses+)
        for address = (numeric name)
        ;; Without a key anyone can be a worker, and have this head write to any machine.
        when (or (heads-sealed heads) (loopback-p address))
          collect address))

(defun heads-take (heads message now)
  "Take MESSAGE, a SYNC."
  (exchange-take (heads-exchange heads) message now))

(defun heads-leave (heads now)
  "Tell the others that this head ends."
  (exchange-leave (heads-exchange heads) now))

;;; What others tell

(defun role (heads)
  (exchange-role (heads-exchange heads) (= (state-of heads) pb:+ready+)))

(defun master-p (heads)
  "Return whether this head is the master of those that hear each other; alone, it is."
  (= (role heads) pb:+master+))

(defun heads-statuses (heads now)
  "Return a list of PB:HEAD-STATUS: this head, and all that it hears in the order of their ids."
  (let ((dispatcher (heads-dispatcher heads)))
    (cons (pb:make-head-status :id (exchange-id (heads-exchange heads))
                               :version +version+
                               :state (state-of heads)
                               :master (master-p heads)
                               :workers (registry-count (dispatcher-workers dispatcher))
                               :queued (job-queue-length (dispatcher-queue dispatcher))
                               :in-flight (dispatcher-in-flight dispatcher))
          (mapcar (lambda (neighbour) (status-of neighbour now)) (neighbours heads)))))

(defun neighbours (heads)
  (sort (copy-list (exchange-neighbours (heads-exchange heads))) #'string< :key #'neighbour-id))

(defun status-of (neighbour now)
  (let ((replica (neighbour-replica neighbour)))
    (flet ((told (key default) (replica-fact replica key default)))
      (pb:make-head-status :id (neighbour-id neighbour)
                           :address (format-address (neighbour-address neighbour))
                           :version (told :version "")
                           :state (told :state 0)
                           :master (= (told :role 0) pb:+master+)
                           :age-ms (floor (- now (neighbour-heard-at neighbour)) 1000)
                           :rtt-ms (/ (or (neighbour-rtt neighbour) 0) 1000d0)
                           :workers (told :workers 0)
                           :queued (told :queued 0)
                           :in-flight (told :in-flight 0)))))

(defun heads-views (heads id)
  "Return an alist of what the head with that ID tells of workers, by their ids."
  (let ((neighbour (find id (neighbours heads) :key #'neighbour-id :test #'string=)))
    (and neighbour
         (sort (loop for worker-id being the hash-keys of (replica-workers (neighbour-replica neighbour))
                       using (hash-value view)
                     collect (cons worker-id view))
               #'string< :key #'car))))
