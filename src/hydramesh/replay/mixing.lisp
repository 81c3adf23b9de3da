(defpackage #:hydramesh/replay/mixing
  (:use #:cl)
  (:export #:mixed)
  (:documentation "Numbers that look like random ones, and are the same each time."))
(in-package #:hydramesh/replay/mixing)

(defun mixed (seed index)
  "Return a number of 64 bits that SEED and INDEX decide on, and that is like a random one (splitmix64)."
  (declare (type (unsigned-byte 62) seed index))
  (flet ((times (one other)
           (declare (type (unsigned-byte 64) one other))
           (ldb (byte 64 0) (* one other))))
    (declare (inline times))
    (let* ((one (ldb (byte 64 0) (+ (times seed #xd1342543de82ef95) (times (1+ index) #x9e3779b97f4a7c15))))
           (two (times (logxor one (ash one -30)) #xbf58476d1ce4e5b9))
           (three (times (logxor two (ash two -27)) #x94d049bb133111eb)))
      (logxor three (ash three -31)))))
