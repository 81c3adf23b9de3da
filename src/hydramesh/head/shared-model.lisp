(defpackage #:hydramesh/head/shared-model
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/events #:microseconds)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:part #:make-part #:part-process #:part-name #:part-address #:part-bytes
           #:shared-model #:make-shared-model #:shared-model-model #:shared-model-lead
           #:shared-model-members #:shared-model-used-at #:shared-model-seen-at
           #:shared-model-running #:shared-model-ending-since #:shared-model-plan
           #:shared-model-processes #:shared-model-has-p #:shared-model-has-member-p #:shared-model-bytes-of #:shared-model-blamed)
  (:documentation "A model that several workers hold together, because none of them can alone."))
(in-package #:hydramesh/head/shared-model)

(defstruct (part (:copier nil))
  "What one worker, a PROCESS, holds of it, at the ADDRESS where it is asked for that."
  (process nil :type cons :read-only t)
  (name "" :type string :read-only t)
  (address "" :type string :read-only t)
  (bytes 0 :type unsigned-byte :read-only t))

(defstruct (shared-model (:constructor make-shared-model (&key model lead lead-bytes members used-at
                                                          &aux (seen-at used-at)))
                         (:copier nil))
  "The worker that leads keeps LEAD-BYTES itself; MEMBERS are the others' parts. RUNNING counts this head's
tasks on it, USED-AT is when it last had one, and SEEN-AT when the one that leads last said that it has the
model. ENDING-SINCE is set while that is asked to let it go."
  (model "" :type string :read-only t)
  (lead nil :type cons :read-only t)
  (lead-bytes 0 :type unsigned-byte :read-only t)
  (members '() :type list :read-only t)
  (used-at 0 :type microseconds)
  (seen-at 0 :type microseconds)
  (running 0 :type fixnum)
  (ending-since nil :type (or null microseconds)))

(defun shared-model-plan (group)
  "Return what the one that leads is told, a PB:SHARD-PLAN."
  (pb:make-shard-plan
   :bytes (shared-model-lead-bytes group)
   :members (loop for part in (shared-model-members group)
                  collect (pb:make-shard-member :worker-id (car (part-process part))
                                                :name (part-name part)
                                                :address (part-address part)
                                                :bytes (part-bytes part)))))

(defun shared-model-has-p (group process)
  "Return whether PROCESS holds a part."
  (or (equal process (shared-model-lead group))
      (member process (shared-model-members group) :key #'part-process :test #'equal)))

(defun shared-model-has-member-p (group process)
  "Return whether PROCESS has a part of it and does not lead."
  (member process (shared-model-members group) :key #'part-process :test #'equal))

(defun shared-model-processes (group)
  "Return all workers that hold a part."
  (cons (shared-model-lead group) (mapcar #'part-process (shared-model-members group))))

(defun shared-model-bytes-of (group process)
  "Return how much of it PROCESS holds."
  (if (equal process (shared-model-lead group))
      (shared-model-lead-bytes group)
      (loop for part in (shared-model-members group)
            when (equal process (part-process part))
              sum (part-bytes part))))

(defun shared-model-blamed (group said)
  "Return the members that SAID, an error of the one that leads, names."
  (flet ((begins-p (name)
           (let ((end (length name)))
             (and (plusp end)
                  (> (length said) end)
                  (string= name said :end2 end)
                  (char= (char said end) #\Space))))
         (word-p (id)
           (loop for start = 0 then (1+ end)
                 for end = (position #\Space said :start start)
                 thereis (string= id said :start2 start :end2 end)
                 while end)))
    (loop for part in (shared-model-members group)
          when (or (word-p (car (part-process part))) (begins-p (part-name part)))
            collect (part-process part))))
