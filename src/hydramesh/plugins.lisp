(defpackage #:hydramesh/plugins
  (:use #:cl)
  (:import-from #:hydramesh/mesh #:mesh #:mesh-attach)
  (:import-from #:hydramesh/plugin/plugin
                #:call-hook #:plugin-name #:plugin-reason #:plugin-state #:plugin-transport #:plugin-version
                #:plugins #:start-wanted)
  ;; Those that the program comes with.
  (:import-from #:hydramesh/storage/streamdb)
  (:import-from #:hydramesh/usb4/plugin)
  (:import-from #:hydramesh/shown #:shown)
  (:export #:begin-plugins #:plugin-samples #:disabled-text)
  (:documentation "The plugins of a head: those that this program comes with, and what the daemon does with
all of them."))
(in-package #:hydramesh/plugins)

(defun begin-plugins (settings mesh)
  "Start the plugins that SETTINGS want, and have their transports carry MESH's datagrams."
  (start-wanted settings)
  (dolist (plugin (plugins))
    (when (and (plugin-transport plugin) (eq (plugin-state plugin) :running))
      (let ((transport (call-hook plugin (plugin-transport plugin) mesh settings)))
        (when transport
          (mesh-attach mesh plugin transport))))))

(defun plugin-samples ()
  "Return a list with a figure of METRICS-TEXT: which plugins there are, and their states."
  (list (list "hydramesh_plugins" :gauge "Plugins by their state; running ones are in use"
              (cons '("plugin" "version" "state")
                    (loop for plugin in (plugins)
                          collect (cons (list (plugin-name plugin) (plugin-version plugin)
                                              (string-downcase (plugin-state plugin)))
                                        1))))))

(defun disabled-text ()
  "Return which plugins are disabled and why, or NIL if none is."
  (let ((disabled (remove :disabled (plugins) :key #'plugin-state :test-not #'eq)))
    (and disabled
         (format nil "~{~A~^; ~}"
                 (loop for plugin in disabled
                       collect (format nil "plugin ~A disabled: ~A" (plugin-name plugin)
                                       (shown (or (plugin-reason plugin) "") 200)))))))
