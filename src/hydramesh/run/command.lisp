(defpackage #:hydramesh/run/command
  (:use #:cl)
  (:import-from #:hydramesh/run/loading #:load-programs #:bad-program)
  (:import-from #:hydramesh/run/runtime #:run-definitions #:cannot-run)
  (:import-from #:hydramesh/run/settings #:load-run-settings #:run-settings-log-level)
  (:import-from #:hydramesh/service/logs #:configure #:log-error)
  (:import-from #:hydramesh/service/notify #:make-notifier)
  (:export #:run-main)
  (:documentation "`hydramesh run PROGRAM...`: games, audio streams and sensors, in a process of their own."))
(in-package #:hydramesh/run/command)

(defun run-main (arguments environment)
  "Run the programs that ARGUMENTS name until told to stop; return the exit status: 0 after that, 1 if the
system does not give what they need, 2 if settings or programs cannot be used. Signal SETTINGS-ERROR or
FLAGS:HELP."
  (multiple-value-bind (settings programs) (load-run-settings arguments environment)
    (configure (run-settings-log-level settings))
    (handler-case (progn
                    (run-definitions (load-programs programs) settings (make-notifier environment))
                    0)
      (bad-program (condition)
        (log-error "a program cannot be run" :reason (princ-to-string condition))
        2)
      (cannot-run (condition)
        (log-error "cannot run" :reason (princ-to-string condition))
        1))))
