(defpackage #:hydramesh/sync/neighbour
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/sync/limits
                #:+burst+ #:+incarnations+ #:+longest-rtt+ #:+lost+ #:+pace+ #:+rest+ #:+retry+)
  (:import-from #:hydramesh/sync/messages #:facts-in #:write-sync)
  (:import-from #:hydramesh/sync/replica
                #:replica #:make-replica #:replica-apply #:replica-fact #:replica-version #:replica-workers)
  (:import-from #:hydramesh/sync/state
                #:state-changes #:state-current-p #:state-version)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:neighbour #:make-neighbour #:neighbour-id #:neighbour-incarnation #:neighbour-address
           #:neighbour-heard-at #:neighbour-replica #:neighbour-rtt #:neighbour-mutual-p #:neighbour-link-ms
           #:neighbour-retired-p #:neighbour-restarted #:neighbour-take #:neighbour-lost-p #:neighbour-deaf-p
           #:neighbour-voided
           #:neighbour-due-p #:neighbour-messages #:neighbour-ready-p #:neighbour-acked)
  (:documentation "Another head that is heard: what it told, what it has of this head's state, what it is to
be told."))
(in-package #:hydramesh/sync/neighbour)

(defstruct (neighbour (:constructor make-neighbour (id incarnation address heard-at
                                                    &aux (address-at heard-at) (answered-at heard-at)))
                      (:copier nil))
  "RETIRED are earlier incarnations, the latest first. It was heard at HEARD-AT, and from ADDRESS at
ADDRESS-AT. REPLICA is what it told of itself.

Of this head's state it has the version ACKED, and has been sent that up to SENT, last at SENT-AT, in
UNDER-WAY messages since both were the same. TOLD-AT is when anything was sent, and OWED whether it is to be
told soon what has arrived from it. HEARS: it has heard this process; what was no mere greeting came last at
ANSWERED-AT.

STAMP is the latest time of its clock that came, at STAMP-AT. RTT is the smoothed round trip, NIL while none
was measured, and LINK-MS what others are told of it."
  (id "" :type string :read-only t)
  (incarnation 0 :type (unsigned-byte 64))
  (retired '() :type list)
  (address 0 :type address)
  (address-at 0 :type microseconds)
  (heard-at 0 :type microseconds)
  (replica (make-replica) :type replica)
  (acked 0 :type (unsigned-byte 62))
  (sent 0 :type (unsigned-byte 62))
  (sent-at 0 :type microseconds)
  (under-way 0 :type fixnum)
  (told-at 0 :type microseconds)
  (owed t :type boolean)
  (hears nil :type boolean)
  (answered-at 0 :type microseconds)
  (stamp 0 :type (unsigned-byte 62))
  (stamp-at 0 :type microseconds)
  (rtt nil :type (or null microseconds))
  (link-ms 0 :type (unsigned-byte 32)))

(defun neighbour-mutual-p (neighbour)
  "Return whether it hears this head too."
  (neighbour-hears neighbour))

(defun neighbour-ready-p (neighbour)
  "Return whether it says that it takes tasks."
  (eql (replica-fact (neighbour-replica neighbour) :state) pb:+ready+))

(defun neighbour-lost-p (neighbour now)
  (>= (- now (neighbour-heard-at neighbour)) +lost+))

(defun neighbour-retired-p (neighbour incarnation)
  "Return whether a process with INCARNATION was replaced by the one that is heard."
  (member incarnation (neighbour-retired neighbour)))

(defun neighbour-deaf-p (neighbour now)
  "Return whether it is heard, but has not heard this head for so long that it has forgotten it."
  (and (>= (- now (neighbour-answered-at neighbour)) +lost+)
       (or (neighbour-hears neighbour)
           (plusp (replica-version (neighbour-replica neighbour))))))

(defun neighbour-restarted (neighbour incarnation)
  "Let NEIGHBOUR be the process with INCARNATION, of which nothing is known; return the workers of which the
other one told something."
  (let ((retired (cons (neighbour-incarnation neighbour) (neighbour-retired neighbour))))
    (setf (neighbour-retired neighbour) (subseq retired 0 (min +incarnations+ (length retired)))
          (neighbour-incarnation neighbour) incarnation
          (neighbour-stamp neighbour) 0)
    (neighbour-voided neighbour)))

(defun neighbour-voided (neighbour)
  "Forget what NEIGHBOUR has told, and what it has been told; return the workers of which it told something."
  (let ((workers (replica-workers (neighbour-replica neighbour))))
    (setf (neighbour-replica neighbour) (make-replica)
          (neighbour-acked neighbour) 0
          (neighbour-sent neighbour) 0
          (neighbour-under-way neighbour) 0
          (neighbour-hears neighbour) nil)
    (loop for id being the hash-keys of workers collect id)))

;;; Listening

(defun neighbour-take (neighbour sync from incarnation state now)
  "Take SYNC, which came FROM an address. INCARNATION and STATE are this head's. Return a list of the workers
of which something may have changed."
  (setf (neighbour-heard-at neighbour) now)
  (note-address neighbour from now)
  (when (> (pb:sync-sent-us sync) (neighbour-stamp neighbour))
    (setf (neighbour-stamp neighbour) (pb:sync-sent-us sync)
          (neighbour-stamp-at neighbour) now)
    ;; Who greets an address does not know who is there.
    (unless (greeting-p sync)
      (setf (neighbour-answered-at neighbour) now)
      (note-acknowledged neighbour sync incarnation state))
    (note-rtt neighbour (pb:sync-echo-us sync) now))
  (let ((before (replica-version (neighbour-replica neighbour))))
    (multiple-value-bind (whole workers)
        (replica-apply (neighbour-replica neighbour) (pb:sync-base sync) (pb:sync-version sync)
                       (facts-in sync))
      (unless (and whole
                   (neighbour-hears neighbour)
                   (not (greeting-p sync))
                   (= before (replica-version (neighbour-replica neighbour))))
        (setf (neighbour-owed neighbour) t))
      workers)))

(defun greeting-p (sync)
  (zerop (pb:sync-known-incarnation sync)))

(defun note-address (neighbour from now)
  "It is where it was heard first, unless it has been silent there."
  (cond ((= from (neighbour-address neighbour))
         (setf (neighbour-address-at neighbour) now))
        ((>= (- now (neighbour-address-at neighbour)) (* 2 +rest+))
         (setf (neighbour-address neighbour) from
               (neighbour-address-at neighbour) now))))

(defun note-acknowledged (neighbour sync incarnation state)
  (let* ((hears (= (pb:sync-known-incarnation sync) incarnation))
         (known (if (and hears (<= (pb:sync-known-version sync) (state-version state)))
                    (pb:sync-known-version sync)
                    0)))
    (when (or (< known (neighbour-acked neighbour)) ; it has lost everything
              (>= known (neighbour-sent neighbour)))
      (setf (neighbour-sent neighbour) known
            (neighbour-under-way neighbour) 0))
    (setf (neighbour-hears neighbour) hears
          (neighbour-acked neighbour) known)))

(defun note-rtt (neighbour echo now)
  (when (plusp echo)
    (let ((sample (- now echo)) (rtt (neighbour-rtt neighbour)))
      (when (<= 0 sample +longest-rtt+)
        (setf rtt (if rtt (+ rtt (round (- sample rtt) 8)) sample)
              (neighbour-rtt neighbour) rtt)
        ;; What is told changes only with what matters, as each change costs a message.
        (let ((told (* 1000 (neighbour-link-ms neighbour))))
          (when (> (abs (- rtt told)) (max 2000 (floor told 8)))
            (setf (neighbour-link-ms neighbour) (floor rtt 1000))))))))

;;; Telling

(defun neighbour-due-p (neighbour state now)
  "Return whether NEIGHBOUR is to be told something now, of STATE or of what arrived."
  (let ((silence (- now (neighbour-told-at neighbour))))
    (and (>= silence (if (or (neighbour-hears neighbour) (neighbour-owed neighbour)) +pace+ +rest+))
         (or (neighbour-owed neighbour)
             (and (< (neighbour-sent neighbour) (state-version state))
                  (plusp (may-be-sent neighbour)))
             (unanswered-p neighbour now)
             (>= silence +rest+)))))

(defun may-be-sent (neighbour)
  "Return how many messages it may be sent now. Whoever has not heard this head may not be where it seems to
be."
  (if (neighbour-hears neighbour)
      (- +burst+ (neighbour-under-way neighbour))
      1))

(defun unanswered-p (neighbour now)
  "Return whether what was sent has not been acknowledged in time."
  (and (< (neighbour-acked neighbour) (neighbour-sent neighbour))
       (>= (- now (neighbour-sent-at neighbour))
           (max +retry+ (* 2 (or (neighbour-rtt neighbour) 0))))))

(defun neighbour-messages (neighbour state now greeting)
  "Return a list of the payloads that NEIGHBOUR is to be sent now. GREETING is a function that returns a
PB:SYNC with who sends it and when."
  (when (unanswered-p neighbour now)
    (setf (neighbour-sent neighbour) (neighbour-acked neighbour)
          (neighbour-under-way neighbour) 0))
  (let* ((room (may-be-sent neighbour))
         (base (if (state-current-p state (neighbour-sent neighbour)) (neighbour-sent neighbour) 0))
         (changes (if (plusp room) (state-changes state base) '())))
    (setf (neighbour-told-at neighbour) now
          (neighbour-owed neighbour) nil)
    (prog1 (if changes
               (loop repeat room
                     while changes
                     collect (let ((sync (addressed (funcall greeting) neighbour base now)))
                               (multiple-value-bind (payload rest) (write-sync sync changes)
                                 (setf changes rest
                                       base (pb:sync-version sync)
                                       (neighbour-sent-at neighbour) now)
                                 (incf (neighbour-under-way neighbour))
                                 payload)))
               (list (pb:encode (addressed (funcall greeting) neighbour base now))))
      (setf (neighbour-sent neighbour) base))))

(defun addressed (sync neighbour base now)
  "Put into SYNC what depends on its reader."
  (setf (pb:sync-base sync) base
        (pb:sync-version sync) base
        (pb:sync-known-incarnation sync) (neighbour-incarnation neighbour)
        (pb:sync-known-version sync) (replica-version (neighbour-replica neighbour))
        (pb:sync-echo-us sync) (if (zerop (neighbour-stamp neighbour))
                                   0
                                   (+ (neighbour-stamp neighbour) (- now (neighbour-stamp-at neighbour)))))
  sync)
