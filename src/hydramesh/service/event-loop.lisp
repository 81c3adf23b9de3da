(defpackage #:hydramesh/service/event-loop
  (:use #:cl)
  (:import-from #:hydramesh/foreign/stack #:guard-stack-again)
  (:export #:event-loop #:make-event-loop #:run #:on-loop #:loop-unavailable)
  (:documentation "The one thread that does all the work of a daemon, and how others ask it.

What belongs to the loop's thread needs no locks: the status port, the REPL and the storage have their
questions answered there, between two events."))
(in-package #:hydramesh/service/event-loop)

(define-condition loop-unavailable (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "The loop has ended, has too many questions, or has not answered in time."))

(defparameter +questions+ 256 "Questions that wait at most; no more threads than that ask.")

(defstruct (event-loop (:constructor make-event-loop (wake)))
  "WAKE is a function that any thread may call: it ends the loop's wait, or the next one."
  (wake nil :type function)
  (lock (sb-thread:make-mutex :name "event loop") :type sb-thread:mutex)
  (thread nil)
  (ended nil)
  (questions '() :type list)
  (count 0 :type fixnum))

(defstruct question
  "FUNCTION is to be called on the loop. STATE: :waiting, :taken, :answered, or :dropped by its asker."
  (function nil :type function)
  (answered (sb-thread:make-semaphore) :type sb-thread:semaphore)
  (state :waiting)
  (values '())
  (condition nil))

(defun unavailable (reason)
  (error 'loop-unavailable :reason reason))

(defun on-loop (event-loop function &key (timeout 5))
  "Call FUNCTION on the loop's thread between two events; return its values.
An error in it is signalled here. Signal LOOP-UNAVAILABLE if the loop has ended, or has not begun with
it after TIMEOUT seconds: then it is never called. FUNCTION must be quick, for everything else waits."
  (if (eq (event-loop-thread event-loop) sb-thread:*current-thread*)
      (funcall function)
      (let ((question (make-question :function function)))
        (enqueue event-loop question)
        (funcall (event-loop-wake event-loop))
        (await question timeout)
        (if (question-condition question)
            (error (question-condition question))
            (values-list (question-values question))))))

(defun enqueue (event-loop question)
  (sb-thread:with-mutex ((event-loop-lock event-loop))
    (cond ((event-loop-ended event-loop) (unavailable "the loop has ended"))
          ((>= (event-loop-count event-loop) +questions+)
           (unavailable "the loop has too many questions to answer")))
    (incf (event-loop-count event-loop))
    (push question (event-loop-questions event-loop))))

(defun await (question timeout)
  (unless (sb-thread:wait-on-semaphore (question-answered question) :timeout timeout)
    (when (eq (sb-ext:compare-and-swap (question-state question) :waiting :dropped) :waiting)
      (unavailable (format nil "the loop has not answered within ~D s" timeout)))
    ;; The loop has just begun with it, and what is being done cannot be taken back.
    (sb-thread:wait-on-semaphore (question-answered question))))

(defun take-questions (event-loop)
  (when (event-loop-questions event-loop) ; the lock only when there is something
    (sb-thread:with-mutex ((event-loop-lock event-loop))
      (setf (event-loop-count event-loop) 0)
      (nreverse (shiftf (event-loop-questions event-loop) '())))))

(defun answer (question)
  (when (eq (sb-ext:compare-and-swap (question-state question) :waiting :taken) :waiting)
    (handler-case (setf (question-values question)
                        (multiple-value-list (funcall (question-function question))))
      (serious-condition (condition)
        (guard-stack-again condition)
        (setf (question-condition question) condition)))
    (sb-thread:signal-semaphore (question-answered question))))

(defun answer-questions (event-loop)
  (mapc #'answer (take-questions event-loop)))

(defun end (event-loop)
  (sb-thread:with-mutex ((event-loop-lock event-loop))
    (setf (event-loop-ended event-loop) t))
  (dolist (question (take-questions event-loop))
    (setf (question-condition question)
          (make-condition 'loop-unavailable :reason "the loop has ended"))
    (sb-thread:signal-semaphore (question-answered question))))

(defun run (event-loop turn)
  "Make this thread the loop's: answer what was asked and call TURN, until TURN returns NIL.
TURN waits for something to do, until the loop's WAKE is called at most, and does it."
  (setf (event-loop-thread event-loop) sb-thread:*current-thread*)
  (unwind-protect
       (loop
         (answer-questions event-loop)
         (unless (funcall turn)
           (return)))
    (end event-loop)))
