(defpackage #:hydramesh/head/worker
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/head/breaker #:breaker #:breaker-denies-p)
  (:import-from #:hydramesh/head/model-index
                #:+loaded+ #:+loading+ #:+on-disk+ #:+downloading+ #:+downloadable+ #:+failed+
                #:make-worker-model #:worker-model-name #:worker-model-readiness
                #:worker-model-rate #:worker-model-capabilities #:worker-model-identity
                #:worker-model-beat #:worker-model-lacks-p #:worker-model-takes
                #:worker-model-keeps #:worker-model-shards #:worker-model-slices #:worker-model-caches
                #:model-index #:make-model-index #:model-index-remembered-rate #:model-index-add
                #:model-index-remove)
  (:import-from #:hydramesh/head/proximity #:proximity #:make-proximity #:proximity-rtt)
  (:import-from #:hydramesh/head/read-prompts #:read-prompts #:forget-unless)
  (:import-from #:hydramesh/head/tags #:tag-set)
  (:import-from #:hydramesh/head/turnaround #:turnaround #:make-turnaround)
  (:import-from #:hydramesh/work #:capabilities-of)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:worker #:make-worker #:worker-id #:worker-incarnation #:worker-process #:worker-number
           #:worker-title #:worker-bytes #:worker-heartbeat #:worker-address #:worker-seen-at
           #:worker-state #:worker-serving-p #:worker-slots #:worker-can-download #:worker-tags
           #:worker-models #:worker-attempts #:worker-take #:worker-drop #:worker-elsewhere
           #:worker-load #:worker-free-p #:worker-last-assignment #:worker-read #:worker-turnaround #:worker-awaited #:worker-retired #:worker-rtt
           #:worker-proximity
           #:worker-update #:worker-leave #:worker-note-elsewhere #:worker-readiness #:worker-lacks-p #:worker-rate
           #:worker-memory #:worker-room #:worker-offer #:worker-fits-p #:worker-holds-p #:worker-takes
           #:worker-slices #:worker-caches #:worker-address-for #:model-held-p
           #:worker-began #:worker-breaker #:worker-set-aside-p #:names-repository-p
           #:worker-policy-view #:worker-weight #:worker-inside)
  (:documentation "One worker, as its heartbeats describe it."))
(in-package #:hydramesh/head/worker)

(defconstant +least-rate+ 1d-6
  "A rate below this one counts as this: what is divided by it stays a number.")

(defstruct (worker (:constructor %make-worker) (:copier nil))
  "One worker process: what it said last, and what this head has assigned to it.

PROCESS is its id and incarnation: a worker that was restarted is another one. NUMBER orders workers by
when this head first heard of them. BYTES is the size of its heartbeat. ATTEMPTS is a hash table whose
keys are the ids of what it runs for this head, RUNNING their number, and ELSEWHERE is how many tasks it
has from other heads: those that they have TOLD, and others, UNTOLD. CONTESTED: heads that have tasks
there have others that wait. REFILLED: heads that do not tell fill each slot again that becomes free.
LAST-ASSIGNMENT orders workers by when they last got a task. READ is what it has read of late, NIL if that is
nothing; AWAITED jobs wait for it, as it has read their prompts, and TURNAROUND is what it takes for a task.
RETIRED are processes of the same id that this one has
replaced, the oldest first, each with the number of heartbeats that came from it since. PROXIMITY is how
far away it is. TAGS are a set of hydramesh/head/tags. MEMORY are the bytes that models could take if it
unloaded those that it has, NIL if it does not tell, and ROOM those of them that one could take of which
other workers hold parts. OFFER is what it lends to models of other workers. BREAKER is what speaks
against it, NIL if nothing does. The policy in force sees POLICY-VIEW, made of the last heartbeat, or
NIL; in the choice under way it has given the worker WEIGHT, and INSIDE counts its tasks in each of the
policy's reservations, if there are any. MODELS are a hash table of WORKER-MODELs by name, which are in
INDEX too."
  (process (cons "" 0) :type cons :read-only t)
  (number 0 :type fixnum)
  (bytes 0 :type fixnum)
  (heartbeat nil :type (or null pb:heartbeat))
  (address 0 :type address)
  (seen-at 0 :type microseconds)
  (state 0 :type (signed-byte 32))
  (slots 1 :type (unsigned-byte 32))
  (can-download nil)
  (tags '() :type list)
  (models (make-hash-table :test 'equal) :type hash-table :read-only t)
  (index nil :type model-index :read-only t)
  (beat 0 :type fixnum)
  (attempts (make-hash-table) :type hash-table :read-only t)
  (running 0 :type fixnum)
  (elsewhere 0 :type fixnum)
  (told 0 :type fixnum)
  (excess 0 :type fixnum)
  (untold 0 :type fixnum)
  (contested nil :type boolean)
  (refilled nil :type boolean)
  (last-assignment 0 :type fixnum)
  (read nil :type (or null read-prompts))
  (awaited 0 :type fixnum)
  (turnaround (make-turnaround) :type turnaround :read-only t)
  (retired '() :type list)
  (memory nil :type (or null unsigned-byte))
  (room 0 :type unsigned-byte)
  (offer nil :type (or null pb:shard-offer))
  (breaker nil :type (or null breaker))
  (proximity (make-proximity) :type proximity)
  (policy-view nil)
  (weight 1d0 :type double-float)
  (inside nil :type (or null simple-vector)))

(defun make-worker (heartbeat address now &optional (index (make-model-index)))
  "Return the worker that HEARTBEAT is of; its models are in INDEX from now on."
  (let ((worker (%make-worker :process (cons (pb:heartbeat-worker-id heartbeat)
                                             (pb:heartbeat-incarnation heartbeat))
                              :index index)))
    (worker-update worker heartbeat address now)
    worker))

(declaim (inline worker-id worker-incarnation worker-rtt worker-load worker-free-p worker-set-aside-p))

(defun worker-id (worker)
  "Return the id, which stays the same over restarts."
  (the string (car (worker-process worker))))

(defun worker-incarnation (worker)
  "Return what differs for every start of the process."
  (cdr (worker-process worker)))

(defun worker-rtt (worker)
  "Return the round-trip time to it in microseconds, NIL until it was measured."
  (proximity-rtt (worker-proximity worker)))

(defun worker-title (worker)
  "Return what people call it."
  (let ((name (pb:heartbeat-name (worker-heartbeat worker))))
    (if (string= name "") (worker-id worker) name)))

(defun worker-serving-p (worker)
  "Return whether it runs tasks, or soon will."
  (or (= (worker-state worker) pb:+ready+) (= (worker-state worker) pb:+starting+)))

(defun worker-load (worker)
  "Return the number of tasks that it has, from all heads."
  (the fixnum (+ (worker-running worker) (worker-elsewhere worker))))

(defun worker-free-p (worker)
  "Return whether it has a slot for a task of this head: one that is free or, where other heads would fill it for
ever, the next one."
  (or (< (worker-load worker) (worker-slots worker))
      (and (zerop (worker-running worker))
           (or (worker-refilled worker)
               (and (worker-contested worker)
                    (< (worker-untold worker) (worker-slots worker)))))))

(defun worker-set-aside-p (worker now)
  "Return whether it should get no task now, as it has failed again and again."
  (let ((breaker (worker-breaker worker)))
    (and breaker (breaker-denies-p breaker now))))

(defun worker-take (worker attempt)
  "WORKER runs ATTEMPT from now on."
  (setf (gethash attempt (worker-attempts worker)) t
        ;; Who chooses a worker asks all of them for their number.
        (worker-running worker) (hash-table-count (worker-attempts worker))))

(defun worker-drop (worker attempt)
  "WORKER no longer runs ATTEMPT."
  (remhash attempt (worker-attempts worker))
  (setf (worker-running worker) (hash-table-count (worker-attempts worker))))

;;; Heartbeats

(defun worker-update (worker heartbeat address now)
  "Replace what the same process said before."
  (unless (= address (worker-address worker))
    (setf (worker-proximity worker) (make-proximity)))
  (let ((before (worker-heartbeat worker)))
    (replace-heartbeat worker heartbeat address now)
    (note-untold worker
                 heartbeat
                 (and before (> (pb:heartbeat-tasks-done heartbeat) (pb:heartbeat-tasks-done before))))))

(defun replace-heartbeat (worker heartbeat address now)
  (setf (worker-heartbeat worker) heartbeat
        (worker-address worker) address
        (worker-seen-at worker) now
        (worker-state worker) (pb:heartbeat-state heartbeat)
        (worker-slots worker) (max 1 (pb:heartbeat-slots heartbeat))
        (worker-can-download worker) (pb:heartbeat-can-download heartbeat)
        (worker-tags worker) (tag-set (pb:heartbeat-tags heartbeat))
        (worker-offer worker) (pb:heartbeat-shard heartbeat)
        (worker-policy-view worker) nil
        (values (worker-memory worker) (worker-room worker)) (memory-in heartbeat))
  (update-models worker (pb:heartbeat-models heartbeat))
  (when (worker-read worker)
    (forget-unless (worker-read worker)
                   (lambda (model) (eql +loaded+ (worker-readiness worker model))))))

(defun note-untold (worker heartbeat ended-some)
  "Note how many tasks WORKER has by HEARTBEAT from heads that do not tell, and whether those always fill it:
ENDED-SOME says that it has ended tasks since the last heartbeat."
  ;; A heartbeat and a result may cross on the way, so only what two heartbeats say counts.
  (let ((excess (max 0 (- (+ (pb:heartbeat-running heartbeat) (pb:heartbeat-waiting heartbeat))
                          (worker-running worker)
                          (worker-told worker)))))
    (setf (worker-untold worker) (min excess (worker-excess worker))
          (worker-excess worker) excess))
  (worker-note-elsewhere worker (worker-told worker) (worker-contested worker))
  (setf (worker-refilled worker) (and (plusp (worker-untold worker))
                                      (>= (worker-elsewhere worker) (worker-slots worker))
                                      (or (worker-refilled worker) ended-some))))

(defun worker-note-elsewhere (worker told contested)
  "Note that other heads have TOLD how many tasks it has from them; CONTESTED: more of theirs wait."
  (setf (worker-told worker) told
        (worker-contested worker) contested
        (worker-elsewhere worker) (+ told (worker-untold worker))))

(defun update-models (worker said)
  "Let the models of WORKER be those that SAID, a list of PB:MODEL-STATUS, tells."
  (let ((beat (incf (worker-beat worker)))
        (models (worker-models worker))
        (told 0))
    (declare (type fixnum told))
    (dolist (status said)
      (let ((readiness (readiness-in status)))
        (when readiness
          (let ((model (or (gethash (pb:model-status-name status) models)
                           (add-model worker (pb:model-status-name status)))))
            (unless (= (worker-model-beat model) beat)
              (incf told)
              (setf (worker-model-beat model) beat))
            (setf (worker-model-readiness model) readiness
                  (worker-model-rate model) (rate-in status worker)
                  (worker-model-capabilities model) (capabilities-of status)
                  (worker-model-identity model) (pb:model-status-identity status)
                  (worker-model-takes model) (pb:model-status-needs status)
                  (worker-model-keeps model) (pb:model-status-lead-needs status)
                  (worker-model-shards model) (pb:model-status-shards status)
                  (worker-model-slices model) (pb:model-status-slices status)
                  (worker-model-caches model) (pb:model-status-cache-tokens status))))))
    (when (< told (hash-table-count models))
      (loop for model being the hash-values of models
            unless (= (worker-model-beat model) beat)
              collect model into gone
            finally (dolist (model gone)
                      (remove-model worker model))))))

(defun memory-in (heartbeat)
  "Return the bytes that models could take on the worker that HEARTBEAT is of, NIL if it does not tell; and
those on its GPUs, if it has any."
  (let* ((vram (pb:heartbeat-vram heartbeat))
         (ram (pb:heartbeat-ram heartbeat))
         (on-gpus (if vram (pb:memory-total vram) 0)))
    (if (and (zerop on-gpus) (or (null ram) (zerop (pb:memory-total ram))))
        (values nil 0)
        (let* ((held (held-in heartbeat))
               (memory (+ (if vram (pb:memory-free vram) 0)
                          (if ram (pb:memory-free ram) 0)
                          held)))
          (values memory
                  (if (zerop on-gpus)
                      memory
                      (min on-gpus (+ held (pb:memory-free vram)))))))))

(defun held-in (heartbeat)
  "Return the bytes that the models of HEARTBEAT hold on its worker."
  (loop with counted = '()
        with id = (pb:heartbeat-worker-id heartbeat)
        for model in (pb:heartbeat-models heartbeat)
        for shards = (pb:model-status-shards model)
        unless (same-by-another-name-p model counted)
          sum (if shards
                  (loop for shard in shards
                        when (string= id (pb:shard-worker-id shard))
                          sum (pb:shard-bytes shard))
                  (pb:model-status-bytes model))
        when (plusp (pb:model-status-bytes model))
          do (push model counted)))

(defun same-by-another-name-p (model others)
  "Return whether one of OTHERS has the weights and the quantization of MODEL."
  (flet ((aspects (model)
           (let ((identity (pb:model-status-identity model)))
             (and identity
                  (string/= "" (pb:model-identity-weights identity))
                  (list (pb:model-identity-weights identity)
                        (pb:model-identity-quantization identity))))))
    (let ((aspects (aspects model)))
      (and aspects
           (member aspects others :key #'aspects :test #'equal)))))

(defun readiness-in (status)
  "Return how soon the model could be run that STATUS tells of; NIL if that is not known."
  (let ((state (pb:model-status-state status)))
    (cond ((= state pb:+loaded+) +loaded+)
          ((= state pb:+loading+) +loading+)
          ((= state pb:+available+) +on-disk+)
          ((= state pb:+downloading+) +downloading+)
          ((= state pb:+failed+) +failed+)
          (t nil))))

(defun rate-in (status worker)
  "Return the rate that STATUS tells of a model on WORKER, else the one that is remembered, else 0."
  (let* ((told (pb:model-status-rate status))
         (remembered (model-index-remembered-rate (worker-index worker)))
         (rate (if (and (zerop told) remembered)
                   (or (funcall remembered (worker-id worker) (pb:model-status-name status)) 0d0)
                   told)))
    (declare (type double-float told rate))
    (if (< 0d0 rate +least-rate+) +least-rate+ rate)))

(defun add-model (worker name)
  (let ((model (make-worker-model :worker worker :name name)))
    (model-index-add (worker-index worker) model)
    (setf (gethash name (worker-models worker)) model)))

(defun remove-model (worker model)
  (model-index-remove (worker-index worker) model)
  (remhash (worker-model-name model) (worker-models worker)))

(defun worker-leave (worker)
  "Take the models of WORKER, which is gone, out of the index."
  (loop for model being the hash-values of (worker-models worker)
        do (model-index-remove (worker-index worker) model))
  (clrhash (worker-models worker)))

;;; Models

(defun worker-readiness (worker model)
  "Return how soon it could run MODEL, NIL if never."
  (let ((known (gethash model (worker-models worker))))
    (cond (known (worker-model-readiness known))
          ((and (worker-can-download worker) (names-repository-p model)) +downloadable+))))

(defun worker-lacks-p (worker model needs)
  "Return whether it has MODEL and knows that it cannot do all of NEEDS."
  (let ((known (gethash model (worker-models worker))))
    (and known (worker-model-lacks-p known needs))))

(defun worker-fits-p (worker takes)
  "Return whether it could hold so many bytes alone, as far as that is known."
  (declare (type (unsigned-byte 64) takes))
  (or (zerop takes)
      (null (worker-memory worker))
      (<= takes (worker-memory worker))))

(defun model-held-p (model worker)
  "Return whether WORKER holds MODEL, one of its WORKER-MODELs, alone, or could."
  (and (null (worker-model-shards model))
       (or (= (worker-model-readiness model) +loaded+)
           (worker-fits-p worker (worker-model-takes model)))))

(defun worker-holds-p (worker model)
  "Return whether it holds MODEL alone, or could."
  (let ((known (gethash model (worker-models worker))))
    (or (null known) (model-held-p known worker))))

(defun worker-takes (worker model)
  "Return the bytes of memory that MODEL takes there, 0 if that is not known."
  (let ((known (gethash model (worker-models worker))))
    (if known (worker-model-takes known) 0)))

(defun worker-slices (worker model)
  "Return what slices of MODEL take, NIL if WORKER computes none."
  (let ((known (gethash model (worker-models worker))))
    (and known (worker-model-slices known))))

(defun worker-caches (worker model)
  "Return how many tokens of prompts MODEL keeps there, 0 if that is not known."
  (let ((known (gethash model (worker-models worker))))
    (if known (worker-model-caches known) 0)))

(defun worker-address-for (worker model)
  "Return where WORKER is reached for its part of MODEL, empty if it takes none."
  (let ((offer (worker-offer worker)))
    (cond ((null offer) "")
          ((worker-slices worker model) (pb:shard-offer-slice-address offer))
          (t (pb:shard-offer-address offer)))))

(defun worker-rate (worker model)
  "Return what MODEL makes a second of one task, 0 if that was not measured."
  (let ((known (gethash model (worker-models worker))))
    (if known (worker-model-rate known) 0d0)))

(defun worker-began (worker model)
  "Expect MODEL to be loaded soon, until the next heartbeat."
  (let ((known (or (gethash model (worker-models worker))
                   (add-model worker model))))
    (when (> (worker-model-readiness known) +loading+)
      (setf (worker-model-readiness known) +loading+))))

(defconstant +longest-repository+ 256 "Characters of a model's name that a worker is asked to download.")

(defparameter +files+ '(".safetensors" ".gguf")
  "How the names of models end that are files of a worker, never Hugging Face's.")

(defun names-repository-p (model)
  "Return whether MODEL has the form of a Hugging Face id, \"owner/name\", maybe with a tag."
  (declare (type string model))
  (let ((slash (and (<= (length model) +longest-repository+) (position #\/ model)))
        (end (length model)))
    (and slash
         (< 0 slash (1- end))
         (not (find #\/ model :start (1+ slash)))
         (notany (lambda (suffix)
                   (and (>= (- end slash 1) (length suffix))
                        (string= suffix model :start2 (- end (length suffix)))))
                 +files+))))
