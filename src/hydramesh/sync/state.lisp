(defpackage #:hydramesh/sync/state
  (:use #:cl)
  (:import-from #:hydramesh/sync/limits #:+forgotten+)
  (:export #:state #:make-state #:state-version #:state-publish #:state-current-p #:state-changes
           #:change-key #:change-value #:change-version
           #:view #:make-view #:view-assigned #:view-group #:view-aside)
  (:documentation "A head's own state, of which only it says anything: facts, each with the version of the
state that brought it.

A fact has a key and a value. Keys are :VERSION, :STATE, :WORKERS, :QUEUED, :IN-FLIGHT and :ROLE, whose
values are those of HeadState; (:LINK . id of a head), with milliseconds; and (:WORKER . id), with a VIEW.
Who has any version of the state gets to the present one by the facts that are younger: deltas, not a
history."))
(in-package #:hydramesh/sync/state)

(defstruct (view (:constructor make-view (assigned group aside)) (:copier nil))
  "What a head sees of a worker: how many tasks it has ASSIGNED to it, its GROUP by distance, NIL if that is
not known, and whether it has set it ASIDE."
  (assigned 0 :type (unsigned-byte 32) :read-only t)
  (group nil :type (or null (signed-byte 32)) :read-only t)
  (aside nil :type boolean :read-only t))

(defstruct (change (:constructor make-change (key value version)) (:copier nil))
  "The fact KEY has VALUE since VERSION, :GONE if it holds no more. SEEN is when it was last published."
  (key nil :read-only t)
  (value nil)
  (version 0 :type (unsigned-byte 62))
  (seen 0 :type (unsigned-byte 62)))

(defstruct (state (:constructor make-state ()) (:copier nil))
  "FACTS by their keys, GONE of them without a value any more. Whoever has a version before FLOOR has to get
all. ROUND counts what was published."
  (facts (make-hash-table :test 'equal) :type hash-table :read-only t)
  (version 0 :type (unsigned-byte 62))
  (gone 0 :type fixnum)
  (floor 0 :type (unsigned-byte 62))
  (round 0 :type (unsigned-byte 62)))

(defun state-publish (state facts)
  "Let STATE be FACTS, an alist of all that hold now."
  (incf (state-round state))
  (loop for (key . value) in facts
        do (setf (change-seen (note state key value)) (state-round state)))
  (loop for change being the hash-values of (state-facts state)
        unless (or (= (change-seen change) (state-round state))
                   (eq (change-value change) :gone))
          collect change into gone
        finally (dolist (change gone)
                  (incf (state-gone state))
                  (alter state change :gone)))
  (when (> (state-gone state) +forgotten+)
    (forget state)))

(defun note (state key value)
  "Return the change of KEY, which has VALUE from now on."
  (let ((change (gethash key (state-facts state))))
    (cond ((null change)
           (setf (gethash key (state-facts state))
                 (make-change key value (incf (state-version state)))))
          ((equalp (change-value change) value)
           change)
          (t
           (when (eq (change-value change) :gone)
             (decf (state-gone state)))
           (alter state change value)))))

(defun alter (state change value)
  (setf (change-value change) value
        (change-version change) (incf (state-version state)))
  change)

(defun forget (state)
  "Forget the facts that are gone. Whoever does not know of all of them must get all others anew, so they
become younger than any version that was told."
  (let ((facts (by-version (loop for change being the hash-values of (state-facts state) collect change))))
    (setf (state-gone state) 0
          (state-floor state) (1+ (state-version state)))
    (dolist (change facts)
      (if (eq (change-value change) :gone)
          (remhash (change-key change) (state-facts state))
          (setf (change-version change) (incf (state-version state)))))))

(defun by-version (changes)
  (sort changes #'< :key #'change-version))

(defun state-current-p (state version)
  "Return whether changes can lead from VERSION to the present one; else it takes all facts."
  (<= (state-floor state) version (state-version state)))

(defun state-changes (state version)
  "Return what has changed since VERSION, the oldest first. Even of all, since 0, what is gone is a part:
whoever has a version that it could not acknowledge leaves out the beginning, and goes on from there."
  (by-version (loop for change being the hash-values of (state-facts state)
                    when (> (change-version change) version)
                      collect change)))
