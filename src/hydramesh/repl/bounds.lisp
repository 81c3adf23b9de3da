(defpackage #:hydramesh/repl/bounds
  (:use #:cl)
  (:import-from #:hydramesh/shown #:shown-text)
  (:import-from #:sb-gray)
  (:export #:within-time #:with-bounded-output)
  (:documentation "Bounds for what somebody evaluates: how long it takes, and how much it prints.

Neither leaves anything behind: what is too slow or prints too much is left by a THROW."))
(in-package #:hydramesh/repl/bounds)

;;; Time

(defun within-time (seconds function late)
  "Call FUNCTION, which may take so many SECONDS, and return its values; those of LATE if it takes more.
FUNCTION gets a function that lifts the limit."
  (let* ((tag (list 'late)) ; known to this call alone
         (running nil)
         (timer (sb-ext:make-timer
                 (lambda ()
                   ;; A timer may come late too, when nobody catches any more.
                   (when running
                     (throw tag tag)))
                 :thread sb-thread:*current-thread*))
         (results (catch tag
                    (unwind-protect
                         (progn
                           (setf running t)
                           (sb-ext:schedule-timer timer seconds)
                           (multiple-value-list
                            (funcall function (lambda () (sb-ext:unschedule-timer timer)))))
                      (setf running nil)
                      (sb-ext:unschedule-timer timer)))))
    (if (eq results tag)
        (funcall late)
        (values-list results))))

;;; Output

(defclass bounded-output (sb-gray:fundamental-character-output-stream)
  ((left :initarg :left :documentation "Characters that may still come.")
   (text :initform (make-string-output-stream))
   (column :initform 0)
   (send :initarg :send :documentation "A function that takes what is to be seen now, a string.")
   (overflow :initarg :overflow :documentation "A function that is called instead of printing more.")
   (owner :initform sb-thread:*current-thread*))
  (:documentation "What is printed, until it is flushed; of other threads than its own nothing."))

(defmethod sb-gray:stream-write-char ((stream bounded-output) character)
  (with-slots (left text column overflow owner) stream
    (when (eq owner sb-thread:*current-thread*)
      (when (minusp (decf left))
        (funcall overflow))
      (setf column (if (char= character #\Newline) 0 (1+ column)))
      (write-char character text)))
  character)

(defmethod sb-gray:stream-line-column ((stream bounded-output))
  (slot-value stream 'column))

(defun flush (stream)
  (with-slots (text send owner) stream
    (when (eq owner sb-thread:*current-thread*)
      (let ((printed (get-output-stream-string text)))
        (unless (string= printed "")
          (funcall send (shown-text printed)))))))

(defmethod sb-gray:stream-force-output ((stream bounded-output))
  (flush stream))

(defmethod sb-gray:stream-finish-output ((stream bounded-output))
  (flush stream))

(defun call-with-bounded-output (most send function)
  (let* ((tag (list 'overflow))
         (stream (make-instance 'bounded-output :left most :send send
                                                :overflow (lambda () (throw tag tag))))
         (results (catch tag (multiple-value-list (funcall function stream))))
         (cut (eq results tag)))
    (when cut
      (with-slots (left text column) stream
        (unless (zerop column)
          (write-char #\Newline text))
        (format text ";; that was too much to print~%")))
    (flush stream)
    (if cut
        (values nil t)
        (values (values-list results) nil))))

(defmacro with-bounded-output ((stream most send) &body body)
  "Do BODY, with STREAM bound to one that takes up to MOST characters; return the value of BODY, and
whether it printed more and was left. SEND is a function that gets what was printed, safe to be shown."
  `(call-with-bounded-output ,most ,send (lambda (,stream) ,@body)))
