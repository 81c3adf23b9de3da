(defpackage #:hydramesh/answer-order
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/text #:read-text #:text-size #:write-text)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:+last-resumed+
           #:answer-limits #:make-answer-limits
           #:too-much #:too-much-of
           #:answer-order #:make-answer-order #:answer-order-task #:answer-order-finished-p
           #:answer-order-early-bytes #:answer-order-delivered-bytes #:answer-order-next-index
           #:answer-order-made-by #:answer-order-empty-p
           #:answer-order-accept #:answer-order-follow #:answer-order-drop-early #:answer-order-resume-here #:answer-order-resume-beside
           #:size-of)
  (:documentation "The order in which the parts of a task's answer are passed on.

RESULTs may arrive in any order, and another worker may continue the answer when the one that ran the
task is lost. An ANSWER-ORDER puts the parts in order and keeps what a second run needs to continue where
the first broke off."))
(in-package #:hydramesh/answer-order)

(defconstant +token+ 40 "Bytes that a token is reckoned to take while it is kept.")

(defconstant +last-resumed+ (ash 1 31)
  "The largest index at which an answer may be resumed: the parts that follow have 32 bits.")

(defconstant +mib+ (ash 1 20))

(defparameter +nothing+ (make-array 0 :element-type '(unsigned-byte 8)))

(defstruct answer-limits
  "How much is kept of one answer.

AHEAD parts, which take AHEAD-BYTES, may wait for an earlier one. DELIVERED bytes of text and tokens are
kept for another run to continue from."
  (ahead 2048 :type fixnum)
  (ahead-bytes (* 64 +mib+) :type fixnum)
  (delivered (* 64 +mib+) :type fixnum))

(define-condition too-much (error)
  ((of :initarg :of :reader too-much-of))
  (:report (lambda (condition stream) (write-string (too-much-of condition) stream)))
  (:documentation "The peer that answers sends more than is kept: more OF what, in words."))

(defstruct (answer-order (:constructor %make-answer-order (task limits room)))
  "The answer to TASK, on its way to the client. EARLY-BYTES is the size of the parts that wait for an
earlier one, NEXT-INDEX the index of the part to be passed on next."
  (task nil :type pb:task)
  (limits nil :type answer-limits :read-only t)
  (finished-p nil)
  (next-index 0 :type (unsigned-byte 33))
  (early nil :type (or null hash-table))
  (early-bytes 0 :type fixnum)
  ;; What was passed on of the text, as UTF-8, and of its tokens; and how much more of it would be kept.
  (room 0 :type fixnum)
  (text +nothing+ :type octets)
  (text-bytes 0 :type fixnum)
  (tokens nil :type (or null (and (vector (unsigned-byte 32)) (not simple-array))))
  (model nil :type (or null pb:model-identity)))

(defun make-answer-order (task limits)
  "Take over TASK, which has a seed already if its work can have one: every run answers alike."
  (let ((order (%make-answer-order task limits (answer-limits-delivered limits)))
        (resume (pb:task-resume task)))
    (when resume
      (setf (answer-order-next-index order) (pb:resume-index resume))
      (keep-delivered order (pb:resume-text resume) (pb:resume-tokens resume))
      (decf (answer-order-room order) (size-of resume))
      (when (pb:resume-model resume)
        (learn order (pb:resume-model resume))))
    order))

(declaim (inline cost-of))
(defun cost-of (text tokens)
  (+ (length text) (* +token+ (length tokens))))

(defun size-of (resume)
  "Return the bytes that the text and tokens of RESUME are reckoned to take while they are kept."
  (cost-of (pb:resume-text resume) (pb:resume-tokens resume)))

(defun answer-order-empty-p (order)
  "Return whether there is no text so far, so that any model may go on."
  (and (zerop (answer-order-text-bytes order))
       (null (answer-order-tokens order))))

(defun answer-order-made-by (order)
  "Return the model that made the text so far; NIL if there is none, or it told nothing."
  (and (not (answer-order-empty-p order))
       (answer-order-model order)))

(defun answer-order-accept (order part &optional payload)
  "Add PART; return it if it may be passed on now, and then whatever `answer-order-follow` returns may be
too. Else it is kept, as PAYLOAD if that is what it came as, or dropped if it was passed on before. Signal
TOO-MUCH if it is more than is kept; it is not passed on then."
  (let ((index (pb:result-index part))
        (next (answer-order-next-index order)))
    (cond ((or (answer-order-finished-p order) (< index next))
           nil)
          ((> index next)
           (keep-early order index (or payload (pb:encode part)))
           nil)
          (t
           (pass-on order part)
           part))))

(defun answer-order-follow (order)
  "Return the part that came early and may be passed on now, and keep it no longer; NIL if there is none.
Signal TOO-MUCH as `answer-order-accept` does."
  (let ((part (and (not (answer-order-finished-p order)) (take-early order))))
    (when part
      (pass-on order part)
      part)))

(defun pass-on (order part)
  "Note what PART, which is next, adds to the answer."
  (when (pb:result-started-over part)
    (forget-delivered order))
  (when (pb:result-model part)
    (learn order (pb:result-model part)))
  (let* ((text (pb:result-text part))
         (tokens (pb:result-tokens part))
         (room (decf (answer-order-room order) (cost-of text tokens))))
    (when (and (minusp room) (not (pb:result-final part)))
      (error 'too-much :of (format nil "an answer of more than ~d MiB"
                                   (floor (answer-limits-delivered (answer-order-limits order))
                                          +mib+))))
    (incf (answer-order-next-index order))
    (cond ((pb:result-final part)
           (setf (answer-order-finished-p order) t)
           (answer-order-drop-early order))
          (t
           (keep-delivered order text tokens)))))

(defun keep-delivered (order text tokens)
  (when (plusp (length text))
    (keep-text order text))
  (when (plusp (length tokens))
    (let ((kept (or (answer-order-tokens order)
                    (setf (answer-order-tokens order)
                          (make-array 64 :element-type '(unsigned-byte 32)
                                         :adjustable t :fill-pointer 0)))))
      (loop for token across (the (simple-array (unsigned-byte 32) (*)) tokens)
            do (vector-push-extend token kept (max 64 (length kept)))))))

(defun keep-text (order text)
  "Add TEXT to what was passed on: as octets, for a string of one character takes as much as forty."
  (let* ((before (answer-order-text-bytes order))
         (after (+ before (text-size text))))
    (when (> after (length (answer-order-text order)))
      (setf (answer-order-text order)
            (replace (make-array (max 64 after (* 2 before)) :element-type '(unsigned-byte 8))
                     (answer-order-text order) :end2 before)))
    (write-text text (answer-order-text order) after)
    (setf (answer-order-text-bytes order) after)))

(defun answer-order-delivered-bytes (order)
  "Return the bytes of memory that what was passed on takes."
  (+ (length (answer-order-text order))
     (* 4 (let ((tokens (answer-order-tokens order)))
            (if tokens (array-total-size tokens) 0)))))

(defun forget-delivered (order)
  (setf (answer-order-text order) +nothing+
        (answer-order-text-bytes order) 0
        (answer-order-tokens order) nil
        (answer-order-model order) nil
        (answer-order-room order) (answer-limits-delivered (answer-order-limits order))))

(defun learn (order model)
  "Note which MODEL goes on; it may tell what the one that began did not."
  (let ((known (pb:copy-message model))
        (before (answer-order-made-by order)))
    (when before
      (pb:merge-message known before))
    (setf (answer-order-model order) known)))

(defun keep-early (order index payload)
  "Keep the part with INDEX, encoded as PAYLOAD: decoded it could take thirty times the memory."
  (declare (type octets payload))
  (let ((early (or (answer-order-early order)
                   (setf (answer-order-early order) (make-hash-table))))
        (limits (answer-order-limits order))
        (size (length payload)))
    (unless (gethash index early)
      ;; A single part may be of any size: it takes no more than the wire did for it.
      (when (and (plusp (hash-table-count early))
                 (> (+ (answer-order-early-bytes order) size) (answer-limits-ahead-bytes limits)))
        (error 'too-much :of (format nil "more than ~d MiB ahead of a missing part"
                                     (floor (answer-limits-ahead-bytes limits) +mib+))))
      (when (>= (- index (answer-order-next-index order)) (answer-limits-ahead limits))
        (error 'too-much :of (format nil "more than ~d parts ahead of a missing one"
                                     (answer-limits-ahead limits))))
      (setf (gethash index early) payload)
      (incf (answer-order-early-bytes order) size))))

(defun take-early (order)
  "Return the part that is next if it has come already, and keep it no longer; else NIL."
  (let* ((early (answer-order-early order))
         (index (answer-order-next-index order))
         (payload (and early (gethash index early))))
    (when payload
      (remhash index early)
      (decf (answer-order-early-bytes order) (length (the octets payload)))
      (pb:decode 'pb:result payload))))

(defun answer-order-drop-early (order)
  "Drop the parts that wait for an earlier one."
  (setf (answer-order-early order) nil
        (answer-order-early-bytes order) 0))

(defun answer-order-resume-here (order)
  "Change the task so that another run of it continues after what was passed on.
Parts that came early are dropped; those of the run before must not be given to `answer-order-accept` any
more."
  (answer-order-drop-early order)
  (answer-order-resume-beside order))

(defun answer-order-resume-beside (order)
  "Change the task so that a run of it beside the first continues after what was passed on. The parts of the
first that came early are kept: it may be the one that goes on."
  (when (plusp (answer-order-next-index order))
    (let ((made-by (answer-order-made-by order)))
      (setf (pb:task-resume (answer-order-task order))
            (pb:make-resume
             :tokens (coerce (or (answer-order-tokens order) #()) '(simple-array (unsigned-byte 32) (*)))
             :text (read-text (answer-order-text order) 0 (answer-order-text-bytes order))
             :index (answer-order-next-index order)
             :model (and made-by (pb:copy-message made-by)))))))
