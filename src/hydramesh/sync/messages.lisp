(defpackage #:hydramesh/sync/messages
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/sync/limits #:+message+ #:+id+)
  (:import-from #:hydramesh/sync/state
                #:change-key #:change-value #:change-version #:make-view #:view-assigned #:view-group
                #:view-aside)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:read-sync #:write-sync #:facts-in)
  (:documentation "SYNC messages: how facts are written into one, as many as it has room for, and
read again."))
(in-package #:hydramesh/sync/messages)

(deftype version () '(unsigned-byte 62))

;;; Writing

;; No more than so many bytes, but for the program's version.
(defconstant +figure+ 16)

(defun write-sync (sync changes)
  "Put the first of CHANGES into SYNC, a PB:SYNC without any, until it is full; return its octets and the
rest. Its version becomes that of the last one in it, if there is one. What no message has room for, such as a long id
in a script of many bytes, is left out, as all that comes after it would have to wait for it."
  (let ((room (- +message+ (pb:encoded-size sync) +figure+)) (full nil) (empty t))
    (loop while (and changes (not full))
          do (let ((size (put (first changes) sync room)))
               (cond ((< size room)
                      (decf room size)
                      (setf empty nil))
                     (t
                      (setf full (not empty))))
               (unless full
                 (setf (pb:sync-version sync) (change-version (pop changes)))))))
  (setf (pb:sync-links sync) (reverse (pb:sync-links sync))
        (pb:sync-workers sync) (reverse (pb:sync-workers sync)))
  (values (pb:encode sync) changes))

(defun put (change sync room)
  "Add CHANGE to SYNC if it takes less than ROOM bytes; return how many it takes."
  (let ((key (change-key change)) (value (change-value change)))
    (if (consp key)
        (let* ((entry (entry (car key) (cdr key) value))
               (size (+ 4 (pb:encoded-size entry))))
          (when (< size room)
            (if (eq (car key) :link)
                (push entry (pb:sync-links sync))
                (push entry (pb:sync-workers sync))))
          size)
        (let ((size (if (stringp value) (+ +figure+ (* 4 (length value))) +figure+)))
          (when (< size room)
            (put-figure key value
                        (or (pb:sync-head sync)
                            (setf (pb:sync-head sync) (pb:make-head-state)))))
          size))))

(defun put-figure (key value head)
  (ecase key
    (:version (setf (pb:head-state-version head) value))
    (:state (setf (pb:head-state-state head) value))
    (:workers (setf (pb:head-state-workers head) value))
    (:queued (setf (pb:head-state-queued head) value))
    (:in-flight (setf (pb:head-state-in-flight head) value))
    (:role (setf (pb:head-state-role head) value))))

(defun entry (kind id value)
  (let ((gone (eq value :gone)))
    (ecase kind
      (:link (pb:make-head-link :head-id id :rtt-ms (if gone nil value)))
      (:worker (if gone
                   (pb:make-head-worker :worker-id id)
                   (pb:make-head-worker :worker-id id
                                        :assigned (view-assigned value)
                                        :group (view-group value)
                                        :set-aside (view-aside value)))))))

;;; Reading

(defun read-sync (payload)
  "Return the PB:SYNC that PAYLOAD is, NIL if it is none that a head may send."
  (declare (type octets payload))
  (when (<= (length payload) +message+)
    (let ((sync (handler-case (pb:decode 'pb:sync payload)
                  (pb:malformed () nil))))
      (and sync
           (id-p (pb:sync-head-id sync))
           (plusp (pb:sync-incarnation sync))
           (typep (pb:sync-version sync) 'version)
           (<= (pb:sync-base sync) (pb:sync-version sync))
           (typep (pb:sync-known-version sync) 'version)
           (typep (pb:sync-sent-us sync) 'version)
           (typep (pb:sync-echo-us sync) 'version)
           sync))))

(defun id-p (text)
  (<= 1 (length text) +id+))

(defun facts-in (sync)
  "Return an alist of the facts that SYNC tells, without those that cannot be."
  (nconc (let ((head (pb:sync-head sync)))
           (and head (figures head)))
         (loop for link in (pb:sync-links sync)
               when (id-p (pb:head-link-head-id link))
                 collect (cons (cons :link (pb:head-link-head-id link))
                               (or (pb:head-link-rtt-ms link) :gone)))
         (loop for worker in (pb:sync-workers sync)
               when (id-p (pb:head-worker-worker-id worker))
                 collect (cons (cons :worker (pb:head-worker-worker-id worker))
                               (view-of worker)))))

(defun figures (head)
  (flet ((told (key value)
           (and value (list (cons key value)))))
    (let ((version (pb:head-state-version head)))
      (nconc (told :version (and version (subseq version 0 (min +id+ (length version)))))
             (told :state (pb:head-state-state head))
             (told :workers (pb:head-state-workers head))
             (told :queued (pb:head-state-queued head))
             (told :in-flight (pb:head-state-in-flight head))
             (told :role (pb:head-state-role head))))))

(defun view-of (worker)
  (let ((assigned (pb:head-worker-assigned worker))
        (group (pb:head-worker-group worker))
        (aside (pb:head-worker-set-aside worker)))
    (if (or (plusp assigned) group aside)
        (make-view assigned group aside)
        :gone)))
