(defpackage #:hydramesh/usb4/command
  (:use #:cl)
  (:import-from #:hydramesh/foreign/dcf #:library-unusable)
  (:import-from #:hydramesh/foreign/float-traps #:without-float-traps)
  (:import-from #:hydramesh/foreign/links #:links-too-old)
  (:import-from #:hydramesh/foreign/system #:system-failure)
  (:import-from #:hydramesh/plugin/plugin #:plugin-unusable)
  (:import-from #:hydramesh/service/flags #:help)
  (:import-from #:hydramesh/settings #:load-settings #:settings-error)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:hydramesh/storage/command-line #:bad-usage #:parse-arguments)
  (:import-from #:hydramesh/usb4/cables #:+prefix+)
  (:import-from #:hydramesh/usb4/doctor #:print-bus #:print-peers)
  (:import-from #:hydramesh/usb4/measuring #:measure-cables)
  (:import-from #:hydramesh/usb4/plugin #:cables-key)
  (:import-from #:hydramesh/usb4/sysfs #:read-bus)
  (:export #:usb4-main)
  (:documentation "`hydramesh usb4`: what can be asked about cables outside a head."))
(in-package #:hydramesh/usb4/command)

(defparameter +help+ "usage: hydramesh usb4 doctor [--sysfs FOLDER] [--SETTING VALUE]...

Says which Thunderbolt or USB4 cables are there, what is missing, and how far away those are who can be
reached over them and how fast. They answer if a head or worker runs there with usb4_enabled and the same
key; for a second each, it has much to do. The status is 0 if one answers.

options:
  -h, --help            show this help message and exit
  --sysfs FOLDER        where the kernel tells of devices (default: /sys)
  --config FILE         the head's settings
  --cluster-key-file VALUE
                        file with the key that all members share
  --allow-unauthenticated VALUE
                        look for peers without a cluster key
")

(defun parse (arguments)
  "Return the folder that ARGUMENTS name, or the usual one, and those that are settings'."
  (let* ((folder "/sys")
         (rest (parse-arguments (lambda (argument given)
                                  (declare (ignore argument))
                                  (let ((value (funcall given "--sysfs")))
                                    (when value
                                      (setf folder value))))
                                arguments)))
    (values folder rest)))

(defun examine (arguments environment stream)
  (multiple-value-bind (folder flags) (parse arguments)
    (let ((settings (load-settings flags environment)))
      (print-bus (read-bus folder +prefix+) stream)
      (finish-output stream)
      (handler-case (multiple-value-bind (links measured)
                        (without-float-traps
                          (measure-cables +prefix+ (cables-key settings)))
                      (print-peers links measured stream))
        ((or plugin-unusable library-unusable links-too-old system-failure) (condition)
          (format stream "Peers~%  --    ~A~%" condition)
          nil)))))

(defun complain (control &rest arguments)
  (format *error-output* "hydramesh usb4: ~?~%" control arguments)
  (finish-output *error-output*)
  2)

(defun usb4-main (arguments environment)
  "Do what ARGUMENTS, strings, ask for in ENVIRONMENT, an alist; return the exit status.
Signal STREAM-ERROR if it cannot be printed."
  (let ((stream *standard-output*) (word (first arguments)))
    (prog1
        (handler-case
            (cond ((intersection '("-h" "--help") arguments :test #'string=)
                   (write-string +help+ stream)
                   0)
                  ((equal word "doctor")
                   (if (examine (rest arguments) environment stream) 0 1))
                  (word (complain "there is no command ~A; it is doctor" (printable word)))
                  (t (complain "name a command: doctor")))
          (help ()
            (write-string +help+ stream)
            0)
          ((or bad-usage settings-error) (condition)
            (complain "~A" condition)))
      (finish-output stream))))
