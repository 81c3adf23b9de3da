(defpackage #:hydramesh/client/client
  (:use #:cl)
  (:import-from #:hydramesh/address #:address #:format-address)
  (:import-from #:hydramesh/answer-order
                #:answer-order #:make-answer-order #:make-answer-limits #:answer-order-task
                #:answer-order-accept
                #:answer-order-follow #:answer-order-finished-p #:answer-order-early-bytes
                #:answer-order-resume-here #:too-much #:too-much-of)
  (:import-from #:hydramesh/client/heads
                #:make-heads #:heads-addresses #:heads-known-p #:heads-heard #:heads-lost #:heads-draining
                #:heads-told
                #:heads-expire #:heads-alive-p #:heads-best #:heads-other)
  (:import-from #:hydramesh/entropy #:make-entropy #:entropy-bits)
  (:import-from #:hydramesh/errors #:make-task-error #:task-error-from-wire)
  (:import-from #:hydramesh/events
                #:microseconds #:octets #:seconds #:message #:message-peer #:message-type #:message-payload
                #:pong #:pong-peer #:unreachable #:unreachable-peer
                #:+heartbeat+ #:+task+ #:+result+ #:+cancel+ #:+error+)
  (:import-from #:hydramesh/head/link #:link-send #:link-ping #:link-trust #:message-too-large)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:client #:make-client #:client-calls #:submit-task #:cancel-task #:call #:call-over-p
           #:client-take #:client-act #:client-due)
  (:documentation "The client's side of a cluster with one or more heads, as docs/cluster.md describes it. It
does no I/O: events and the time come in, messages go out through a link.

PINGs tell whether a head is still there; when it is not, its tasks move to the next one that is, and
continue after what was delivered. A head about which a task hears nothing for a while is sent it again: one
that knows it ignores that, one that has restarted runs it."))
(in-package #:hydramesh/client/client)

(defparameter +ping-interval+ (seconds 1))
(defparameter +repeat-after+ (seconds 5) "Without news for so long a task is sent to its head again.")
(defparameter +patience+ (seconds 6) "For so long a task waits for any head to come back.")
(defparameter +limits+ (make-answer-limits))
(defparameter +nothing+ (make-array 0 :element-type '(unsigned-byte 8)))

(defstruct call
  "A task that was given to the cluster. The functions take each part of the answer, a PB:RESULT, in order,
the last one final; and the TASK-ERROR if there is none."
  (id 0 :type (unsigned-byte 64))
  (head 0 :type address)
  (heard-at 0 :type microseconds)
  (refused nil)
  (answer nil :type answer-order)
  (part nil :type function)
  (failed nil :type function)
  (over-p nil))

(defstruct (client (:constructor %make-client (link heads next-id)))
  "CALLS are those that are not over, by id. WATCH-AT is when to look after the heads."
  link
  heads
  (next-id 0 :type (unsigned-byte 64))
  (calls (make-hash-table) :type hash-table)
  (now 0 :type microseconds)
  (watch-at 0 :type microseconds))

(defun make-client (link heads now &key remote)
  "Return a client that reaches HEADS, addresses, through LINK, and others that they name if those are on
this machine, or REMOTE."
  (dolist (head heads)
    (link-trust link head))
  (let ((client (%make-client link (make-heads heads :remote remote) (entropy-bits (make-entropy) 62))))
    (setf (client-now client) now)
    client))

(defun take-id (client)
  (incf (client-next-id client)))

;;; Tasks

(defgeneric submit-task (client task part failed)
  (:documentation "Give TASK, a PB:TASK that is the client's from now on, to the cluster; return the call.
PART is called with each part of the answer, FAILED with a TASK-ERROR instead of the final one; either may be
called before this returns."))

(defgeneric cancel-task (client call)
  (:documentation "Want nothing more of CALL, nor be told of it."))

(defmethod submit-task ((client client) task part failed)
  (let* ((now (client-now client))
         (call (make-call :id (take-id client) :head (heads-best (client-heads client) now) :heard-at now
                          :answer (make-answer-order task +limits+) :part part :failed failed)))
    (setf (gethash (call-id call) (client-calls client)) call)
    (when (= 1 (hash-table-count (client-calls client)))
      (setf (client-watch-at client) now))
    (send client call)
    call))

(defmethod cancel-task ((client client) call)
  (unless (call-over-p call)
    (end client call)
    (send-cancel client call)))

(defun end (client call)
  (setf (call-over-p call) t)
  (remhash (call-id call) (client-calls client)))

(defun fail (client call error)
  (end client call)
  (funcall (call-failed call) error))

(defun send (client call)
  (let ((task (answer-order-task (call-answer call))))
    (setf (pb:task-id task) (call-id call))
    (handler-case
        (unless (link-send (client-link client) (call-head call) +task+ (pb:encode task))
          (fail client call
                (make-task-error pb:+queue-full+
                                 "so much waits to be sent to the head that there is no room for this task"
                                 "wait for answers before asking more")))
      (message-too-large (condition)
        (fail client call
              (make-task-error pb:+bad-request+ (princ-to-string condition) "ask for less at once"))))))

(defun send-cancel (client call)
  (link-send (client-link client) (call-head call) +cancel+ (pb:encode (pb:make-cancel :id (call-id call)))))

;;; Events

(defgeneric take (client event now))

(defun client-take (client event now)
  "Act on EVENT, of hydramesh/events."
  (setf (client-now client) (max now (client-now client)))
  (take client event (client-now client)))

(defmethod take (client event now)
  nil)

(defmethod take (client (event unreachable) now)
  (heads-lost (client-heads client) (unreachable-peer event))
  (leave client (unreachable-peer event) now))

(defmethod take (client (event pong) now)
  (heads-heard (client-heads client) (pong-peer event) now))

(defmethod take (client (event message) now)
  (let ((peer (message-peer event)) (payload (message-payload event)))
    (heads-heard (client-heads client) peer now)
    ;; What cannot be decoded is no answer; the task is repeated in time.
    (handler-case
        (let ((type (message-type event)))
          (cond ((= type +result+)
                 (let* ((part (pb:decode 'pb:result payload))
                        (call (call-of client peer (pb:result-id part))))
                   (when call
                     (accept client call part now))))
                ((= type +error+)
                 (let* ((said (pb:decode 'pb:error payload)) (call (call-of client peer (pb:error-id said))))
                   (when call
                     (take-error client call said now))))
                ((and (= type +heartbeat+) (heads-known-p (client-heads client) peer))
                 (let ((presence (pb:decode 'pb:presence payload)))
                   (heads-draining (client-heads client) peer (= (pb:presence-state presence) pb:+draining+))
                   (heads-told (client-heads client) (pb:presence-heads presence) now)))))
      (pb:malformed () nil))))

(defun call-of (client peer id)
  (let ((call (gethash id (client-calls client))))
    (and call (= (call-head call) peer) call)))

(defun accept (client call part now)
  (setf (call-heard-at call) now)
  (let ((answer (call-answer call)))
    (handler-case
        (loop for ready = (answer-order-accept answer part) then (answer-order-follow answer)
              while (and ready (not (call-over-p call)))
              do (when (answer-order-finished-p answer)
                   (end client call))
                 (funcall (call-part call) ready))
      (too-much (condition)
        (send-cancel client call)
        (fail client call
              (make-task-error pb:+internal+ (format nil "the head sends ~A" (too-much-of condition))
                               "see the head's log"))))))

(defun take-error (client call said now)
  (if (/= (pb:error-code said) pb:+shutting-down+)
      (fail client call (task-error-from-wire said))
      (let ((head (call-head call)))
        (heads-draining (client-heads client) head t)
        (let ((other (heads-other (client-heads client) head now)))
          (if other
              (move client call other now)
              (setf (call-heard-at call) now
                    (call-refused call) t))))))

;;; Heads

(defun client-due (client)
  "Return when `client-act` is to be called, NIL for never."
  (and (plusp (hash-table-count (client-calls client)))
       (client-watch-at client)))

(defun client-act (client now)
  "Look after the heads of calls, if it is time."
  (setf (client-now client) (max now (client-now client)))
  (let ((now (client-now client)) (heads (client-heads client)))
    (when (and (client-due client) (>= now (client-watch-at client)))
      (setf (client-watch-at client) (+ now +ping-interval+))
      (heads-expire heads now)
      (dolist (head (remove-duplicates (mapcar #'call-head (calls client))))
        (unless (heads-alive-p heads head now)
          (leave client head now)))
      (dolist (call (calls client))
        (let ((other (and (call-refused call) (heads-other heads (call-head call) now))))
          (cond (other (move client call other now))
                ((and (>= (- now (call-heard-at call)) +repeat-after+)
                      (heads-alive-p heads (call-head call) now))
                 (repeat client call now)))))
      (when (calls client)
        (dolist (head (heads-addresses heads))
          (link-ping (client-link client) head)
          (link-send (client-link client) head +heartbeat+ +nothing+))))))

(defun calls (client)
  (loop for call being the hash-values of (client-calls client) collect call))

(defun leave (client head now)
  "Move the tasks of HEAD, which is not heard, or give them up in time."
  (let ((other (heads-other (client-heads client) head now)))
    (dolist (call (calls client))
      (when (= (call-head call) head)
        (cond (other (move client call other now))
              ((>= (- now (call-heard-at call)) +patience+)
               (fail client call
                     (make-task-error
                      pb:+head-unreachable+
                      (format nil "no head answers at ~{~A~^, ~}"
                              (mapcar #'format-address (heads-addresses (client-heads client))))
                      "start one with `daiic-head` or `hydramesh`, or name the right one in `heads`"))))))))

(defun repeat (client call now)
  (cond ((plusp (answer-order-early-bytes (call-answer call)))
         ;; A part is missing that was acknowledged: only another run makes it again.
         (send-cancel client call)
         (move client call (call-head call) now))
        (t
         (setf (call-heard-at call) now)
         (answer-order-resume-here (call-answer call))
         (send client call))))

(defun move (client call head now)
  "Have HEAD run what is left of CALL, under a new id: late parts of the run before must not count."
  (remhash (call-id call) (client-calls client))
  (setf (call-id call) (take-id client)
        (gethash (call-id call) (client-calls client)) call
        (call-head call) head
        (call-heard-at call) now
        (call-refused call) nil)
  (answer-order-resume-here (call-answer call))
  (send client call))
