(defpackage #:hydramesh/head/groups
  (:use #:cl)
  (:export #:+rings+ #:before-p #:best-led #:ring-of
           #:host #:make-host #:host-id #:host-gpu #:host-lends #:host-links #:host-rank #:host-room
           #:host-rtt #:form
           #:make-formation #:formation-lead #:formation-lead-bytes #:formation-members #:formation-ring)
  (:documentation "Which workers together hold a model that none of them can hold alone.

Nothing here keeps anything or measures: from the same numbers, which are all whole, the same group is
formed. It has as few members as suffice, and they are as near to the one that leads as can be: over a
far or slow way a model may be had at all, but every token waits for it."))
(in-package #:hydramesh/head/groups)

(defconstant +free+ 16 "Of what each worker has for a model, one part in so many stays free.")

(defconstant +spare+ 4
  "A group takes up to one part in so many more than the least, for several tasks at once.")

(defparameter +rings+ '(1000 10000 50000)
  "Round trips, in µs, up to which a member is near, in reach, or far.")

(defconstant +slow+ 12500000
  "Bytes a second below which a way counts as one ring further; 100 Mbit/s.")

(defconstant +leads+ 8 "Of all that could lead, so many are tried.")

(defconstant +unknown+ 1 "The ring of a way that nobody has measured.")

(defconstant +gib+ 30 "Memory that differs by less than 2 to this power of bytes is alike.")

(defconstant +farthest+ (ash 1 62))

(defstruct (host (:copier nil))
  "A worker as the choice sees it.

It could hold ROOM bytes of a model that it leads and that TAKES so many there, of which it KEEPS those
itself that cannot be shared, and LENDS so many. RANK says how soon it has the model, the least is the
soonest. GPU says whether its room is that of a GPU. RTT is that between head and worker in µs, NIL if not
measured. LINKS are its ways to others, lists of their id, the round trip in µs, and bytes a
second, 0 if not measured."
  (id "" :type string :read-only t)
  (takes 0 :type unsigned-byte :read-only t)
  (keeps 0 :type unsigned-byte :read-only t)
  (room 0 :type unsigned-byte :read-only t)
  (lends 0 :type unsigned-byte :read-only t)
  (rank 0 :type fixnum :read-only t)
  (gpu nil :read-only t)
  (rtt nil :type (or null unsigned-byte) :read-only t)
  (links '() :type list :read-only t))

(defstruct (formation (:copier nil))
  "The group: the id of who leads, with how many bytes, and MEMBERS, an alist of ids and their bytes."
  (lead "" :type string :read-only t)
  (lead-bytes 0 :type unsigned-byte :read-only t)
  (members '() :type list :read-only t)
  (ring 0 :type fixnum :read-only t))

(defun before-p (one other)
  "Return whether ONE, a list of numbers and strings, comes before OTHER, of the same kinds."
  (loop for a in one
        for b in other
        do (cond ((if (stringp a) (string< a b) (< a b)) (return t))
                 ((if (stringp a) (string< b a) (< b a)) (return nil)))))

(defun form (leads lenders most)
  "Return the FORMATION for a model that one of LEADS has, NIL if all together are too few.
It has at most MOST members besides the one that leads."
  (best-led leads #'identity (lambda (lead) (led-by lead lenders most))))

(defun best-led (leads host-of led-by)
  "Return the best FORMATION of those that LED-BY returns for LEADS, NIL if there is none.
HOST-OF returns the HOST of one of them."
  (let ((best nil)
        (best-key nil))
    (loop for lead in (sort (copy-list leads) #'before-p :key (lambda (lead) (order (funcall host-of lead))))
          for place below +leads+
          for host = (funcall host-of lead)
          for formed = (funcall led-by lead)
          do (when formed
               (let ((key (list (host-rank host) (formation-ring formed) (if (host-gpu host) 0 1)
                                (length (formation-members formed)) place)))
                 (when (or (null best) (before-p key best-key))
                   (setf best formed
                         best-key key)))))
    best))

(defun order (lead)
  "Return the place of LEAD among those that could lead; the least is tried first."
  (list (host-rank lead) (if (host-gpu lead) 0 1)
        (- (ash (host-room lead) (- +gib+)))
        (or (host-rtt lead) +farthest+) (host-id lead)))

(defun led-by (lead lenders most)
  (let ((enough (host-takes lead))
        (ways (sort (loop for host in lenders
                          unless (or (string= (host-id host) (host-id lead))
                                     (zerop (host-lends host)))
                            collect (list (- (host-lends host)) (ring-of lead host) (host-id host) host))
                    #'before-p
                    :key #'butlast)))
    (when (>= (usable (host-room lead)) (host-keeps lead))
      (loop for ring to (1+ (length +rings+))
            do (let ((total (usable (host-room lead)))
                     (members '()))
                 (loop for (nil away nil host) in ways
                       until (or (and members (>= total enough))
                                 (= (length members) most))
                       do (when (<= away ring)
                            (incf total (usable (host-lends host)))
                            (push host members)))
                 (when (and members (>= total enough))
                   (return (shared lead (nreverse members) ring))))))))

(defun shared (lead members ring)
  "Give a GPU that leads all that it can hold, and the others parts in proportion to their room.
What crosses the way to a member costs time, and a CPU's layers are the slowest."
  (let* ((keeps (min (host-keeps lead) (host-takes lead)))
         (room (- (usable (host-room lead)) keeps))
         (rooms (mapcar (lambda (host) (usable (host-lends host))) members))
         (lent (reduce #'+ rooms))
         (shared (- (host-takes lead) keeps))
         (wanted (min (+ shared (floor shared +spare+)) (+ room lent)))
         (own (if (host-gpu lead)
                  (min room shared)
                  (floor (* wanted room) (+ room lent))))
         (rest (min (- wanted own) lent)))
    (make-formation :lead (host-id lead)
                    :lead-bytes (+ keeps own)
                    :members (loop for host in members
                                   for room in rooms
                                   collect (cons (host-id host) (max 1 (floor (* rest room) lent))))
                    :ring ring)))

(defun usable (room)
  "Return how many of so many bytes a group may have."
  (- room (floor room +free+)))

(defun ring-of (lead member)
  "Return how far MEMBER is from LEAD; 0 is the nearest."
  (flet ((way (from to)
           (cdr (assoc (host-id to) (host-links from) :test #'string=))))
    (destructuring-bind (rtt speed) (or (way lead member)
                                        (way member lead)
                                        (list (and (host-rtt lead)
                                                   (host-rtt member)
                                                   (max (host-rtt lead) (host-rtt member)))
                                              0))
      (if rtt
          (+ (count-if (lambda (bound) (> rtt bound)) +rings+)
             (if (< 0 speed +slow+) 1 0))
          +unknown+))))
