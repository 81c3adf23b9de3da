(defpackage #:hydramesh/storage/history
  (:use #:cl)
  (:import-from #:hydramesh/shown #:shown #:printable)
  (:import-from #:hydramesh/storage/archive #:open-archive #:archive-rates)
  (:import-from #:hydramesh/storage/command-line #:parse-arguments #:recorded-at #:refuse #:run-reading #:span-in)
  (:import-from #:hydramesh/storage/json #:json-number #:json-text)
  (:import-from #:hydramesh/storage/opening #:open-storage)
  (:import-from #:hydramesh/storage/plot #:sparkline #:short-number)
  (:import-from #:hydramesh/storage/rates #:rates-list)
  (:import-from #:hydramesh/storage/series
                #:+shown+ #:shown-metric #:metric-name #:metric-unit #:metric-total #:metric-about
                #:read-series #:series-start #:series-step #:series-values #:series-summary)
  (:import-from #:hydramesh/storage/store #:store-close)
  (:import-from #:hydramesh/storage/terminal #:blocks-p #:moment #:print-plot #:span-name #:width)
  (:export #:history-main)
  (:documentation "`hydramesh history`: what a head has recorded, at a terminal or as JSON."))
(in-package #:hydramesh/storage/history)

(defparameter +help+ "usage: hydramesh history [--since SPAN] [--metric NAME] [--json] [--SETTING VALUE]...

Shows what a head has recorded. The head may be running.

options:
  -h, --help            show this help message and exit
  --since SPAN          how far back: a number and s, min, h, d or w, as 90min (default: 24h)
  --metric NAME         one metric, larger (default: all)
  --json                print JSON
  --state-dir VALUE     folder in which the head records; a service's is /var/lib/daiic-hydramesh
  --storage VALUE       sqlite or streamdb (default: sqlite)

metrics:
")

(defconstant +points+ 1000 "Steps of time in JSON, at most.")
(defconstant +rates+ 20 "Rates that are listed at a terminal.")

;;; Arguments

(defstruct options
  (span (* 24 3600))
  (metric nil)
  (json nil)
  (path "")
  (storage ""))

(defun metric-in (text)
  (or (shown-metric text)
      (refuse "there is no metric ~A: they are ~{~A~^, ~}" (printable text) (mapcar #'metric-name +shown+))))

(defun parse (arguments environment)
  "Return the options in ARGUMENTS; what is a setting's is left to those."
  (let* ((options (make-options))
         (settings (parse-arguments
                    (lambda (argument given)
                      (let (found)
                        (flet ((given-p (flag)
                                 (setf found (funcall given flag))))
                          (cond ((member argument '("-h" "--help") :test #'string=)
                                 (return-from parse nil))
                                ((string= argument "--json") (setf (options-json options) t))
                                ((given-p "--since") (setf (options-span options) (span-in found)))
                                ((given-p "--metric") (setf (options-metric options) (metric-in found)))))))
                    arguments)))
    (setf (values (options-path options) (options-storage options))
          (recorded-at settings environment "show"))
    options))

(defun print-help (stream)
  (write-string +help+ stream)
  (dolist (metric +shown+)
    (format stream "  ~12A~A~%" (metric-name metric) (metric-about metric))))

;;; The terminal

(defun amount (number metric)
  (if number
      (format nil "~A~@[ ~A~]" (short-number number)
              (and (string/= (metric-unit metric) "") (metric-unit metric)))
      "-"))

(defun print-all (series rates until blocks-p stream)
  (format stream "~A to ~A, ~A a column~2%" (moment (series-start series)) (moment until)
          (span-name (series-step series)))
  (dolist (metric +shown+)
    (format stream "~11A~8@A ~4A ~A~%" (metric-name metric) (amount (series-summary series metric) metric)
            (ecase (metric-total metric) (:sum "") (:max "max") (:mean "mean"))
            (sparkline (series-values series metric) blocks-p)))
  (when rates
    (format stream "~%rates~%")
    (loop for (worker model rate seconds) in rates
          repeat +rates+
          do (format stream "  ~A/s of ~A on ~A, ~A~%" (short-number rate) (shown model) (shown worker)
                     (moment seconds)))
    (when (> (length rates) +rates+)
      (format stream "  and ~D more~%" (- (length rates) +rates+)))))

(defun print-one (series metric until blocks-p stream)
  (let ((values (series-values series metric)))
    (format stream "~A: ~A~%~A in ~A, ~A a column~2%" (metric-name metric) (metric-about metric)
            (amount (series-summary series metric) metric)
            (ecase (metric-total metric) (:sum "all") (:max "the highest step") (:mean "the mean"))
            (span-name (series-step series)))
    (print-plot values (series-start series) until blocks-p stream)))

;;; JSON

(defun print-json (series metrics rates stream)
  (format stream "{\"start\": ~D, \"step\": ~D, \"metrics\": {" (series-start series) (series-step series))
  (loop for (metric . more) on metrics
        do (format stream "~A: [~{~A~^, ~}]~:[~;, ~]" (json-text (metric-name metric))
                   (map 'list #'json-number (series-values series metric)) more))
  (format stream "}, \"rates\": [")
  (loop for ((worker model rate seconds) . more) on rates
        do (format stream "{\"worker\": ~A, \"model\": ~A, \"rate\": ~A, \"measured\": ~D}~:[~;, ~]"
                   (json-text worker) (json-text model) (json-number rate) seconds more))
  (format stream "]}~%"))

;;; All of it

(defun now ()
  (values (sb-ext:get-time-of-day)))

(defun print-history (options environment stream)
  (let* ((metric (options-metric options))
         (blocks-p (blocks-p environment))
         (columns (- (width environment) (if metric 8 26)))
         (until (now))
         (store (open-storage (options-path options) (options-storage options) :writing nil)))
    (unwind-protect
         (let ((series (read-series store (max 0 (- until (options-span options))) until
                                    (if (options-json options) +points+ columns)))
               (rates (sort (rates-list (archive-rates (open-archive store))) #'> :key #'fourth)))
           (cond ((options-json options)
                  (print-json series (if metric (list metric) +shown+) rates stream))
                 (metric (print-one series metric until blocks-p stream))
                 (t (print-all series rates until blocks-p stream))))
      (store-close store))))

(defun history-main (arguments environment)
  "Do what ARGUMENTS, strings, ask for in ENVIRONMENT, an alist; return the exit status.
Signal STREAM-ERROR if it cannot be printed."
  (run-reading "history"
               (lambda () (parse arguments environment))
               #'print-help
               #'options-path
               (lambda (options stream) (print-history options environment stream))))
