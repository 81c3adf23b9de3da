(defpackage #:hydramesh/tests/sync/network
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events #:make-message #:seconds)
  (:import-from #:hydramesh/head/link #:link-send #:link-trust)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/sync/exchange
                #:make-exchange #:exchange-id #:exchange-role #:exchange-name #:exchange-neighbours
                #:exchange-take #:exchange-tick)
  (:import-from #:hydramesh/sync/neighbour #:neighbour-id #:neighbour-replica)
  (:import-from #:hydramesh/sync/replica #:replica-fact #:replica-workers)
  (:import-from #:hydramesh/sync/state #:make-view)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:network #:new-network #:network-now #:network-loss #:network-duplicates #:network-delay
           #:network-bytes #:network-sent #:network-cut-p #:network-deaf
           #:head #:add-head #:head-exchange #:head-figures #:head-views #:head-address #:head-assigned
           #:head-alive-p #:head-incarnation
           #:restart-head #:pass-time #:see #:agree-p #:heard-by #:know-each-other #:masters #:deliver)
  (:documentation "Heads that tell each other of themselves over a network that loses, doubles, delays and
cuts."))
(in-package #:hydramesh/tests/sync/network)

(defparameter +step+ (seconds 1/10))

(defstruct network
  "HEADS at addresses. LOSS and DUPLICATES are shares of what is sent, DELAY the most microseconds that it
takes; CUT-P is a function of two heads that tells whether nothing gets from one to the other. DEAF are
addresses at which nobody knows SYNC, with what came there."
  (now (seconds 1000))
  (random (sb-ext:seed-random-state 1))
  (heads '())
  (under-way '())
  (loss 0)
  (duplicates 0)
  (delay 1000)
  (cut-p (constantly nil))
  (deaf (make-hash-table))
  (sent 0)
  (bytes 0))

(defun new-network (&rest options &key (seed 1) &allow-other-keys)
  (remf options :seed)
  (apply #'make-network :random (sb-ext:seed-random-state seed) options))

(defstruct head
  "A head whose FIGURES are those of HeadState and whose VIEWS are of workers, by their ids, is at ADDRESS.
ASSIGNED are the tasks that others have, as it was told."
  network exchange address
  (figures (list :version "1" :state pb:+ready+ :workers 0 :queued 0 :in-flight 0))
  (views (make-hash-table :test 'equal))
  (assigned (make-hash-table :test 'equal))
  (incarnation 1)
  (strangers t)
  (alive-p t))

(defmethod print-object ((head head) stream)
  (print-unreadable-object (head stream)
    (format stream "head ~D" (head-address head))))

(defun add-head (network id &key (strangers t))
  (let ((head (make-head :network network
                         :strangers strangers
                         :address (ipv4 #xc0000201 (+ 7000 (length (network-heads network)))))))
    (push head (network-heads network))
    (start head id)
    head))

(defun start (head id)
  (clrhash (head-assigned head))
  (setf (head-exchange head)
        (make-exchange id
                       (head-incarnation head)
                       head
                       (lambda () (facts head))
                       (lambda (worker number contested)
                         (declare (ignore contested))
                         (setf (gethash worker (head-assigned head)) number))
                       (head-strangers head))))

(defun restart-head (head)
  "As after kill -9; what was under way still arrives."
  (incf (head-incarnation head))
  (start head (exchange-id (head-exchange head))))

(defun facts (head)
  (nconc (loop for (key value) on (head-figures head) by #'cddr
               collect (cons key value))
         (loop for id being the hash-keys of (head-views head) using (hash-value view)
               collect (cons (cons :worker id) view))))

(defun see (head worker assigned &optional group aside)
  "Let HEAD see WORKER so; NIL for ASSIGNED: no more."
  (if assigned
      (setf (gethash worker (head-views head)) (make-view assigned group aside))
      (remhash worker (head-views head))))

(defun know-each-other (&rest heads)
  (dolist (head heads)
    (exchange-name (head-exchange head) (mapcar #'head-address heads))))

;;; What is under way

(defun chance-p (network share)
  (and (plusp share) (< (random 1d0 (network-random network)) share)))

(defmethod link-trust ((head head) peer)
  (declare (ignore peer)))

(defmethod link-send ((head head) to type payload)
  (let* ((network (head-network head))
         (reader (find to (network-heads network) :key #'head-address)))
    (incf (network-sent network))
    (incf (network-bytes network) (length payload))
    (cond ((null reader)
           (push payload (gethash to (network-deaf network))))
          ((funcall (network-cut-p network) head reader))
          (t
           (loop repeat (if (chance-p network (network-duplicates network)) 2 1)
                 unless (chance-p network (network-loss network))
                   do (push (list (+ (network-now network)
                                     (random (1+ (network-delay network)) (network-random network)))
                                  reader
                                  (make-message :peer (head-address head) :type type :payload payload))
                            (network-under-way network)))))
    t))

(defun deliver (reader message)
  (exchange-take (head-exchange reader) message (network-now (head-network reader))))

(defun pass-time (network seconds)
  (loop repeat (ceiling (seconds seconds) +step+)
        do (let ((until (+ (network-now network) +step+)))
             (loop for next = (first (sort (copy-list (network-under-way network)) #'< :key #'first))
                   while (and next (<= (first next) until))
                   do (setf (network-now network) (max (network-now network) (first next))
                            (network-under-way network) (remove next (network-under-way network)))
                      (when (head-alive-p (second next))
                        (deliver (second next) (third next))))
             (setf (network-now network) until)
             (dolist (head (network-heads network))
               (when (head-alive-p head)
                 (exchange-tick (head-exchange head) until))))))

;;; What they know

(defun heard-by (head)
  "Return the ids of the heads that HEAD hears, in order."
  (sort (mapcar #'neighbour-id (exchange-neighbours (head-exchange head))) #'string<))

(defun knows-p (reader head)
  "Return whether READER knows all that HEAD says of itself, and nothing else."
  (let ((neighbour (find (exchange-id (head-exchange head)) (exchange-neighbours (head-exchange reader))
                         :key #'neighbour-id :test #'string=)))
    (and neighbour
         (let ((replica (neighbour-replica neighbour)))
           (and (loop for (key value) on (head-figures head) by #'cddr
                      always (equal value (replica-fact replica key)))
                (equalp (head-views head) (replica-workers replica)))))))

(defun agree-p (&rest heads)
  "Return whether each of HEADS knows the state of all others."
  (loop for reader in heads
        always (loop for head in heads
                     always (or (eq head reader) (knows-p reader head)))))

(defun masters (&rest heads)
  "Return the ids of those of HEADS that take themselves for the master."
  (loop for head in heads
        when (= (exchange-role (head-exchange head) t) pb:+master+)
          collect (exchange-id (head-exchange head))))
