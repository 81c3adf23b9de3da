(defpackage #:hydramesh/storage/series
  (:use #:cl)
  (:import-from #:hydramesh/storage/limits #:+minutes-days+)
  (:import-from #:hydramesh/storage/timeline
                #:make-minutes #:make-hours #:timeline-rows-since #:make-row #:merge-row
                #:metric-index #:row)
  (:export #:+shown+ #:shown-metric #:metric-name #:metric-unit #:metric-total #:metric-about
           #:series #:read-series #:series-start #:series-step #:series-values #:series-summary)
  (:documentation "Metrics of the past, as they are shown: so many equal steps of time, and a number or
nothing for each."))
(in-package #:hydramesh/storage/series)

(defstruct metric
  "Something that is shown: NAME and UNIT are for people, VALUE makes it of a row, and TOTAL is how steps
are summed up: :SUM, :MAX or :MEAN."
  (name "" :type string)
  (unit "" :type string)
  (about "" :type string)
  (total :sum :type (member :sum :max :mean))
  (value nil :type function))

(defun counted (name key about &optional (unit "") (total :sum))
  (let ((index (metric-index key)))
    (make-metric :name name :unit unit :about about :total total
                 :value (lambda (row) (aref (the row row) index)))))

(defun mean (name key about)
  (let ((index (metric-index key)) (tasks (metric-index :tasks)))
    (make-metric :name name :unit "s" :about about :total :mean
                 :value (lambda (row)
                          (let ((count (aref (the row row) tasks)))
                            (and (plusp count) (/ (aref (the row row) index) count 1000000)))))))

(defparameter +shown+
  (list (counted "tasks" :tasks "tasks that ended")
        (counted "done" :done "tasks that were answered")
        (counted "failed" :failed "tasks that ended with an error")
        (counted "cancelled" :cancelled "tasks that nobody wanted any more")
        (counted "moved" :moved "times a task was taken from a worker and given to another")
        (counted "tokens" :tokens "tokens that were made")
        (counted "images" :images "images that were made")
        (counted "embeddings" :embeddings "embeddings that were made")
        (counted "bytes_in" :bytes-in "bytes of tasks" "B")
        (counted "bytes_out" :bytes-out "bytes of answers" "B")
        (mean "queue" :queue-us "how long a task waited, on average")
        (mean "run" :run-us "how long a task ran, on average")
        (counted "queued" :queued "tasks that waited, at most" "" :max)
        (counted "in_flight" :in-flight "tasks on workers, at most" "" :max)
        (counted "workers" :workers "workers, at most" "" :max)))

(defun shown-metric (name)
  "Return the metric that is called NAME, or NIL."
  (find name +shown+ :key #'metric-name :test #'string=))

(defstruct (series (:constructor make-series (start step rows)))
  "STEPs of so many seconds from START, seconds since 1970, with a row or NIL for each."
  (start 0 :type unsigned-byte)
  (step 0 :type unsigned-byte)
  (rows #() :type simple-vector))

(defun read-series (store since until most)
  "Return what STORE has from SINCE to UNTIL, seconds since 1970, in MOST steps or fewer."
  (let* ((span (max 1 (- until since)))
         (minutes-p (<= span (* 86400 +minutes-days+)))
         (unit (if minutes-p 60 3600))
         (step (* unit (max 1 (ceiling span (* unit most)))))
         (start (* step (floor since step)))
         (rows (make-array (ceiling (- until start) step) :initial-element nil)))
    (timeline-rows-since (if minutes-p (make-minutes) (make-hours)) store start
                         (lambda (at row)
                           (let ((index (floor (- at start) step)))
                             (when (< -1 index (length rows))
                               (merge-row row (or (svref rows index)
                                                  (setf (svref rows index) (make-row))))))))
    (make-series start step rows)))

(defun series-values (series metric)
  "Return a vector of what METRIC was in each step, NIL where that is not known."
  (map 'vector (lambda (row) (and row (funcall (metric-value metric) row))) (series-rows series)))

(defun series-summary (series metric)
  "Return what METRIC was in all: the sum, the highest or the mean; NIL if that is not known."
  (let ((all (make-row)) (any nil))
    (loop for row across (series-rows series)
          when row do (merge-row row all)
                      (setf any t))
    (and any (funcall (metric-value metric) all))))
