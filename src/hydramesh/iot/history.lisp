(defpackage #:hydramesh/iot/history
  (:use #:cl)
  (:import-from #:hydramesh/iot/record #:map-rows)
  (:import-from #:hydramesh/iot/windows #:aggregate-merge #:aggregate-value #:make-aggregate)
  (:export #:history #:history-sensor #:history-device #:history-start #:history-step #:history-steps
           #:history-latest #:read-histories)
  (:documentation "What devices have read, in equal steps of time, as it is shown."))
(in-package #:hydramesh/iot/history)

(defconstant +minutes+ (* 2 24 3600) "Seconds up to which it is shown by the minute.")

(defstruct (history (:copier nil))
  "What DEVICE of SENSOR has read from START, seconds since 1970: in each of STEPS, of STEP seconds, an aggregate
or NIL. LATEST is the mean of the last row that was recorded, at AT."
  (sensor "" :type string :read-only t)
  (device "" :type string :read-only t)
  (start 0 :type unsigned-byte :read-only t)
  (step 0 :type unsigned-byte :read-only t)
  (steps #() :type simple-vector :read-only t)
  (latest nil)
  (at -1 :type integer))

(defun note (history start aggregate)
  (let ((index (floor (- start (history-start history)) (history-step history))))
    (when (< -1 index (length (history-steps history)))
      (setf (svref (history-steps history) index)
            (aggregate-merge aggregate (or (svref (history-steps history) index) (make-aggregate))))
      (when (>= start (history-at history))
        (setf (history-at history) start
              (history-latest history) (aggregate-value aggregate :mean))))))

(defun read-histories (store since until most &key sensor device)
  "Return what STORE has of all devices, or of those of SENSOR, or of one DEVICE, names, from SINCE to UNTIL,
seconds since 1970, in MOST steps or fewer; sorted by name. Signal STORAGE-FAILURE."
  (let* ((span (max 1 (- until since)))
         (unit (if (<= span +minutes+) 60 3600))
         (step (* unit (max 1 (ceiling span (* unit most)))))
         (start (* step (floor since step)))
         (count (ceiling (- until start) step))
         (histories (make-hash-table :test #'equal)))
    (map-rows (lambda (of name at aggregate)
                (when (or (null device) (string= device name))
                  (let ((key (cons of name)))
                    (note (or (gethash key histories)
                              (setf (gethash key histories)
                                    (make-history :sensor of :device name :start start :step step
                                                  :steps (make-array count :initial-element nil))))
                          at aggregate))))
              store unit :sensor-name sensor :since start)
    (sort (loop for history being the hash-values of histories
                ;; What a clock that was ahead has noted may all be of later.
                when (history-latest history)
                  collect history)
          (lambda (one other)
            (if (string= (history-sensor one) (history-sensor other))
                (string< (history-device one) (history-device other))
                (string< (history-sensor one) (history-sensor other)))))))
