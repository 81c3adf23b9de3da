(defpackage #:hydramesh/settings
  (:use #:cl)
  (:import-from #:hydramesh/service/setting #:make-setting #:setting-key #:settings-error)
  (:import-from #:hydramesh/service/settings #:load-values)
  (:import-from #:hydramesh/sync/limits #:+addresses+)
  (:import-from #:hydramesh/service/setting-kinds
                #:+text+ #:+truth+ #:+seconds+ #:+whole-number+ #:+count+ #:+share+ #:+node-id+ #:+host-port+
                #:+optional-host-port+ #:host-ports #:one-of)
  (:export #:define-settings #:state-dir #:settings #:load-settings #:settings-error #:changeable-p
           #:differences
           #:settings-listen #:settings-http-listen #:settings-cluster-key-file
           #:settings-allow-unauthenticated #:settings-drain-timeout #:settings-log-level
           #:settings-worker-timeout #:settings-queue-size #:settings-task-deadline
           #:settings-max-attempts #:settings-policy #:settings-group-threshold #:settings-mesh-node
           #:settings-set-aside-after #:settings-set-aside-pause #:settings-set-aside-longest
           #:settings-hedge-share #:settings-hedge-quantile #:settings-hedge-longest #:settings-storage
           #:settings-state-dir #:settings-repl-socket #:settings-peers
           #:settings-usb4-enabled)
  (:documentation "The settings of `hydramesh`, and which of them can change while it runs."))
(in-package #:hydramesh/settings)

(defparameter +about+ "The head of a DAIIC cluster, in Common Lisp: gives each task to a worker.

`hydramesh history` shows what it has recorded, `hydramesh repl` looks into one that runs,
`hydramesh health` says whether it does its work, `hydramesh policy` checks policies, `hydramesh run` runs
programs, `hydramesh usb4 doctor` looks at Thunderbolt cables, and all have --help. `hydramesh --version` says
which version this is.")

(defmacro define-settings (name documentation &rest slots)
  "Define the structure NAME; and in the current package the variable +ALL+, a list of SETTING for its slots,
and the functions VALUES-OF, which lists their values in one, and WITH-VALUES, which makes one of such a
list. A slot is (NAME KIND DEFAULT DESCRIPTION)."
  (flet ((reader (slot)
           (intern (format nil "~A-~A" name slot)))
         (here (name)
           (intern (string name))))
    `(progn
       (defstruct ,name
         ,documentation
         ,@(loop for (slot nil default) in slots collect (list slot default)))
       (defparameter ,(here '#:+all+)
         (list ,@(loop for (slot kind default description) in slots
                       collect `(make-setting :key ,(substitute #\_ #\- (string-downcase slot))
                                              :kind ,kind :default ,default
                                              :description ,description))))
       (defun ,(here '#:values-of) (,name)
         (list ,@(loop for (slot) in slots collect `(,(reader slot) ,name))))
       (defun ,(here '#:with-values) (values)
         (destructuring-bind ,(mapcar #'first slots) values
           (,(intern (format nil "MAKE-~A" name))
            ,@(loop for (slot) in slots
                    append (list (intern (string slot) '#:keyword) slot))))))))

(define-settings settings "How a head was told to work. Times are seconds."
  (listen +host-port+ "127.0.0.1:7717" "UDP address for workers and clients")
  (http-listen +optional-host-port+ "127.0.0.1:7718"
   "HTTP address of /healthz, /readyz and /metrics; \"\" for none")
  (cluster-key-file +text+ "" "file with the key that all members share; see `daiic keygen`")
  (allow-unauthenticated +truth+ nil "talk to other machines without a cluster key")
  (drain-timeout +seconds+ 30d0 "seconds to finish running work when told to stop")
  (log-level (one-of "debug" "info" "warning" "error") "info" "debug, info, warning or error")
  (worker-timeout +seconds+ 10d0 "seconds without a heartbeat until a worker is lost")
  (queue-size +whole-number+ 1024 "tasks that may wait for a worker; more are refused")
  (task-deadline +seconds+ 600d0 "seconds until a task fails; a task may set fewer")
  (max-attempts +whole-number+ 3 "attempts, each on another worker, until a task fails")
  (group-threshold +seconds+ 0.05d0 "seconds of round-trip time that divide near workers from farther ones")
  (mesh-node +node-id+ 0 "this head's number among the nodes of other DCF implementations")
  (set-aside-after +count+ 3
   "failures in a row after which a worker gets no tasks for a while; 0 for never")
  (set-aside-pause +seconds+ 5d0 "seconds until a worker that failed is tried with one task; doubles each time")
  (set-aside-longest +seconds+ 300d0 "seconds that this grows to")
  (hedge-share +share+ 0d0
   "share of the tasks that may be run on a second worker too, as they are late; 0 for none")
  (hedge-quantile +share+ 0.95d0 "share of a worker's recent tasks that had begun when one is late")
  (hedge-longest +seconds+ 10d0 "seconds within which a task has to be late to be short enough for that")
  (policy +text+ "" "file with the policy by which tasks are placed; \"\" for none")
  (storage (one-of "sqlite" "streamdb" "none") "sqlite"
   "where figures are kept: sqlite, streamdb, or none to keep nothing")
  (state-dir +text+ "" "folder for what is kept; \"\" for systemd's, else one in the user's home")
  (repl-socket +text+ "" "Unix socket for `hydramesh repl`; \"\" for none")
  (peers (host-ports +addresses+) #()
   "other heads that this one exchanges its state with, beside those that workers name")
  (usb4-enabled +truth+ nil "reach peers over Thunderbolt or USB4 cables too, while they are plugged in"))

(defparameter +changeable+
  '("worker_timeout" "queue_size" "task_deadline" "max_attempts" "group_threshold" "set_aside_after"
    "set_aside_pause" "set_aside_longest" "hedge_share" "hedge_quantile" "hedge_longest" "drain_timeout"
    "log_level" "policy" "peers"))

(defun changeable-p (key)
  "Return whether SIGHUP can change the setting KEY, as it is written in the file."
  (and (member key +changeable+ :test #'string=) t))

(defun differences (one other)
  "Return the keys of the settings that differ between ONE and OTHER."
  (loop for setting in +all+
        for this in (values-of one)
        for that in (values-of other)
        unless (if (simple-vector-p this)
                   (equal (coerce this 'list) (coerce that 'list))
                   (equal this that))
          collect (setting-key setting)))

(defun load-settings (arguments environment)
  "Return the settings that ARGUMENTS, strings, and ENVIRONMENT, an alist of them, and the file that
either names, make. Signal SETTINGS-ERROR, or FLAGS:HELP if the arguments ask for it."
  (let ((settings (with-values
                    (mapcar #'cdr (load-values +all+ "hydramesh" +about+ arguments
                                               (by-our-names environment))))))
    (setf (settings-state-dir settings) (state-dir (settings-state-dir settings) environment))
    settings))

(defparameter +other-names+ '(("HYDRAMESH_USB4_ENABLED" . "DAIIC_USB4_ENABLED"))
  "Variables that are known elsewhere by another name than the settings' own.")

(defun by-our-names (environment)
  "Return ENVIRONMENT with what +OTHER-NAMES+ say, where it does not have the settings' own names."
  (append environment
          (loop for (theirs . ours) in +other-names+
                for variable = (assoc theirs environment :test #'string=)
                when variable
                  collect (cons ours (cdr variable)))))

(defun state-dir (given environment)
  "Return the folder that GIVEN names, or the one meant if it is empty; \"\" if there is none."
  (flet ((variable (name)
           (let ((value (cdr (assoc name environment :test #'string=))))
             (if (equal value "") nil value))))
    (let ((home (variable "HOME")) (systemd (variable "STATE_DIRECTORY"))
          (state (variable "XDG_STATE_HOME")))
      (cond ((and home (eql (mismatch "~/" given) 2))
             (concatenate 'string home (subseq given 1)))
            ((string/= given "") given)
            (systemd (subseq systemd 0 (position #\: systemd)))
            (state (format nil "~A/daiic/hydramesh" state))
            (home (format nil "~A/.local/state/daiic/hydramesh" home))
            (t "")))))
