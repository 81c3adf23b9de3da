(defpackage #:hydramesh/storage/roster
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/head/worker
                #:worker-heartbeat #:worker-id #:worker-process #:worker-rtt #:worker-seen-at)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/codec
                #:kept #:writer #:make-writer #:writer-octets #:writer-length #:write-number #:write-octets
                #:make-reader #:reader-done-p #:read-number #:read-octets)
  (:import-from #:hydramesh/storage/limits #:+worker-changes+ #:+worker-snapshot+)
  (:import-from #:hydramesh/storage/portrait #:portrait)
  (:import-from #:hydramesh/storage/store #:storage-damaged #:storage-newer)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:roster #:make-roster #:roster-number #:roster-changed-p #:roster-octets #:roster-full-p
           #:roster-begin #:roster-note #:roster-written
           #:roster-changes #:change #:change-at #:change-kind #:change-worker #:change-rtt
           #:change-heartbeat #:change-silent #:change-terms
           #:terms #:make-terms #:terms-worker-timeout #:terms-queue-size #:terms-task-deadline
           #:terms-max-attempts #:terms-group-threshold #:terms-failures #:terms-pause #:terms-longest-pause
           #:terms-hedge-share #:terms-hedge-quantile #:terms-hedge-longest)
  (:documentation "What workers were, and when: who came, changed and left, as hydramesh/storage/portrait
draws them, and by which settings the head went.

A chunk begins with all that was so when it was begun, so that those before it can be forgotten. Each
change in it is a number that says of which kind it is, when it was, and octets; readers pass over kinds
that they do not know."))
(in-package #:hydramesh/storage/roster)

(defconstant +version+ 1 "Of a chunk. A higher one is not read.")

;; Kinds of changes.
(defconstant +started+ 0 "The head has started: it knows no workers.")
(defconstant +is+ 1 "A worker is there, and as the octets say.")
(defconstant +gone+ 2)
(defconstant +terms+ 3)

(defstruct terms
  "The head's settings that say what becomes of tasks; times are in microseconds, the share and the
quantile in millionths. What is NIL was not kept by the version that wrote it."
  (worker-timeout 0 :type unsigned-byte)
  (queue-size 0 :type unsigned-byte)
  (task-deadline 0 :type unsigned-byte)
  (max-attempts 0 :type unsigned-byte)
  (group-threshold nil :type (or null unsigned-byte))
  (failures nil :type (or null unsigned-byte))
  (pause nil :type (or null unsigned-byte))
  (longest-pause nil :type (or null unsigned-byte))
  (hedge-share nil :type (or null unsigned-byte))
  (hedge-quantile nil :type (or null unsigned-byte))
  (hedge-longest nil :type (or null unsigned-byte)))

;;; Writing

(defstruct entry
  "What was written of a worker last: its PORTRAIT, encoded as OCTETS, from HEARTBEAT, which need not be
looked at again. PRESENT tells those that the head still knows from those that it does not."
  (process nil)
  (heartbeat nil)
  (portrait nil)
  (octets nil :type (or null octets))
  (rtt nil)
  (seen-at 0 :type unsigned-byte)
  (present nil))

(defstruct roster
  "What is known of workers, in ENTRIES by their ids; and the chunk that is being filled, under NUMBER,
which is full once its LENGTH is above FULL. PARTIAL says that it has not all workers."
  (entries (make-hash-table :test #'equal) :type hash-table)
  (terms nil)
  (writer nil :type (or null writer))
  (number 0 :type unsigned-byte)
  (full 0 :type unsigned-byte)
  (latest 0 :type unsigned-byte)
  (changed-p nil)
  (started-p nil))

(defun roster-full-p (roster)
  "Return whether another chunk should be begun."
  (let ((writer (roster-writer roster)))
    (or (null writer) (> (writer-length writer) (roster-full roster)))))

(defun roster-octets (roster)
  "Return the bytes of the chunk."
  (let ((writer (roster-writer roster)))
    (subseq (writer-octets writer) 0 (writer-length writer))))

(defun roster-written (roster)
  "Note that the chunk has been written as it is."
  (setf (roster-changed-p roster) nil))

(defun zigzag (number)
  (if (minusp number) (1- (* -2 number)) (* 2 number)))

(defun add-change (roster kind at content)
  (let ((writer (roster-writer roster)))
    (write-number kind writer)
    (write-number (kept (zigzag (- at (roster-latest roster)))) writer)
    (write-octets content writer)
    (setf (roster-latest roster) at
          (roster-changed-p roster) t)))

(defmacro content ((writer) &body body)
  "Return the octets that BODY writes to WRITER."
  `(let ((,writer (make-writer)))
     ,@body
     (subseq (writer-octets ,writer) 0 (writer-length ,writer))))

(defun entry-content (entry)
  (content (writer)
    (write-number (kept (let ((rtt (entry-rtt entry))) (if rtt (1+ rtt) 0))) writer)
    (write-octets (entry-octets entry) writer)))

(defun terms-content (terms)
  (content (writer)
    (dolist (number (list (terms-worker-timeout terms) (terms-queue-size terms) (terms-task-deadline terms)
                          (terms-max-attempts terms) (terms-group-threshold terms) (terms-failures terms)
                          (terms-pause terms) (terms-longest-pause terms) (terms-hedge-share terms)
                          (terms-hedge-quantile terms) (terms-hedge-longest terms)))
      (when number
        (write-number (kept number) writer)))))

(defun roster-begin (roster number at)
  "Begin another chunk under NUMBER, with what is so AT that time, microseconds since 1970."
  (setf (roster-writer roster) (make-writer)
        (roster-number roster) number
        (roster-latest roster) 0
        (roster-changed-p roster) t)
  (write-number +version+ (roster-writer roster))
  (unless (roster-started-p roster)
    (setf (roster-started-p roster) t)
    (add-change roster +started+ at (content (writer) writer)))
  (when (roster-terms roster)
    (add-change roster +terms+ at (terms-content (roster-terms roster))))
  ;; In the order of their ids: what is read does not depend on a hash table's.
  (loop for entry in (sort (loop for entry being the hash-values of (roster-entries roster) collect entry)
                           #'string< :key (lambda (entry) (car (entry-process entry))))
        while (< (writer-length (roster-writer roster)) +worker-snapshot+)
        do (add-change roster +is+ at (entry-content entry)))
  (setf (roster-full roster)
        (+ (writer-length (roster-writer roster))
           (max +worker-changes+ (writer-length (roster-writer roster))))))

(defun roster-note (roster workers terms now at)
  "Note what has changed of WORKERS, a list of the head's, and of TERMS, at NOW by the head's clock, which is
AT that time in microseconds since 1970. The workers may change meanwhile."
  (unless (equalp terms (roster-terms roster))
    (setf (roster-terms roster) terms)
    (add-change roster +terms+ at (terms-content terms)))
  (let ((entries (roster-entries roster)))
    (loop for entry being the hash-values of entries
          do (setf (entry-present entry) nil))
    (dolist (worker workers)
      (let* ((id (worker-id worker))
             (entry (gethash id entries)))
        (when (and entry (not (equal (worker-process worker) (entry-process entry))))
          (note-gone roster entry now at)
          (setf entry nil))
        (unless entry
          (setf entry (setf (gethash id entries) (make-entry :process (worker-process worker)))))
        (setf (entry-present entry) t)
        (note-worker roster entry worker now at)))
    (loop for entry being the hash-values of entries
          unless (entry-present entry)
            collect entry into gone
          finally (dolist (entry gone)
                    (note-gone roster entry now at)))))

(defun note-worker (roster entry worker now at)
  (let ((heartbeat (worker-heartbeat worker))
        (seen-at (worker-seen-at worker)))
    (setf (entry-seen-at entry) seen-at)
    (unless (eq heartbeat (entry-heartbeat entry))
      (let* ((portrait (portrait heartbeat (entry-portrait entry)))
             (octets (pb:encode portrait))
             (rtt (steady-rtt (worker-rtt worker) (entry-rtt entry))))
        (setf (entry-heartbeat entry) heartbeat)
        (unless (and (equalp octets (entry-octets entry)) (eql rtt (entry-rtt entry)))
          (setf (entry-portrait entry) portrait
                (entry-octets entry) octets
                (entry-rtt entry) rtt)
          (add-change roster +is+ (max 0 (- at (max 0 (- now seen-at)))) (entry-content entry)))))))

(defun steady-rtt (rtt before)
  "Return BEFORE, unless RTT is half as much again, or less than two thirds."
  (if (and rtt before (<= (* 2 rtt) (* 3 before)) (<= (* 2 before) (* 3 rtt))) before rtt))

(defun note-gone (roster entry now at)
  (remhash (car (entry-process entry)) (roster-entries roster))
  (add-change roster +gone+ at
              (content (writer)
                (write-number (kept (- now (entry-seen-at entry))) writer)
                (write-octets (sb-ext:string-to-octets (car (entry-process entry)) :external-format :utf-8)
                              writer))))

;;; Reading

(defstruct change
  "Something that has changed AT a time, microseconds since 1970. Its KIND is :STARTED, :IS, :GONE or :TERMS;
WORKER is the id of the one that it is about. That is so as HEARTBEAT says, at a distance of RTT or NIL; or it
is gone, after it was SILENT for so long."
  (at 0 :type unsigned-byte)
  (kind :started :type keyword)
  (worker "" :type string)
  (heartbeat nil)
  (rtt nil)
  (silent 0 :type unsigned-byte)
  (terms nil))

(defun damaged ()
  (error 'storage-damaged :reason "a part of it is not what was written"))

(defun unzigzag (number)
  (if (oddp number) (- (ash (1+ number) -1)) (ash number -1)))

(defun roster-changes (octets)
  "Return the changes in a chunk, in the order in which they were noted. Signal STORAGE-DAMAGED or -NEWER."
  (let* ((reader (make-reader octets)) (version (read-number reader)) (latest 0))
    (when (> version +version+)
      (error 'storage-newer :reason (format nil "a later version of HydraMesh wrote what its workers were (as ~
                                                 version ~D, this program knows ~D)" version +version+)))
    (loop until (reader-done-p reader)
          for kind = (read-number reader)
          for at = (setf latest (kept (+ latest (unzigzag (read-number reader)))))
          for change = (change-in kind at (read-octets reader (length octets)))
          when change collect change)))

(defun change-in (kind at content)
  "Return the change of KIND that CONTENT tells of, NIL if that is a kind of a later version."
  (let ((reader (make-reader content)))
    (flet ((text ()
             (sb-ext:octets-to-string (read-octets reader (length content))
                                      :external-format '(:utf-8 :replacement #\?)))
           (heartbeat ()
             (handler-case (pb:decode 'pb:heartbeat (read-octets reader (length content)))
               (pb:malformed () (damaged)))))
      (cond ((= kind +started+)
             (make-change :at at :kind :started))
            ((= kind +is+)
             (let ((rtt (read-number reader)) (heartbeat (heartbeat)))
               (make-change :at at :kind :is :worker (pb:heartbeat-worker-id heartbeat)
                            :heartbeat heartbeat :rtt (if (zerop rtt) nil (1- rtt)))))
            ((= kind +gone+)
             (make-change :at at :kind :gone :silent (read-number reader) :worker (text)))
            ((= kind +terms+)
             (make-change :at at :kind :terms :terms (terms-in reader)))))))

(defun terms-in (reader)
  (flet ((number () (read-number reader))
         (later () (if (reader-done-p reader) nil (read-number reader))))
    (make-terms :worker-timeout (number) :queue-size (number) :task-deadline (number) :max-attempts (number)
                :group-threshold (later) :failures (later) :pause (later) :longest-pause (later)
                :hedge-share (later) :hedge-quantile (later) :hedge-longest (later))))
