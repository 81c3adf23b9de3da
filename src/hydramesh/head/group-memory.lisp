(defpackage #:hydramesh/head/group-memory
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/head/group-candidates
                #:make-candidate #:candidate-keeps #:candidate-rank #:candidate-takes #:candidate-worker)
  (:import-from #:hydramesh/head/groups
                #:make-host #:host-gpu #:host-links #:host-rank #:host-room #:host-rtt)
  (:import-from #:hydramesh/head/shared-model
                #:shared-model-bytes-of #:shared-model-has-member-p #:shared-model-has-p
                #:shared-model-lead)
  (:import-from #:hydramesh/head/worker
                #:worker-heartbeat #:worker-id #:worker-memory #:worker-offer #:worker-process
                #:worker-room #:worker-rtt)
  (:import-from #:hydramesh/head/slices #:make-slicer)
  (:import-from #:hydramesh/head/worker-models #:worker-readiness #:worker-slices)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:group-memory #:make-group-memory #:group-memory-as-lead #:group-memory-as-member
           #:group-memory-as-slicer #:group-memory-slicer-at-best #:group-memory-at-best
           #:group-memory-given #:group-memory-keep)
  (:documentation "What workers have for a group, beside those that there are.

What their heartbeats say may or may not have reckoned with groups yet. So it is remembered what a worker
had when the first of its groups was formed, and what was given away since is taken off that; the lesser of
both counts."))
(in-package #:hydramesh/head/group-memory)

(defstruct (group-memory (:copier nil))
  "The memory of all workers that groups may have. BEFORE is an alist: what processes lent, and could hold."
  (before '() :type list))

(defun before (memory worker)
  (cdr (assoc (worker-process worker) (group-memory-before memory) :test #'equal)))

(defun given (worker groups)
  (loop for group in groups
        sum (shared-model-bytes-of group (worker-process worker))))

(defun group-memory-as-lead (memory candidate groups ended)
  "Return CANDIDATE as it leads beside GROUPS, when those ENDED have left it; a HOST."
  (let* ((worker (candidate-worker candidate))
         (before (before memory worker))
         ;; What it has of groups that it leads itself is in its room already.
         (room (+ (worker-room worker)
                  (given worker (remove (worker-process worker) ended
                                        :key #'shared-model-lead :test #'equal))))
         (vram (pb:heartbeat-vram (worker-heartbeat worker))))
    (when before
      (setf room (min room (- (cdr before) (given worker groups)))))
    (make-host :id (worker-id worker)
               :takes (candidate-takes candidate)
               :keeps (candidate-keeps candidate)
               :room (max room 0)
               :rank (candidate-rank candidate)
               :gpu (and vram (plusp (pb:memory-total vram)))
               :rtt (worker-rtt worker)
               :links (links worker))))

(defun group-memory-as-member (memory worker groups ended)
  "Return WORKER as it lends beside GROUPS, when those ENDED have left it; a HOST."
  (let ((lends (+ (pb:shard-offer-bytes (worker-offer worker)) (given worker ended)))
        (before (before memory worker))
        (process (worker-process worker)))
    (when before
      (setf lends (min lends (- (car before) (given worker groups)))))
    ;; An rpc-server serves one leader at a time.
    (when (some (lambda (group) (shared-model-has-member-p group process)) groups)
      (setf lends 0))
    (make-host :id (worker-id worker)
               :lends (max lends 0)
               :rtt (worker-rtt worker)
               :links (links worker))))

(defun group-memory-as-slicer (memory worker model groups ended)
  "Return WORKER as it computes a slice of MODEL beside GROUPS, when those ENDED have left it."
  (let* ((candidate (make-candidate :worker worker :rank (worker-readiness worker model)))
         (host (group-memory-as-lead memory candidate groups ended))
         (given (given worker ended))
         (free (pb:shard-offer-slice-bytes (worker-offer worker)))
         ;; What it has of groups that it leads, and models that would leave, are held by itself.
         (led (given worker (remove (worker-process worker) ended
                                    :key #'shared-model-lead :test-not #'equal)))
         (room (min (host-room host) (- (+ free (held worker) given) led)))
         (lends (+ free given))
         (before (before memory worker)))
    (when before
      (setf lends (min lends (- (cdr before) (given worker groups)))))
    (slicer worker model (make-host :id (worker-id worker)
                                    :room (max room 0)
                                    :lends (max lends 0)
                                    :rank (host-rank host)
                                    :gpu (host-gpu host)
                                    :rtt (host-rtt host)
                                    :links (host-links host)))))

(defun group-memory-slicer-at-best (memory worker model)
  "Return WORKER as it would compute a slice of MODEL without any group."
  (let ((held (or (cdr (before memory worker)) 0)))
    (slicer worker model
            (make-host :id (worker-id worker)
                       :room (max (worker-room worker) held)
                       :lends (max (pb:shard-offer-slice-bytes (worker-offer worker)) held)))))

(defun held (worker)
  "Return the bytes that the models of WORKER hold."
  (let ((vram (pb:heartbeat-vram (worker-heartbeat worker)))
        (ram (pb:heartbeat-ram (worker-heartbeat worker))))
    (max 0 (- (or (worker-memory worker) 0)
              (if vram (pb:memory-free vram) 0)
              (if ram (pb:memory-free ram) 0)))))

(defun slicer (worker model host)
  (let ((slices (worker-slices worker model)))
    (make-slicer :host host
                 :like (pb:shard-offer-like (worker-offer worker))
                 :divided (pb:model-slices-bytes slices)
                 :each (pb:model-slices-each slices)
                 :most (pb:model-slices-most slices))))

(defun group-memory-at-best (memory worker &optional candidate)
  "Return WORKER as it would be without any group, and as CANDIDATE if it leads; a HOST."
  (destructuring-bind (lent . held) (or (before memory worker) '(0 . 0))
    (make-host :id (worker-id worker)
               :takes (if candidate (candidate-takes candidate) 0)
               :keeps (if candidate (candidate-keeps candidate) 0)
               :room (max (worker-room worker) held)
               :lends (max (pb:shard-offer-bytes (worker-offer worker)) lent))))

(defun group-memory-given (memory worker group loaded)
  "Note that WORKER has a part of GROUP, which its heartbeats tell if it is LOADED."
  (unless (before memory worker)
    (let* ((process (worker-process worker))
           (part (if loaded (shared-model-bytes-of group process) 0))
           (lent (if (worker-offer worker) (pb:shard-offer-bytes (worker-offer worker)) 0)))
      (push (list* process
                   (+ lent part)
                   (if (equal process (shared-model-lead group))
                       (worker-room worker)
                       (+ (worker-room worker) part)))
            (group-memory-before memory)))))

(defun group-memory-keep (memory groups)
  "Forget workers that are in none of GROUPS."
  (setf (group-memory-before memory)
        (remove-if-not (lambda (entry)
                         (some (lambda (group) (shared-model-has-p group (car entry))) groups))
                       (group-memory-before memory))))

(defun links (worker)
  (loop for link in (reverse (pb:shard-offer-links (worker-offer worker))) ; of one id the last counts
        collect (list (pb:shard-link-worker-id link)
                      (round (* (pb:shard-link-rtt-ms link) 1000))
                      (floor (pb:shard-link-bytes-per-second link)))))
