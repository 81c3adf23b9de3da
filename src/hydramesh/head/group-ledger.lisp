(defpackage #:hydramesh/head/group-ledger
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/groups
                #:make-host #:form #:formation-lead #:formation-lead-bytes #:formation-members)
  (:import-from #:hydramesh/head/job #:job-model #:job-needs #:job-tags)
  (:import-from #:hydramesh/head/limits #:head-limits #:head-limits-members)
  (:import-from #:hydramesh/head/model-index
                #:+loaded+ #:+loading+ #:worker-model-readiness #:worker-model-shards)
  (:import-from #:hydramesh/head/registry #:registry #:registry-get #:registry-workers)
  (:import-from #:hydramesh/head/scheduling #:allowed-p)
  (:import-from #:hydramesh/head/shared-model
                #:make-part #:part-process #:part-name #:part-address #:part-bytes
                #:make-shared-model #:shared-model-model #:shared-model-lead #:shared-model-members
                #:shared-model-used-at #:shared-model-has-p #:shared-model-bytes-of
                #:shared-model-blamed)
  (:import-from #:hydramesh/head/tags #:tag-subset-p)
  (:import-from #:hydramesh/head/worker
                #:worker-attempts #:worker-heartbeat #:worker-id #:worker-lacks-p #:worker-memory
                #:worker-models #:worker-offer #:worker-process #:worker-rtt #:worker-serving-p
                #:worker-state #:worker-tags #:worker-takes #:worker-title)
  (:import-from #:hydramesh/service/logs #:log-info)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:group-ledger #:make-group-ledger #:group-ledger-held #:group-ledger-formed
           #:group-ledger-may-serve-p #:group-ledger-lost #:group-ledger-failed #:group-ledger-tick
           #:group-ledger-groups)
  (:documentation "The models that several workers hold together, and what of whose memory is given away.

A group lasts while all of its workers are there and the one that leads has the model loaded. Heads keep
nothing that heartbeats do not restore: the group that another head has formed, or this one before it was
restarted, is taken over from what its leader says."))
(in-package #:hydramesh/head/group-ledger)

(defconstant +kept+ (seconds 10)
  "How long after its last task a group's leader may still not say that it has the model.")

(defconstant +set-aside+ (seconds 10)
  "How long no group is formed with a worker that another one has lost. By then one whose machine is gone
is out of the registry, and another lends again.")

(defstruct (group-ledger (:constructor make-group-ledger (workers limits)) (:copier nil))
  "All GROUPS of the head's WORKERS. OFFERED is an alist: what processes lent, and could hold, when the
first of their groups was formed. ASIDE is one too: until when processes are left alone."
  (workers nil :type registry :read-only t)
  (limits nil :type head-limits :read-only t)
  (groups '() :type list)
  (offered '() :type list)
  (aside '() :type list))

(defun group-ledger-held (ledger job now)
  "Return who leads a group that holds the model of JOB, and that group; NIL if there is none."
  (dolist (worker (leads ledger job #'ready-p))
    (let ((group (held-by ledger worker (job-model job) now)))
      (when group
        (return (values worker group))))))

(defun group-ledger-formed (ledger job now)
  "Form a group for JOB; return who leads it, and it, NIL if memory does not suffice."
  (let* ((leads (leads ledger job #'ready-p))
         (lenders (remove-if-not (lambda (worker) (usable-p ledger worker now)) (lenders ledger job)))
         (formed (and leads
                      (form (loop for worker in leads collect (as-lead ledger worker job))
                            (loop for worker in lenders collect (as-member ledger worker))
                            (head-limits-members (group-ledger-limits ledger))))))
    (when formed
      (flet ((named (id)
               (registry-get (group-ledger-workers ledger) id)))
        (let* ((lead (named (formation-lead formed)))
               (group (make-shared-model
                       :model (job-model job)
                       :lead (worker-process lead)
                       :lead-bytes (formation-lead-bytes formed)
                       :members (loop for (id . bytes) in (formation-members formed)
                                      collect (part-of (named id) bytes))
                       :used-at now)))
          (add ledger group)
          (log-info "group formed"
                    :model (job-model job)
                    :takes (worker-takes lead (job-model job))
                    :lead (worker-title lead)
                    :members (format nil "~{~a~^, ~}"
                                     (loop for part in (shared-model-members group)
                                           collect (format nil "~a: ~d MiB" (part-name part)
                                                           (ash (part-bytes part) -20))))
                    :reason "no worker can hold it alone")
          (values lead group))))))

(defun group-ledger-may-serve-p (ledger job)
  "Return whether a group could run JOB, now or once others have given memory back."
  (let ((leads (leads ledger job #'worker-serving-p)))
    (flet ((at-best (worker)
             (at-best ledger worker (job-model job))))
      (and leads
           (form (mapcar #'at-best leads)
                 (mapcar #'at-best (lenders ledger job))
                 (head-limits-members (group-ledger-limits ledger)))
           t))))

(defun group-ledger-lost (ledger process)
  "PROCESS is gone, and with it every group that it was in."
  (drop ledger (remove-if-not (lambda (group) (shared-model-has-p group process))
                              (group-ledger-groups ledger)))
  (setf (group-ledger-aside ledger)
        (remove process (group-ledger-aside ledger) :key #'car :test #'equal)))

(defun group-ledger-failed (ledger group said now)
  "The leader of GROUP has lost a member; those that SAID names are left alone for a while."
  (dolist (process (shared-model-blamed group said))
    (push (cons process (+ now +set-aside+)) (group-ledger-aside ledger)))
  (drop ledger (list group)))

(defun group-ledger-tick (ledger now)
  "Forget groups whose leader no longer has the model."
  (when (group-ledger-groups ledger)
    (drop ledger (remove-if (lambda (group) (lasts-p ledger group now)) (group-ledger-groups ledger))))
  (when (group-ledger-aside ledger)
    (setf (group-ledger-aside ledger)
          (remove now (group-ledger-aside ledger) :key #'cdr :test #'>=))))

;;; Who

(defun ready-p (worker)
  (= (worker-state worker) pb:+ready+))

(defun leads (ledger job state-p)
  "Return the workers that could lead: they have the model, and tell how much it takes."
  (remove-if-not (lambda (worker)
                   (and (worker-offer worker)
                        (funcall state-p worker)
                        (plusp (worker-takes worker (job-model job)))
                        (not (worker-lacks-p worker (job-model job) (job-needs job)))
                        (allowed-p worker job)))
                 (registry-workers (group-ledger-workers ledger))))

(defun lenders (ledger job)
  (remove-if-not (lambda (worker)
                   (and (worker-offer worker)
                        (string/= "" (pb:shard-offer-address (worker-offer worker)))
                        (worker-serving-p worker)
                        (tag-subset-p (job-tags job) (worker-tags worker))))
                 (registry-workers (group-ledger-workers ledger))))

(defun usable-p (ledger worker now)
  (and (ready-p worker)
       (let ((until (cdr (assoc (worker-process worker) (group-ledger-aside ledger) :test #'equal))))
         (or (null until) (<= until now)))))

(defun held-by (ledger lead model now)
  "Return the group that LEAD has MODEL with, if all of its members are there."
  (let ((group (find-if (lambda (group)
                          (and (equal (shared-model-lead group) (worker-process lead))
                               (string= (shared-model-model group) model)))
                        (group-ledger-groups ledger))))
    (cond ((null group)
           (taken-over ledger lead model now))
          ((complete-p ledger group now)
           (setf (shared-model-used-at group) now)
           group)
          (t
           (drop ledger (list group))
           nil))))

(defun taken-over (ledger lead model now)
  (let* ((known (gethash model (worker-models lead)))
         (others (remove (worker-id lead) (worker-model-shards known)
                         :key #'pb:shard-worker-id :test #'string=))
         (most (head-limits-members (group-ledger-limits ledger)))
         (workers (loop for shard in others
                        collect (registry-get (group-ledger-workers ledger)
                                              (pb:shard-worker-id shard)))))
    (when (and others
               (= (worker-model-readiness known) +loaded+)
               (every (lambda (worker) (and worker (worker-offer worker))) workers))
      (let ((group (make-shared-model
                    :model model
                    :lead (worker-process lead)
                    :lead-bytes (loop for shard in (worker-model-shards known)
                                      when (string= (pb:shard-worker-id shard) (worker-id lead))
                                        sum (pb:shard-bytes shard))
                    :members (loop for shard in others
                                   for worker in workers
                                   repeat most
                                   collect (part-of worker (pb:shard-bytes shard)))
                    :used-at now)))
        (when (complete-p ledger group now)
          (add ledger group)
          group)))))

(defun complete-p (ledger group now)
  (loop for part in (shared-model-members group)
        for worker = (registry-get (group-ledger-workers ledger) (car (part-process part)))
        always (and worker
                    (equal (worker-process worker) (part-process part))
                    (worker-offer worker)
                    (string= (pb:shard-offer-address (worker-offer worker)) (part-address part))
                    (usable-p ledger worker now))))

;;; Bytes

(defun offered (ledger worker)
  (cdr (assoc (worker-process worker) (group-ledger-offered ledger) :test #'equal)))

(defun as-lead (ledger worker job)
  (let ((room (or (worker-memory worker) 0))
        (known (offered ledger worker)))
    (when known
      (setf room (min room (- (cdr known) (given ledger worker worker)))))
    (make-host :id (worker-id worker)
               :takes (worker-takes worker (job-model job))
               :room (max room 0)
               :rank (worker-model-readiness (gethash (job-model job) (worker-models worker)))
               :gpu (let ((vram (pb:heartbeat-vram (worker-heartbeat worker))))
                      (and vram (plusp (pb:memory-total vram))))
               :rtt (worker-rtt worker)
               :links (links worker))))

(defun as-member (ledger worker)
  (let ((lends (pb:shard-offer-bytes (worker-offer worker)))
        (known (offered ledger worker)))
    (when known
      ;; Whether it has reckoned with its groups in what it offers now is not known.
      (setf lends (min lends (- (car known) (given ledger worker nil)))))
    (make-host :id (worker-id worker)
               :lends (max lends 0)
               :rtt (worker-rtt worker)
               :links (links worker))))

(defun at-best (ledger worker model)
  "Return WORKER as it would be without any group."
  (destructuring-bind (lent . held) (or (offered ledger worker) '(0 . 0))
    (make-host :id (worker-id worker)
               :takes (worker-takes worker model)
               :room (max (or (worker-memory worker) 0) held)
               :lends (max (pb:shard-offer-bytes (worker-offer worker)) lent))))

(defun links (worker)
  (loop for link in (pb:shard-offer-links (worker-offer worker))
        collect (list (pb:shard-link-worker-id link)
                      (round (* (pb:shard-link-rtt-ms link) 1000))
                      (floor (pb:shard-link-bytes-per-second link)))))

(defun given (ledger worker lead)
  "Return the bytes of WORKER that groups have, but for those that LEAD leads."
  (loop for group in (group-ledger-groups ledger)
        unless (and lead (equal (shared-model-lead group) (worker-process lead)))
          sum (shared-model-bytes-of group (worker-process worker))))

(defun part-of (worker bytes)
  (make-part :process (worker-process worker)
             :name (worker-title worker)
             :address (pb:shard-offer-address (worker-offer worker))
             :bytes bytes))

(defun add (ledger group)
  (dolist (process (cons (shared-model-lead group)
                         (mapcar #'part-process (shared-model-members group))))
    (let ((worker (registry-get (group-ledger-workers ledger) (car process))))
      (unless (offered ledger worker)
        (push (list* process
                     (pb:shard-offer-bytes (worker-offer worker))
                     (or (worker-memory worker) 0))
              (group-ledger-offered ledger)))))
  (push group (group-ledger-groups ledger)))

(defun drop (ledger gone)
  (when gone
    (setf (group-ledger-groups ledger) (set-difference (group-ledger-groups ledger) gone)
          (group-ledger-offered ledger)
          (remove-if-not (lambda (entry)
                           (some (lambda (group) (shared-model-has-p group (car entry)))
                                 (group-ledger-groups ledger)))
                         (group-ledger-offered ledger)))))

(defun lasts-p (ledger group now)
  (let ((worker (registry-get (group-ledger-workers ledger) (car (shared-model-lead group)))))
    (when (and worker (equal (worker-process worker) (shared-model-lead group)))
      (let ((known (gethash (shared-model-model group) (worker-models worker))))
        (when (or (and known (<= (worker-model-readiness known) +loading+))
                  (plusp (hash-table-count (worker-attempts worker))))
          (setf (shared-model-used-at group) now))
        (< (- now (shared-model-used-at group)) +kept+)))))
