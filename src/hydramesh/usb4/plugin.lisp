(defpackage #:hydramesh/usb4/plugin
  (:use #:cl)
  (:import-from #:hydramesh/foreign/dcf #:library-unusable)
  (:import-from #:hydramesh/foreign/links #:links-too-old)
  (:import-from #:hydramesh/foreign/system #:system-failure)
  (:import-from #:hydramesh/keyfile #:key-file-error #:load-key)
  (:import-from #:hydramesh/plugin/define #:define-plugin)
  (:import-from #:hydramesh/plugin/plugin #:unusable)
  (:import-from #:hydramesh/settings
                #:settings-allow-unauthenticated #:settings-cluster-key-file #:settings-usb4-enabled)
  (:import-from #:hydramesh/usb4/cables #:cables-text #:make-cables #:open-cables)
  (:export #:cables-key)
  (:documentation "The plugin `usb4`: Thunderbolt and USB4 cables as ways to peers beside the network."))
(in-package #:hydramesh/usb4/plugin)

(defun cables-key (settings)
  "Return the key that SETTINGS have for what goes over cables, or NIL if it may go without one. Signal
PLUGIN-UNUSABLE if it may not, or the key cannot be read."
  (let ((file (settings-cluster-key-file settings)))
    (cond ((string/= file "")
           (handler-case (load-key file)
             (key-file-error (condition) (unusable "~A" condition))))
          ((settings-allow-unauthenticated settings) nil)
          (t
           (unusable "a cable leads to another machine, which takes a cluster key: set cluster_key_file ~
                      (`daiic keygen` makes one), or allow_unauthenticated if whoever is at its other end is ~
                      trusted")))))

(define-plugin usb4
  (:documentation "Reaches peers over Thunderbolt and USB4 cables.")
  (:version "1.0.0")
  (:wanted (settings)
   (settings-usb4-enabled settings))
  (:start ()
   (make-cables))
  (:transport (cables mesh settings)
   (handler-case (open-cables cables (cables-key settings))
     ((or library-unusable links-too-old system-failure) (condition)
       (unusable "~A" condition))))
  (:report (cables)
   (cables-text cables)))
