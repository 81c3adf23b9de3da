(defpackage #:hydramesh/head/registry
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/head/contenders #:contenders #:make-contenders)
  (:import-from #:hydramesh/head/in-force #:in-force #:make-in-force)
  (:import-from #:hydramesh/head/limits
                #:head-limits #:head-limits-incarnations #:head-limits-workers
                #:head-limits-heartbeats-memory #:head-limits-stopped #:head-limits-failing)
  (:import-from #:hydramesh/head/model-index
                #:model-index #:make-model-index #:model-index-remembered-rate)
  (:import-from #:hydramesh/head/proximity #:proximity-answer)
  (:import-from #:hydramesh/head/worker
                #:worker #:worker-breaker #:worker-id #:worker-incarnation #:worker-process #:worker-number
                #:worker-address #:worker-bytes #:worker-proximity #:worker-retired #:worker-seen-at
                #:worker-note-elsewhere #:worker-offer)
  (:import-from #:hydramesh/head/worker-models #:worker-leave)
  (:import-from #:hydramesh/head/worker-updates #:make-worker #:worker-update)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:registry #:make-registry #:registry-workers #:registry-count #:registry-index #:registry-lending
           #:registry-contenders #:registry-in-force #:registry-remembered-rate
           #:registry-get #:registry-at #:registry-answered #:registry-note-elsewhere #:registry-heard #:registry-remove
           #:registry-retire #:registry-silent-since #:registry-deafen #:registry-deaf-p)
  (:documentation "The workers that this head hears from."))
(in-package #:hydramesh/head/registry)

(defconstant +twins+ 3
  "Heartbeats of a replaced process that are no longer explained by delay.")

(defstruct (registry (:constructor make-registry (limits)) (:copier nil))
  "All workers heard from recently: WORKERS is a list of them in the order in which they came, which
a change replaces and does not alter. INDEX has their models. LENDING is how
many of them lend memory to models of others. CONTENDERS are those that the last choice was among,
IN-FORCE the policy that has a say in it. STOPPED are processes of which nothing
is heard any more, DEAF addresses that may be heard, but do not hear this head, and FAILING an alist of the
breakers of processes that were lost; all have the latest first. ELSEWHERE are the tasks that other heads say that
they have on workers, by their ids."
  (limits nil :type head-limits :read-only t)
  (workers '() :type list)
  (by-id (make-hash-table :test 'equal) :type hash-table :read-only t)
  (by-address (make-hash-table) :type hash-table :read-only t)
  (index (make-model-index) :type model-index :read-only t)
  (numbers 0 :type fixnum)
  (bytes 0 :type fixnum)
  (lending 0 :type fixnum)
  (contenders (make-contenders) :type contenders :read-only t)
  (in-force (make-in-force) :type in-force :read-only t)
  (stopped '() :type list)
  (deaf '() :type list)
  (failing '() :type list)
  (elsewhere (make-hash-table :test 'equal) :type hash-table :read-only t))

(defun registry-remembered-rate (registry)
  "Return the function that tells which rate a model had on a worker before, see MODEL-INDEX."
  (model-index-remembered-rate (registry-index registry)))

(defun (setf registry-remembered-rate) (function registry)
  (setf (model-index-remembered-rate (registry-index registry)) function))

(defun registry-count (registry)
  "Return the number of workers."
  (hash-table-count (registry-by-id registry)))

(defun registry-get (registry worker-id)
  "Return the worker with that id, or NIL."
  (values (gethash worker-id (registry-by-id registry))))

(defun registry-at (registry address)
  "Return the worker at ADDRESS, or NIL."
  (values (gethash address (registry-by-address registry))))

(defun registry-answered (registry address rtt threshold)
  "Note that a PING to ADDRESS was answered after RTT; THRESHOLD divides groups, both in microseconds."
  (when (registry-deaf registry)
    (setf (registry-deaf registry) (remove address (registry-deaf registry))))
  (let ((worker (registry-at registry address)))
    (when worker
      (proximity-answer (worker-proximity worker) rtt threshold))))

(defun registry-note-elsewhere (registry worker-id number contested)
  "Note that other heads say that they have NUMBER tasks on a worker, which need not be known. CONTESTED: they have
others that wait."
  (if (zerop number)
      (remhash worker-id (registry-elsewhere registry))
      (setf (gethash worker-id (registry-elsewhere registry)) (cons number contested)))
  (let ((worker (registry-get registry worker-id)))
    (when worker
      (worker-note-elsewhere worker number contested))))

(defun told-elsewhere (registry worker)
  "Return WORKER, which is new, with what other heads say of it."
  (destructuring-bind (number . contested) (gethash (worker-id worker) (registry-elsewhere registry) '(0))
    (worker-note-elsewhere worker number contested))
  worker)

(defun registry-heard (registry heartbeat address now)
  "Register or update the worker that sent HEARTBEAT.

Return that worker, NIL if the heartbeat comes from a process that has stopped or was replaced by
another of the same id, or if there is no room for it; and a list of the workers that it shows to be
gone: an earlier process of that id, and another worker at that address."
  (let* ((id (pb:heartbeat-worker-id heartbeat))
         (incarnation (pb:heartbeat-incarnation heartbeat))
         (known (registry-get registry id))
         (same (and known (= (worker-incarnation known) incarnation)))
         (twin (and known (not same) (assoc incarnation (worker-retired known))))
         (size (pb:encoded-size heartbeat)))
    (when twin
      (count-twin known twin address))
    (if (or twin
            (stopped-p registry id incarnation)
            (not (room-p registry size known)))
        (values nil '())
        (let ((there (registry-at registry address))
              (gone '()))
          (when (and there (string/= (worker-id there) id))
            (push there gone)
            (registry-remove registry there))
          (let ((worker (cond (same
                               (uncount registry known)
                               (worker-update known heartbeat address now)
                               known)
                              (known
                               (push known gone)
                               (replace-process registry known heartbeat address now))
                              (t
                               (add registry heartbeat address now)))))
            (setf (worker-bytes worker) size
                  (gethash address (registry-by-address registry)) worker)
            (incf (registry-bytes registry) size)
            (when (worker-offer worker)
              (incf (registry-lending registry)))
            (values worker (nreverse gone)))))))

(defun stopped-p (registry id incarnation)
  (and (registry-stopped registry)
       (find-if (lambda (process)
                  (and (eql (cdr process) incarnation) (string= (car process) id)))
                (registry-stopped registry))))

(defun room-p (registry size known)
  (and (or known (< (registry-count registry) (head-limits-workers (registry-limits registry))))
       (<= (+ (registry-bytes registry) size (- (if known (worker-bytes known) 0)))
           (head-limits-heartbeats-memory (registry-limits registry)))))

(defun count-twin (known twin address)
  "Count a heartbeat from ADDRESS of TWIN, an entry of those that KNOWN has replaced."
  (when (= (incf (cdr twin)) +twins+)
    (log-warning "two workers have the same id, so one of them gets no tasks; give each a state_dir of its own"
                 :worker (worker-id known)
                 :served (format-address (worker-address known))
                 :ignored (format-address address))))

(defun add (registry heartbeat address now)
  "Return a worker that was not known."
  (let ((worker (told-elsewhere registry (make-worker heartbeat address now (registry-index registry)))))
    (setf (worker-number worker) (incf (registry-numbers registry))
          (worker-breaker worker) (take-breaker registry (worker-process worker))
          (gethash (worker-id worker) (registry-by-id registry)) worker
          (registry-workers registry) (append (registry-workers registry) (list worker)))
    worker))

(defun replace-process (registry known heartbeat address now)
  "Return the worker that takes the place of KNOWN, an earlier process of its id."
  (uncount registry known)
  (worker-leave known)
  (let ((worker (told-elsewhere registry (make-worker heartbeat address now (registry-index registry))))
        (retired (append (worker-retired known) (list (cons (worker-incarnation known) 0)))))
    (when (> (length retired) (head-limits-incarnations (registry-limits registry)))
      (pop retired))
    (setf (worker-retired worker) retired
          (worker-number worker) (worker-number known)
          (gethash (worker-id worker) (registry-by-id registry)) worker
          (registry-workers registry) (substitute worker known (registry-workers registry)
                                                  :test #'eq))
    worker))

(defun registry-remove (registry worker)
  "Forget WORKER; its next heartbeat brings it back."
  (when (eq (registry-get registry (worker-id worker)) worker)
    (remhash (worker-id worker) (registry-by-id registry))
    (setf (registry-workers registry) (remove worker (registry-workers registry) :test #'eq))
    (worker-leave worker)
    (uncount registry worker)
    (when (worker-breaker worker)
      (keep-breaker registry worker))))

(defun keep-breaker (registry worker)
  "Remember what speaks against WORKER, for the same process may come back."
  (let ((most (head-limits-failing (registry-limits registry))))
    (push (cons (worker-process worker) (worker-breaker worker)) (registry-failing registry))
    (when (nthcdr most (registry-failing registry))
      (setf (registry-failing registry) (subseq (registry-failing registry) 0 most)))))

(defun take-breaker (registry process)
  "Return the breaker of PROCESS, which is back, NIL if nothing spoke against it."
  (let ((kept (assoc process (registry-failing registry) :test #'equal)))
    (when kept
      (setf (registry-failing registry) (remove kept (registry-failing registry) :test #'eq))
      (cdr kept))))

(defun uncount (registry worker)
  (decf (registry-bytes registry) (worker-bytes worker))
  (when (worker-offer worker)
    (decf (registry-lending registry)))
  (when (eq (registry-at registry (worker-address worker)) worker)
    (remhash (worker-address worker) (registry-by-address registry))))

(defun registry-retire (registry worker)
  "Ignore what WORKER sent before it stopped and arrives only now."
  (let ((most (head-limits-stopped (registry-limits registry))))
    (pushnew (worker-process worker) (registry-stopped registry) :test #'equal)
    (when (nthcdr most (registry-stopped registry))
      (setf (registry-stopped registry) (subseq (registry-stopped registry) 0 most)))))

(defun registry-deafen (registry address)
  "Expect that whoever is at ADDRESS hears nothing, until it answers a PING."
  (let ((most (head-limits-workers (registry-limits registry)))
        (others (remove address (registry-deaf registry))))
    (setf (registry-deaf registry) (cons address (if (nthcdr (1- most) others)
                                                     (subseq others 0 (1- most))
                                                     others)))))

(defun registry-deaf-p (registry address)
  "Return whether whoever is at ADDRESS may be heard, but does not hear this head."
  (member address (registry-deaf registry)))

(defun registry-silent-since (registry moment)
  "Return the workers not heard from since MOMENT, which may be below 0."
  (loop for worker in (registry-workers registry)
        when (< (worker-seen-at worker) moment)
          collect worker))
