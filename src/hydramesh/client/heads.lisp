(defpackage #:hydramesh/client/heads
  (:use #:cl)
  (:import-from #:hydramesh/address #:address #:address-family #:loopback-p #:numeric)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:export #:heads #:make-heads #:heads-addresses #:heads-known-p #:heads-heard #:heads-lost #:heads-draining
           #:heads-told #:heads-expire #:heads-alive-p #:heads-best #:heads-other)
  (:documentation "The heads that a client knows: those of its settings, and those that they name.

A task goes to the first one that is alive, in the settings' order; to one that is shutting down only if
there is no other."))
(in-package #:hydramesh/client/heads)

(defparameter +silence+ (seconds 4) "Without a sign of life for so long a head counts as lost.")
(defparameter +forget-after+ (seconds 60) "For so long a silent head is kept that no other one names.")
(defconstant +most+ 16 "Heads known at most, however many are named.")

(defstruct (known (:constructor make-known (address configured told-at)))
  (address 0 :type address)
  (configured nil)
  (told-at 0 :type microseconds)
  (heard-at nil :type (or null microseconds))
  (draining nil))

(defstruct (heads (:constructor %make-heads (known remote)))
  "KNOWN are heads, the preferred first. REMOTE: whether those on other machines may be learned of."
  (known '() :type list)
  (remote nil))

(defun make-heads (addresses &key remote)
  "Return heads at ADDRESSES, at least one, the preferred first."
  (assert addresses)
  (%make-heads (loop for address in (remove-duplicates addresses :from-end t)
                     collect (make-known address t 0))
               remote))

(defun find-head (heads address)
  (find address (heads-known heads) :key #'known-address))

(defun heads-addresses (heads)
  "Return the addresses of all, the preferred first."
  (mapcar #'known-address (heads-known heads)))

(defun heads-known-p (heads address)
  "Return whether a head is at ADDRESS."
  (and (find-head heads address) t))

(defun alive-p (head now)
  (let ((heard (known-heard-at head)))
    (and heard (< (- now heard) +silence+))))

(defun heads-heard (heads address now)
  "Note a sign of life of the head at ADDRESS."
  (let ((head (find-head heads address)))
    (when head
      (unless (alive-p head now)
        (setf (known-draining head) nil))
      (setf (known-heard-at head) now))))

(defun heads-lost (heads address)
  "Note that nothing reaches the head at ADDRESS any more."
  (let ((head (find-head heads address)))
    (when head
      (setf (known-heard-at head) nil))))

(defun heads-draining (heads address draining)
  "Note whether the head at ADDRESS is shutting down."
  (let ((head (find-head heads address)))
    (when head
      (setf (known-draining head) draining))))

(defun heads-told (heads names now)
  "Learn of heads that another one names, texts as host:port."
  (dolist (address (remove nil (mapcar #'numeric names)))
    (let ((head (find-head heads address)) (first (known-address (first (heads-known heads)))))
      (cond (head (setf (known-told-at head) now))
            ((and (< (length (heads-known heads)) +most+)
                  (= (address-family address) (address-family first)) ; which is our socket's
                  (or (heads-remote heads) (loopback-p address)))
             (setf (heads-known heads)
                   (append (heads-known heads) (list (make-known address nil now)))))))))

(defun heads-expire (heads now)
  "Forget those that are silent and that nobody has named for a while."
  (setf (heads-known heads)
        (remove-if (lambda (head)
                     (not (or (known-configured head)
                              (alive-p head now)
                              (<= (- now (known-told-at head)) +forget-after+))))
                   (heads-known heads))))

(defun heads-alive-p (heads address now)
  "Return whether the head at ADDRESS was heard recently."
  (let ((head (find-head heads address)))
    (and head (alive-p head now))))

(defun heads-best (heads now)
  "Return the address of the head to give a task to, the first of all if none is alive."
  (let ((alive (remove-if-not (lambda (head) (alive-p head now)) (heads-known heads))))
    (known-address (or (find-if-not #'known-draining alive)
                       (first alive)
                       (first (heads-known heads))))))

(defun heads-other (heads than now)
  "Return the address of another head than that at THAN which takes tasks, NIL if there is none."
  (let ((other (find-if (lambda (head)
                          (and (/= (known-address head) than) (alive-p head now) (not (known-draining head))))
                        (heads-known heads))))
    (and other (known-address other))))
