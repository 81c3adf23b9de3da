(defpackage #:hydramesh/domain/calling
  (:use #:cl)
  (:import-from #:hydramesh/domain/node #:*acting* #:*service* #:acting #:count-one #:node-now #:node-timers)
  (:import-from #:hydramesh/domain/timers #:timers-add #:timers-stop)
  (:export #:call-after #:call-every #:stop-timer)
  (:documentation "What services have called later, once or again and again."))
(in-package #:hydramesh/domain/calling)

(defconstant +late-ticks+ 5 "Periods by which a call may be late; more are left out.")

(defun call-after (node delay function)
  "Have FUNCTION called without arguments after DELAY microseconds; return the timer. Signal TOO-MANY-TIMERS."
  (let ((name *acting*) (service *service*))
    (list (timers-add (node-timers node) (+ (node-now node) (max 0 (round delay)))
                      (lambda () (acting (node name service) (funcall function)))))))

(defun call-every (node period function)
  "Have FUNCTION called every PERIOD microseconds, a rational number, from now on; return the timer. It gets
the number of the period, from 0 on, and by how many microseconds it is called late. What is late by more
than five periods is left out. Signal TOO-MANY-TIMERS."
  (assert (plusp period))
  (let ((start (node-now node)) (tick 0) (handle (list nil)) (name *acting*) (service *service*))
    (labels ((due () (+ start (round (* tick period))))
             (add () (setf (first handle) (timers-add (node-timers node) (due) #'act)))
             (act ()
               (let ((late (- (node-now node) (due))))
                 (when (> late (* +late-ticks+ period))
                   (count-one node "ticks left out")
                   (setf tick (floor (- (node-now node) start) period)
                         late (- (node-now node) (due))))
                 (let ((number tick))
                   (incf tick)
                   (add)
                   (acting (node name service) (funcall function number late))))))
      (add)
      handle)))

(defun stop-timer (node timer)
  "Have TIMER, of `call-after` or `call-every`, call nothing more."
  (when (first timer)
    (timers-stop (node-timers node) (first timer))))
