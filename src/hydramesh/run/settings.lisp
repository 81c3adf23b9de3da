(defpackage #:hydramesh/run/settings
  (:use #:cl)
  (:import-from #:hydramesh/service/setting #:refuse)
  (:import-from #:hydramesh/service/settings #:load-values)
  (:import-from #:hydramesh/service/setting-kinds
                #:+text+ #:+truth+ #:+optional-host-port+ #:host-ports #:one-of)
  (:import-from #:hydramesh/settings #:define-settings #:state-dir)
  (:export #:load-run-settings #:+all+ #:run-settings-programs
           #:run-settings-domain-listen #:run-settings-domain-peers #:run-settings-heads
           #:run-settings-cluster-key-file #:run-settings-allow-unauthenticated #:run-settings-state-dir
           #:run-settings-storage #:run-settings-log-level)
  (:documentation "The settings of `hydramesh run`."))
(in-package #:hydramesh/run/settings)

(defparameter +about+ "Runs programs: games, audio streams and sensors; docs/hydramesh.md teaches how.

Name their files, one after the other, before the flags.")

(define-settings run-settings "How programs are run."
  (domain-listen +optional-host-port+ ""
   "UDP address for other nodes of games, audio and sensors; \"\" for none")
  (domain-peers (host-ports 64) #()
   "nodes that programs join, send sound to or report to")
  (heads (host-ports 16) (vector "127.0.0.1:7717") "heads that tasks are given to, the preferred one first")
  (cluster-key-file +text+ "" "file with the key that all members share; see `daiic keygen`")
  (allow-unauthenticated +truth+ nil "talk to other machines without a cluster key")
  (storage (one-of "sqlite" "streamdb" "none") "sqlite"
   "where programs keep what they know: sqlite, streamdb, or none to keep nothing")
  (state-dir +text+ "" "folder for that; \"\" for systemd's, else one in the user's home")
  (log-level (one-of "debug" "info" "warning" "error") "info" "debug, info, warning or error")
  (programs +text+ "" "files of programs, with colons between them, if none is named before the flags"))

(defun load-run-settings (arguments environment)
  "Return the settings that ARGUMENTS and ENVIRONMENT make, as LOAD-SETTINGS does for a head, and the names
of the programs. Signal SETTINGS-ERROR or FLAGS:HELP."
  (let* ((flags (or (position-if (lambda (argument) (eql 0 (search "-" argument))) arguments)
                    (length arguments)))
         (settings (with-values (mapcar #'cdr (load-values +all+ "hydramesh run PROGRAM..." +about+
                                                           (subseq arguments flags) environment))))
         (programs (or (subseq arguments 0 flags)
                       (remove "" (uiop:split-string (run-settings-programs settings) :separator ":")
                               :test #'string=))))
    (unless programs
      (refuse "name the file of a program, as in `hydramesh run garden.lisp`, or set programs"))
    (setf (run-settings-state-dir settings) (state-dir (run-settings-state-dir settings) environment))
    (values settings programs)))
