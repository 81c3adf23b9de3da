(defpackage #:hydramesh/iot/command
  (:use #:cl)
  (:import-from #:hydramesh/domain/keeping #:keeping-path)
  (:import-from #:hydramesh/iot/history
                #:read-histories #:history-device #:history-latest #:history-sensor #:history-start
                #:history-step #:history-steps)
  (:import-from #:hydramesh/iot/sensor #:+millionths+)
  (:import-from #:hydramesh/iot/windows
                #:aggregate-count #:aggregate-least #:aggregate-most #:aggregate-value)
  (:import-from #:hydramesh/settings
                #:load-settings #:settings-state-dir #:settings-storage)
  (:import-from #:hydramesh/shown #:counted #:printable #:shown)
  (:import-from #:hydramesh/storage/command-line #:parse-arguments #:refuse #:run-reading #:span-in)
  (:import-from #:hydramesh/storage/json #:json-number #:json-text)
  (:import-from #:hydramesh/storage/opening #:open-storage)
  (:import-from #:hydramesh/storage/plot #:short-number #:sparkline)
  (:import-from #:hydramesh/storage/store #:store-close)
  (:import-from #:hydramesh/storage/terminal #:blocks-p #:moment #:print-plot #:span-name #:width)
  (:export #:readings-main)
  (:documentation "`hydramesh readings`: what sensors have read, at a terminal or as JSON."))
(in-package #:hydramesh/iot/command)

(defparameter +help+ "usage: hydramesh readings [SENSOR [DEVICE]] [--since SPAN] [--json] [--SETTING VALUE]...

Shows what the sensors of programs have read; the programs may be running. Of one device it is drawn larger.

options:
  -h, --help            show this help message and exit
  --since SPAN          how far back: a number and s, min, h, d or w, as 90min (default: 24h)
  --json                print JSON
  --state-dir VALUE     folder in which the programs keep what they know
  --storage VALUE       sqlite or streamdb (default: sqlite)
")

(defconstant +points+ 1000 "Steps of time in JSON, at most.")
(defconstant +devices+ 100 "Devices that are listed at a terminal.")

(defstruct options
  "SPAN is in seconds; SENSOR and DEVICE are names, or NIL for all."
  (sensor nil)
  (device nil)
  (span (* 24 3600))
  (json nil)
  (path "")
  (storage ""))

(defun parse (arguments environment)
  "Return the options in ARGUMENTS, NIL if help is asked for; what is a setting's is left to those. Signal
BAD-USAGE or SETTINGS-ERROR."
  (let* ((options (make-options))
         (settings (parse-arguments (lambda (argument given)
                                      (when (member argument '("-h" "--help") :test #'string=)
                                        (return-from parse nil))
                                      (take-option argument given options))
                                    arguments)))
    (let ((settings (load-settings settings environment)))
      (setf (options-path options) (or (keeping-path (settings-state-dir settings) (settings-storage settings))
                                       (refuse "there is no folder to look in: give --state-dir"))
            (options-storage options) (settings-storage settings)))
    options))

(defun take-option (argument given options)
  "Put ARGUMENT, of which GIVEN is as in PARSE-ARGUMENTS, in OPTIONS; return whether it belongs there."
  (let (found)
    (flet ((given-p (flag)
             (setf found (funcall given flag))))
      (cond ((string= argument "--json") (setf (options-json options) t))
            ((given-p "--since") (setf (options-span options) (span-in found)))
            ((eql 0 (search "-" argument)) nil)
            ((null (options-sensor options)) (setf (options-sensor options) argument))
            ((null (options-device options)) (setf (options-device options) argument))
            (t (refuse "~A is one too many: name a sensor, and maybe a device" (printable argument)))))))

;;; The terminal

(defun in-unit (millionths)
  (and millionths (/ millionths +millionths+)))

(defun means (history)
  (map 'vector (lambda (aggregate) (and aggregate (in-unit (aggregate-value aggregate :mean))))
       (history-steps history)))

(defun number-text (number)
  (cond ((null number) "-")
        ((minusp number) (format nil "-~A" (short-number (- number))))
        (t (short-number number))))

(defun least-of (values)
  (reduce #'min (remove nil values)))

(defun above-least (values)
  "Return VALUES as they are above the least of them: what a line of characters can show."
  (let ((least (least-of values)))
    (map 'vector (lambda (value) (and value (- value least))) values)))

(defun print-list (histories blocks-p stream)
  (loop for history in histories
        for values = (means history)
        repeat +devices+
        do (format stream "~20A ~20A ~8@A  ~A~%" (shown (history-sensor history) 20)
                   (shown (history-device history) 20) (number-text (in-unit (history-latest history)))
                   (sparkline (above-least values) blocks-p)))
  (when (> (length histories) +devices+)
    (format stream "and ~A more: name a sensor, or ask for --json~%"
            (counted (- (length histories) +devices+) "device"))))

(defun print-device (history until blocks-p stream)
  (let* ((values (means history)) (steps (remove nil (history-steps history))))
    (format stream "~A of ~A: ~A now, ~A to ~A, ~A a column~2%"
            (shown (history-sensor history)) (shown (history-device history))
            (number-text (in-unit (history-latest history)))
            (number-text (in-unit (reduce #'min steps :key #'aggregate-least)))
            (number-text (in-unit (reduce #'max steps :key #'aggregate-most)))
            (span-name (history-step history)))
    (print-plot values (history-start history) until blocks-p stream :lowest (min 0 (least-of values)))))

;;; JSON

(defun print-json (histories stream)
  (format stream "[")
  (loop for (history . more) on histories
        do (format stream "{\"sensor\": ~A, \"device\": ~A, \"start\": ~D, \"step\": ~D, \"latest\": ~A, ~
                           \"mean\": [~{~A~^, ~}], \"readings\": [~{~A~^, ~}]}~:[~;,~%~]"
                   (json-text (history-sensor history)) (json-text (history-device history))
                   (history-start history) (history-step history)
                   (json-number (in-unit (history-latest history)))
                   (map 'list #'json-number (means history))
                   (map 'list (lambda (aggregate) (if aggregate (aggregate-count aggregate) 0))
                        (history-steps history))
                   more))
  (format stream "]~%"))

;;; All of it

(defun print-readings (options environment stream)
  (let* ((until (values (sb-ext:get-time-of-day)))
         (blocks-p (blocks-p environment))
         (columns (- (width environment) (if (options-device options) 8 52)))
         (store (open-storage (options-path options) (options-storage options) :writing nil)))
    (unwind-protect
         (let ((histories (read-histories store (max 0 (- until (options-span options))) until
                                          (if (options-json options) +points+ columns)
                                          :sensor (options-sensor options) :device (options-device options))))
           (cond ((options-json options) (print-json histories stream))
                 ((null histories) (refuse "nothing has been read~@[ by ~A~]~@[ of ~A~] since then"
                                           (and (options-device options) (printable (options-device options)))
                                           (and (options-sensor options) (printable (options-sensor options)))))
                 ((options-device options) (print-device (first histories) until blocks-p stream))
                 (t (print-list histories blocks-p stream))))
      (store-close store))))

(defun readings-main (arguments environment)
  "Do what ARGUMENTS, strings, ask for in ENVIRONMENT, an alist; return the exit status.
Signal STREAM-ERROR if it cannot be printed."
  (run-reading "readings"
               (lambda () (parse arguments environment))
               (lambda (stream) (write-string +help+ stream))
               #'options-path
               (lambda (options stream) (print-readings options environment stream))))
