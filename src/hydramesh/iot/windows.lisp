(defpackage #:hydramesh/iot/windows
  (:use #:cl)
  (:export #:aggregate #:make-aggregate #:copy-aggregate #:aggregate-count #:aggregate-sum #:aggregate-least
           #:aggregate-most #:aggregate-add #:aggregate-merge #:aggregate-value #:+measures+
           #:window #:make-window #:window-name #:window-seconds #:window-measure
           #:window-start)
  (:documentation "Readings of a stretch of time as a few numbers.

Windows tumble: each begins where the one before it ends, at whole multiples of its length since 1970, so
that those of all devices and after a restart are the same stretches."))
(in-package #:hydramesh/iot/windows)

(defparameter +measures+ '(:count :sum :mean :least :most)
  "What of an aggregate can stand for all of it.")

(defstruct aggregate
  "COUNT readings: their SUM, the LEAST and the MOST of them, whole numbers."
  (count 0 :type unsigned-byte)
  (sum 0 :type integer)
  (least 0 :type integer)
  (most 0 :type integer))

(defun aggregate-add (aggregate value)
  "Count VALUE, a whole number."
  (if (zerop (aggregate-count aggregate))
      (setf (aggregate-least aggregate) value
            (aggregate-most aggregate) value)
      (setf (aggregate-least aggregate) (min value (aggregate-least aggregate))
            (aggregate-most aggregate) (max value (aggregate-most aggregate))))
  (incf (aggregate-sum aggregate) value)
  (incf (aggregate-count aggregate))
  aggregate)

(defun aggregate-merge (aggregate into)
  "Return INTO, with what was counted in AGGREGATE, too."
  (unless (zerop (aggregate-count aggregate))
    (if (zerop (aggregate-count into))
        (setf (aggregate-least into) (aggregate-least aggregate)
              (aggregate-most into) (aggregate-most aggregate))
        (setf (aggregate-least into) (min (aggregate-least aggregate) (aggregate-least into))
              (aggregate-most into) (max (aggregate-most aggregate) (aggregate-most into))))
    (incf (aggregate-sum into) (aggregate-sum aggregate))
    (incf (aggregate-count into) (aggregate-count aggregate)))
  into)

(defun aggregate-value (aggregate measure)
  "Return what MEASURE, one of +MEASURES+, says of AGGREGATE, rational, or NIL if nothing was read."
  (let ((count (aggregate-count aggregate)))
    (if (zerop count)
        nil
        (ecase measure
          (:count count)
          (:sum (aggregate-sum aggregate))
          (:mean (/ (aggregate-sum aggregate) count))
          (:least (aggregate-least aggregate))
          (:most (aggregate-most aggregate))))))

(defstruct (window (:copier nil))
  "The stretches of SECONDS in which readings are aggregated, of which MEASURE stands for all."
  (name nil :type symbol :read-only t)
  (seconds 1 :type (integer 1) :read-only t)
  (measure :mean :type symbol :read-only t))

(defun window-start (window seconds)
  "Return when the stretch of WINDOW began in which SECONDS since 1970 lies."
  (* (window-seconds window) (floor seconds (window-seconds window))))
