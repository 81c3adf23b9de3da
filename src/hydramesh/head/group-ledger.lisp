(defpackage #:hydramesh/head/group-ledger
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/group-candidates
                #:candidate-worker #:can-lead-p #:could-lead-p #:leads #:lenders #:size #:slicers)
  (:import-from #:hydramesh/head/group-memory
                #:group-memory #:make-group-memory #:group-memory-as-lead #:group-memory-as-member
                #:group-memory-as-slicer #:group-memory-slicer-at-best
                #:group-memory-at-best #:group-memory-given #:group-memory-keep)
  (:import-from #:hydramesh/head/groups
                #:form #:formation-lead #:formation-lead-bytes #:formation-members)
  (:import-from #:hydramesh/head/job #:job-model)
  (:import-from #:hydramesh/head/limits #:head-limits #:head-limits-members)
  (:import-from #:hydramesh/head/model-index
                #:+loaded+ #:+loading+ #:worker-model-readiness #:worker-model-shards)
  (:import-from #:hydramesh/head/registry #:registry #:registry-get #:registry-workers)
  (:import-from #:hydramesh/head/shared-model
                #:make-part #:part-process #:part-name #:part-address #:part-bytes
                #:make-shared-model #:shared-model-model #:shared-model-lead
                #:shared-model-members #:shared-model-used-at #:shared-model-seen-at
                #:shared-model-running #:shared-model-ending-since #:shared-model-processes
                #:shared-model-has-p #:shared-model-blamed)
  (:import-from #:hydramesh/head/slices #:form-slices)
  (:import-from #:hydramesh/head/worker
                #:worker-id #:worker-models #:worker-offer #:worker-process #:worker-serving-p
                #:worker-state #:worker-title)
  (:import-from #:hydramesh/head/worker-models #:worker-address-for #:worker-takes)
  (:import-from #:hydramesh/service/logs #:log-info)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:group-ledger #:make-group-ledger #:group-ledger-held #:group-ledger-formed
           #:group-ledger-make-way #:group-ledger-may-serve-p #:group-ledger-lost #:group-ledger-failed
           #:group-ledger-tick #:group-ledger-groups)
  (:documentation "The models that several workers hold together: formed, taken over, ended.

A group lasts while all of its workers are there and the one that leads has the model loaded. Heads keep
nothing that heartbeats do not restore: the group that another head has formed, or this one before it was
restarted, is taken over from what its leader says. A group without tasks ends when another one needs its
memory."))
(in-package #:hydramesh/head/group-ledger)

(defconstant +kept+ (seconds 10)
  "How long a group's leader may not say that it has the model, or still say so.")

(defconstant +settled+ (seconds 3)
  "How long after the end of a group all of its workers have told what is free now.")

(defconstant +set-aside+ (seconds 10)
  "How long no group is formed with a worker that another one has lost. By then one whose machine is gone
is out of the registry, and another lends again.")

(defstruct (group-ledger (:constructor make-group-ledger (workers limits unload)) (:copier nil))
  "All GROUPS of the head's WORKERS. UNLOAD is called with a worker and the name of a model that it should
take out of memory. ASIDE is an alist: until when processes are left alone."
  (workers nil :type registry :read-only t)
  (limits nil :type head-limits :read-only t)
  (unload nil :type function :read-only t)
  (memory (make-group-memory) :type group-memory :read-only t)
  (groups '() :type list)
  (aside '() :type list)
  (settled-at 0 :type microseconds))

(defun group-ledger-held (ledger job now)
  "Return who leads a group that holds the model of JOB, and that group; NIL if there is none."
  (dolist (worker (registry-workers (group-ledger-workers ledger)))
    (take-over ledger worker (job-model job) now))
  (dolist (group (remove (job-model job) (group-ledger-groups ledger)
                         :key #'shared-model-model :test #'string/=))
    (let ((lead (lead-of ledger group)))
      (when (and lead (ready-p lead) (can-lead-p (group-ledger-workers ledger) lead job))
        (cond ((not (complete-p ledger group now))
               (drop ledger (list group)))
              ((null (shared-model-ending-since group))
               (setf (shared-model-used-at group) now
                     (shared-model-seen-at group) now)
               (return (values lead group))))))))

(defun group-ledger-formed (ledger job now)
  "Form a group for JOB; return who leads it, and it, NIL if memory does not suffice."
  (let ((formed (unless (some (lambda (group)
                                (and (shared-model-ending-since group)
                                     (string= (shared-model-model group) (job-model job))))
                              (group-ledger-groups ledger))
                  (take-over-all ledger now)
                  (formation ledger job now))))
    (when formed
      (flet ((named (id)
               (registry-get (group-ledger-workers ledger) id)))
        (let* ((lead (named (formation-lead formed)))
               (group (make-shared-model
                       :model (job-model job)
                       :lead (worker-process lead)
                       :lead-bytes (formation-lead-bytes formed)
                       :members (loop for (id . bytes) in (formation-members formed)
                                      collect (part-of (named id) (job-model job) bytes))
                       :used-at now)))
          (add ledger group nil)
          (log-info "group formed"
                    :model (job-model job)
                    :takes (let ((takes (worker-takes lead (job-model job))))
                             (if (plusp takes) takes (values (size (group-ledger-workers ledger) job))))
                    :lead (in-mebibytes (worker-title lead) (formation-lead-bytes formed))
                    :members (format nil "~{~a~^, ~}"
                                     (loop for part in (shared-model-members group)
                                           collect (in-mebibytes (part-name part) (part-bytes part))))
                    :reason "no worker can hold it alone")
          (values lead group))))))

(defun in-mebibytes (name bytes)
  (format nil "~a: ~d MiB" name (ash bytes -20)))

(defun group-ledger-make-way (ledger job now)
  "End groups without tasks if one for JOB could be formed then, the least recently used first."
  (unless (or (some #'shared-model-ending-since (group-ledger-groups ledger))
              (< now (group-ledger-settled-at ledger)))
    (let* ((idle (stable-sort (remove-if (lambda (group)
                                           (or (plusp (shared-model-running group))
                                               (string= (shared-model-model group) (job-model job))))
                                         (copy-list (group-ledger-groups ledger)))
                              #'< :key #'shared-model-used-at))
           (ended (and idle
                       (formation ledger job now idle) ; else there would be none with fewer of them gone
                       (loop for count from 1 to (length idle)
                             for first = (subseq idle 0 count)
                             when (formation ledger job now first)
                               return first))))
      (dolist (group (butlast ended))   ; what others have given way for may stay
        (let ((fewer (remove group ended)))
          (when (formation ledger job now fewer)
            (setf ended fewer))))
      (dolist (group ended)
        (end ledger group job now)))))

(defun group-ledger-may-serve-p (ledger job)
  "Return whether a group could run JOB, now or once others have given memory back, or the policy lets it."
  (let* ((workers (group-ledger-workers ledger))
         (memory (group-ledger-memory ledger))
         (leads (leads workers job #'worker-serving-p #'could-lead-p)))
    (and (or (and leads
                  (form (loop for candidate in leads
                              collect (group-memory-at-best memory (candidate-worker candidate)
                                                            candidate))
                        (loop for worker in (lenders workers job)
                              collect (group-memory-at-best memory worker))
                        (head-limits-members (group-ledger-limits ledger))))
             (form-slices (loop for worker in (slicers workers job #'worker-serving-p)
                                collect (cons (group-memory-slicer-at-best memory worker (job-model job))
                                              (could-lead-p workers worker job)))
                          (head-limits-members (group-ledger-limits ledger))))
         t)))

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

(defun formation (ledger job now &optional ended)
  "Return what group there could be for JOB now, when those ENDED are gone; NIL if there could be none."
  (let* ((workers (group-ledger-workers ledger))
         (memory (group-ledger-memory ledger))
         (groups (set-difference (group-ledger-groups ledger) ended))
         (leads (leads workers job #'ready-p #'can-lead-p)))
    (or (form-slices (loop for worker in (slicers workers job #'ready-p)
                           when (usable-p ledger worker now)
                             collect (cons (group-memory-as-slicer memory worker (job-model job)
                                                                   groups ended)
                                           (can-lead-p workers worker job)))
                     (head-limits-members (group-ledger-limits ledger)))
        (and leads
             (form (loop for candidate in leads
                         collect (group-memory-as-lead memory candidate groups ended))
                   (loop for worker in (lenders workers job)
                         when (usable-p ledger worker now)
                           collect (group-memory-as-member memory worker groups ended))
                   (head-limits-members (group-ledger-limits ledger)))))))

(defun lead-of (ledger group)
  (let ((worker (registry-get (group-ledger-workers ledger) (car (shared-model-lead group)))))
    (and worker
         (equal (worker-process worker) (shared-model-lead group))
         worker)))

(defun usable-p (ledger worker now)
  (and (ready-p worker)
       (let ((until (cdr (assoc (worker-process worker) (group-ledger-aside ledger) :test #'equal))))
         (or (null until) (<= until now)))))

(defun complete-p (ledger group now)
  (loop for part in (shared-model-members group)
        for worker = (registry-get (group-ledger-workers ledger) (car (part-process part)))
        always (and worker
                    (equal (worker-process worker) (part-process part))
                    (string= (worker-address-for worker (shared-model-model group))
                             (part-address part))
                    (usable-p ledger worker now))))

;;; Groups

(defun take-over (ledger lead model now)
  "Take over the group with which LEAD holds MODEL, if there is one that is not known."
  (let ((known (gethash model (worker-models lead))))
    (when (and known
               (worker-model-shards known)
               (worker-offer lead)
               (= (worker-model-readiness known) +loaded+)
               (notany (lambda (group)
                         (and (equal (shared-model-lead group) (worker-process lead))
                              (string= (shared-model-model group) model)))
                       (group-ledger-groups ledger)))
      (let* ((shards (worker-model-shards known))
             (others (remove (worker-id lead) shards :key #'pb:shard-worker-id :test #'string=))
             (workers (loop for shard in others
                            collect (registry-get (group-ledger-workers ledger)
                                                  (pb:shard-worker-id shard)))))
        (when (and others
                   (every (lambda (worker)
                            (and worker (string/= "" (worker-address-for worker model))))
                          workers))
          (let ((group (make-shared-model
                        :model model
                        :lead (worker-process lead)
                        :lead-bytes (loop for shard in shards
                                          when (string= (pb:shard-worker-id shard) (worker-id lead))
                                            sum (pb:shard-bytes shard))
                        :members (loop repeat (head-limits-members (group-ledger-limits ledger))
                                       for shard in others
                                       for worker in workers
                                       collect (part-of worker model (pb:shard-bytes shard)))
                        :used-at now)))
            (when (complete-p ledger group now)
              (add ledger group t))))))))

(defun take-over-all (ledger now)
  "Take over all groups: who lends to one of another head lends to no second one."
  (dolist (worker (registry-workers (group-ledger-workers ledger)))
    (when (worker-offer worker)
      (loop for model being the hash-keys of (worker-models worker)
            do (take-over ledger worker model now)))))

(defun part-of (worker model bytes)
  (make-part :process (worker-process worker)
             :name (worker-title worker)
             :address (worker-address-for worker model)
             :bytes bytes))

(defun add (ledger group loaded)
  (dolist (process (shared-model-processes group))
    (group-memory-given (group-ledger-memory ledger)
                        (registry-get (group-ledger-workers ledger) (car process))
                        group loaded))
  (setf (group-ledger-groups ledger) (append (group-ledger-groups ledger) (list group))))

(defun drop (ledger gone)
  (when gone
    (setf (group-ledger-groups ledger)
          (remove-if (lambda (group) (member group gone)) (group-ledger-groups ledger)))
    (group-memory-keep (group-ledger-memory ledger) (group-ledger-groups ledger))))

(defun end (ledger group job now)
  "Have the leader of GROUP let its model go, if it has it; for the model of JOB."
  (let ((lead (lead-of ledger group)))
    (cond ((and lead (has-p lead group))
           (setf (shared-model-ending-since group) now)
           (funcall (group-ledger-unload ledger) lead (shared-model-model group)))
          ((>= (- now (shared-model-seen-at group)) +settled+)
           (drop ledger (list group)))
          (t
           (return-from end)))          ; its leader may just have loaded the model
    (log-info "group ends"
              :model (shared-model-model group)
              :reason (format nil "~a needs its memory" (job-model job)))))

(defun has-p (lead group)
  (let ((known (gethash (shared-model-model group) (worker-models lead))))
    (and known (<= (worker-model-readiness known) +loading+))))

(defun lasts-p (ledger group now)
  (let* ((lead (lead-of ledger group))
         (has (and lead (has-p lead group)))
         (running (plusp (shared-model-running group)))
         (ending-since (shared-model-ending-since group)))
    (when (and lead (or has (null ending-since)))
      (when (and ending-since (>= (- now ending-since) +kept+)) ; a task of another head runs on it
        (setf (shared-model-ending-since group) nil
              (shared-model-used-at group) now))
      (when running
        (setf (shared-model-used-at group) now))
      (when (or has running)
        (setf (shared-model-seen-at group) now))
      (return-from lasts-p (< (- now (shared-model-seen-at group)) +kept+)))
    (when lead
      (setf (group-ledger-settled-at ledger) (+ now +settled+)))
    nil))
