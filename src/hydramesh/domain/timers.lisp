(defpackage #:hydramesh/domain/timers
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/domain/limits #:+timers+)
  (:export #:timers #:make-timers #:timer #:timers-add #:timers-stop #:timers-next #:timers-take
           #:timer-function
           #:timer-at #:timers-count #:too-many-timers)
  (:documentation "What is to be done and when, the soonest first; of the same time what was added first."))
(in-package #:hydramesh/domain/timers)

(define-condition too-many-timers (error) ()
  (:report (lambda (condition stream)
             (declare (ignore condition))
             (format stream "~D timers are set already; stop those that are not needed any more" +timers+))))

(defstruct (timer (:constructor make-timer (at order function)))
  "FUNCTION is to be called at AT, or is NIL if nobody wants that any more."
  (at 0 :type microseconds)
  (order 0 :type fixnum)
  (function nil :type (or null function)))

(defstruct (timers (:constructor make-timers ()))
  "HEAP has timers, those that were stopped too; COUNT counts the others."
  (heap (make-array 16 :adjustable t :fill-pointer 0))
  (added 0 :type fixnum)
  (count 0 :type fixnum))

(defun before-p (one other)
  (or (< (timer-at one) (timer-at other))
      (and (= (timer-at one) (timer-at other)) (< (timer-order one) (timer-order other)))))

(defun timers-add (timers at function)
  "Have FUNCTION taken at AT; return the timer. Signal TOO-MANY-TIMERS."
  (when (>= (timers-count timers) +timers+)
    (error 'too-many-timers))
  (let ((timer (make-timer at (incf (timers-added timers)) function)) (heap (timers-heap timers)))
    (when (> (length heap) (* 2 (+ 16 (timers-count timers))))
      (clean timers))
    (incf (timers-count timers))
    (vector-push-extend timer heap)
    (rise heap (1- (length heap)))
    timer))

(defun timers-stop (timers timer)
  "Have TIMER not taken, if it was not yet."
  (when (timer-function timer)
    (setf (timer-function timer) nil)
    (decf (timers-count timers))))

(defun timers-next (timers)
  "Return the time of the next timer, NIL if there is none."
  (drop-stopped timers)
  (let ((heap (timers-heap timers)))
    (and (plusp (length heap)) (timer-at (aref heap 0)))))

(defun timers-take (timers now)
  "Return a timer that is due at NOW, which is taken out, and its function; NIL if there is none."
  (let ((next (timers-next timers)))
    (when (and next (<= next now))
      (let ((timer (take-first (timers-heap timers))))
        (decf (timers-count timers))
        (values timer (shiftf (timer-function timer) nil))))))

(defun drop-stopped (timers)
  (loop with heap = (timers-heap timers)
        while (and (plusp (length heap)) (null (timer-function (aref heap 0))))
        do (take-first heap)))

(defun clean (timers)
  "Take out what was stopped."
  (let* ((heap (timers-heap timers)) (kept (remove nil heap :key #'timer-function)))
    (setf (fill-pointer heap) 0)
    (loop for timer across kept
          do (vector-push-extend timer heap)
             (rise heap (1- (length heap))))))

(defun rise (heap at)
  (loop for parent = (floor (1- at) 2)
        while (and (plusp at) (before-p (aref heap at) (aref heap parent)))
        do (rotatef (aref heap at) (aref heap parent))
           (setf at parent)))

(defun take-first (heap)
  (let ((first (aref heap 0)) (last (vector-pop heap)) (size (length heap)))
    (when (plusp size)
      (setf (aref heap 0) last)
      (loop with at = 0
            for left = (1+ (* 2 at))
            for right = (1+ left)
            for least = (cond ((>= left size) nil)
                              ((and (< right size) (before-p (aref heap right) (aref heap left))) right)
                              (t left))
            while (and least (before-p (aref heap least) (aref heap at)))
            do (rotatef (aref heap at) (aref heap least))
               (setf at least)))
    first))
