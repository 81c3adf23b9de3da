(defpackage #:hydramesh/repl/plugins
  (:use #:cl)
  (:import-from #:hydramesh/plugin/plugin
                #:plugin-documentation #:plugin-name #:plugin-report-text #:plugin-state #:plugin-version)
  (:import-from #:hydramesh/repl/tables #:print-rows)
  (:local-nicknames (#:plugin #:hydramesh/plugin/plugin))
  (:export #:plugins)
  (:documentation "What a session of the REPL can ask about plugins."))
(in-package #:hydramesh/repl/plugins)

(defun plugins ()
  "Print every plugin, whether it runs, and if it is disabled, why."
  (print-rows '("PLUGIN" "VERSION" "STATE" "WHAT IT IS FOR" "HOW IT GOES")
              (loop for plugin in (plugin:plugins)
                    collect (list (plugin-name plugin)
                                  (plugin-version plugin)
                                  (string-downcase (plugin-state plugin))
                                  (plugin-documentation plugin)
                                  (plugin-report-text plugin)))
              "plugins"))
