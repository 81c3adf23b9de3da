(defpackage #:hydramesh/daemon
  (:use #:cl)
  (:import-from #:hydramesh/address #:address-family #:bad-address #:format-address #:loopback-p)
  (:import-from #:hydramesh/events #:seconds #:+mesh+ #:+sync+)
  (:import-from #:hydramesh/foreign/dcf #:library-unusable #:transport-error)
  (:import-from #:hydramesh/foreign/system #:system-failure #:reason-of)
  (:import-from #:hydramesh/head/breaker #:make-breaker-rules)
  (:import-from #:hydramesh/head/core
                #:core #:make-core #:core-take #:core-tick #:core-due #:core-act #:core-abandon #:core-closed
                #:core-dispatcher #:core-heads #:core-leave)
  (:import-from #:hydramesh/head/dispatcher
                #:make-policy #:dispatcher-policy #:dispatcher-jobs #:dispatcher-queue
                #:dispatcher-workers #:dispatcher-in-flight)
  (:import-from #:hydramesh/head/heads #:heads-peers)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length)
  (:import-from #:hydramesh/head/hedging #:make-hedging)
  (:import-from #:hydramesh/head/metrics)
  (:import-from #:hydramesh/head/registry #:registry-count)
  (:import-from #:hydramesh/head-id #:head-id)
  (:import-from #:hydramesh/keyfile #:load-key #:key-file-error)
  (:import-from #:hydramesh/mesh
                #:mesh #:open-mesh #:close-mesh #:mesh-subscribe #:insecure-bind #:mesh-wait #:mesh-wake
                #:mesh-receive #:mesh-flush #:mesh-now #:mesh-paused #:mesh-next-timeout
                #:mesh-local-address #:mesh-counters)
  (:import-from #:hydramesh/plugin/plugin #:stop-plugins)
  (:import-from #:hydramesh/plugins #:begin-plugins #:disabled-text #:plugin-samples)
  (:import-from #:hydramesh/policy-file #:begin-policy #:follow-policy)
  (:import-from #:hydramesh/repl/server #:open-repl #:close-repl #:repl-refused)
  (:import-from #:hydramesh/service/event-loop
                #:event-loop #:make-event-loop #:on-loop #:run #:loop-unavailable)
  (:import-from #:hydramesh/service/lifecycle
                #:lifecycle #:lifecycle-settings #:lifecycle-notifier #:lifecycle-stop
                #:lifecycle-attach #:lifecycle-ready #:lifecycle-on-reload #:lifecycle-turn
                #:cannot-start #:cannot-continue)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:hydramesh/service/notify
                #:notifier-status #:notifier-extend #:notifier-stopping #:notifier-feed-watchdog)
  (:import-from #:hydramesh/service/status-port
                #:open-status-port #:close-status-port #:status-port-number)
  (:import-from #:hydramesh/settings
                #:settings #:settings-listen #:settings-http-listen #:settings-cluster-key-file
                #:settings-allow-unauthenticated #:settings-drain-timeout
                #:settings-worker-timeout #:settings-queue-size #:settings-task-deadline
                #:settings-max-attempts #:settings-policy #:settings-group-threshold #:settings-mesh-node
                #:settings-set-aside-after #:settings-set-aside-pause #:settings-set-aside-longest
                #:settings-hedge-share #:settings-hedge-quantile #:settings-hedge-longest
                #:settings-state-dir #:settings-storage #:settings-repl-socket #:settings-peers)
  (:import-from #:hydramesh/shown #:counted)
  (:import-from #:hydramesh/sync/resolver #:resolver #:make-resolver #:resolve)
  (:import-from #:hydramesh/storage/attach
                #:attach-recorder #:detach-recorder #:attachment-tick #:attachment-sample
                #:attachment-settle #:attachment-figures)
  (:export #:serve)
  (:documentation "The daemon: the core on a mesh, under systemd.

One thread does all of the head's work, a turn at a time: what others ask, what has come, what is due,
what is to go."))
(in-package #:hydramesh/daemon)

(defparameter +tick+ (seconds 1/10)
  "Between two looks at what time demands while there are tasks.")

(defparameter +idle-tick+ (seconds 1/2)
  "The same while there are none; only silent workers can be found then.")

(defparameter +farewell+ (seconds 2)
  "How long the last answers have to be acknowledged.")

(defparameter +last-writes+ 5
  "Seconds that the storage has to write down what was recorded last.")

(defstruct head
  "A core, the mesh through which it speaks, and the settings it follows. STORAGE records what it does.
RESOLVER finds other heads; UNREACHABLE are those to which it must not speak. DRAIN-END is when the
tasks that are left are given up, once it is to end."
  (lifecycle nil :type lifecycle)
  (settings nil :type settings)
  (mesh nil :type mesh)
  (core nil :type core)
  (event-loop nil :type event-loop)
  (storage nil)
  (resolver nil :type (or null resolver))
  (unreachable '() :type list)
  (tick-at 0 :type (unsigned-byte 62))
  (drain-end nil :type (or null (unsigned-byte 62))))

(defun head-now (head)
  (mesh-now (head-mesh head)))

(defun jobs-left (head)
  (hash-table-count (dispatcher-jobs (core-dispatcher (head-core head)))))

;;; From beginning to end

(defmacro with-system-reasons (&body body)
  "Run BODY; what the system or the library refuses ends the daemon with a sentence."
  `(handler-case (progn ,@body)
     ((or key-file-error insecure-bind bad-address repl-refused) (condition)
       (error 'cannot-start :reason (princ-to-string condition)))
     ((or system-failure library-unusable transport-error) (condition)
       (error 'cannot-continue :reason (princ-to-string condition)))))

(defun serve (lifecycle)
  "Serve until told to stop, then let accepted tasks finish."
  (let* ((head (open-head lifecycle))
         (status (open-status head))
         (repl (open-session-socket head)))
    (lifecycle-on-reload lifecycle (lambda (settings) (follow head settings)))
    (lifecycle-attach lifecycle (lambda () (mesh-wake (head-mesh head))))
    (lifecycle-ready lifecycle)
    (log-info "serving"
              :listen (format-address (mesh-local-address (head-mesh head)))
              :http-port (if status (status-port-number status) "none")
              :key (if (string= (settings-cluster-key-file (head-settings head)) "") "none" "yes"))
    (unwind-protect
         (with-system-reasons
           (run (head-event-loop head) (lambda () (turn head)))
           (give-up head)
           (core-leave (head-core head) (head-now head))
           (close-mesh (head-mesh head) +farewell+ (taker head)))
      (detach-recorder (head-storage head) +last-writes+)
      (stop-plugins))
    (close-repl repl)
    (close-status-port status)))

(defun open-head (lifecycle)
  (let* ((settings (lifecycle-settings lifecycle))
         (key-file (settings-cluster-key-file settings))
         (mesh (with-system-reasons
                 (open-mesh (settings-listen settings)
                            :key (if (string= key-file "") nil (load-key key-file))
                            :allow-unauthenticated (settings-allow-unauthenticated settings))))
         (core (make-core (policy settings) mesh (mesh-now mesh)
                          :node (settings-mesh-node settings)
                          :paused (lambda () (mesh-paused mesh))
                          :id (head-id (if (string= (settings-storage settings) "none")
                                           ""
                                           (settings-state-dir settings)))
                          :sealed (not (string= key-file ""))
                          :reachable-p (reachable-p settings (mesh-local-address mesh))))
         (head (make-head :lifecycle lifecycle :settings settings :mesh mesh :core core
                          :event-loop (make-event-loop (lambda () (mesh-wake mesh)))
                          :storage (attach-recorder core (settings-state-dir settings)
                                                    (settings-storage settings)))))
    (begin-plugins settings mesh)
    (begin-policy (core-dispatcher core) (settings-policy settings) (mesh-now mesh))
    (mesh-subscribe mesh +mesh+)
    (mesh-subscribe mesh +sync+)
    (setf (head-resolver head) (make-resolver (lambda (peers) (note-peers head peers))))
    (name-peers head)
    head))

(defun open-status (head)
  (let ((listen (settings-http-listen (head-settings head))))
    (with-system-reasons
      (handler-case
          (open-status-port listen (lambda () (why-not-alive head)) (lambda () (why-not-ready head))
                            (lambda () (metrics-text head)))
        (sb-bsd-sockets:socket-error (condition)
          (error 'cannot-continue
                 :reason (format nil "cannot listen on ~A: ~A" listen (reason-of condition))))))))

(defun open-session-socket (head)
  (with-system-reasons
    (open-repl (settings-repl-socket (head-settings head)) (head-core head) (head-event-loop head)
               (lambda () (head-now head)))))

;;; A turn of the loop

(defun turn (head)
  "Wait for something to do and do it; return whether there may be more."
  (let ((mesh (head-mesh head))
        (notifier (lifecycle-notifier (head-lifecycle head))))
    (mesh-wait mesh (wait head))
    (mesh-receive mesh (taker head))
    (lifecycle-turn (head-lifecycle head))
    (when (lifecycle-stop (head-lifecycle head))
      (close-head head))
    (let* ((now (head-now head))
           (tick (if (zerop (jobs-left head)) +idle-tick+ +tick+)))
      (setf (head-tick-at head) (min (head-tick-at head) (+ now tick)))
      (when (due-p head now)
        (core-act (head-core head) now))
      (when (>= now (head-tick-at head))
        (setf (head-tick-at head) (+ now tick))
        (core-tick (head-core head) now)
        (attachment-tick (head-storage head) now)
        (show head))
      (notifier-feed-watchdog notifier now)
      (mesh-flush mesh)
      (not (drained-p head now)))))

(defun taker (head)
  "Return the function that takes an event of the mesh. A fault in that is the core's to leave out."
  (lambda (event)
    (core-take (head-core head) event (head-now head))))

(defun wait (head)
  "Return the microseconds until something is due."
  (let ((now (head-now head)))
    (if (due-p head now)
        0
        (let ((soonest (min (head-tick-at head) (mesh-next-timeout (head-mesh head))))
              (due (core-due (head-core head))))
          (max 0 (- (if due (min due soonest) soonest) now))))))

(defun due-p (head now)
  (let ((due (core-due (head-core head))))
    (and due (>= now due))))

(defun show (head)
  (let ((dispatcher (core-dispatcher (head-core head))))
    (notifier-status (lifecycle-notifier (head-lifecycle head))
                     (format nil "~A, ~A in flight, ~D queued~@[; ~A~]"
                             (counted (registry-count (dispatcher-workers dispatcher)) "worker")
                             (counted (dispatcher-in-flight dispatcher) "task")
                             (job-queue-length (dispatcher-queue dispatcher))
                             (disabled-text)))))

;;; Ending

(defun close-head (head)
  "Accept no more tasks. Done once, whatever signals come after the first."
  (unless (head-drain-end head)
    (let ((timeout (settings-drain-timeout (head-settings head)))
          (notifier (lifecycle-notifier (head-lifecycle head))))
      (setf (core-closed (head-core head)) t
            (head-drain-end head) (+ (head-now head) (seconds timeout)))
      (notifier-stopping notifier)
      (notifier-extend notifier (+ timeout (* 2 (/ +farewell+ (seconds 1))) +last-writes+))
      (log-info "stopping" :tasks-left (jobs-left head)))))

(defun drained-p (head now)
  (and (head-drain-end head)
       (or (zerop (jobs-left head))
           (>= now (head-drain-end head)))))

(defun give-up (head)
  "End the tasks that are left."
  (unless (zerop (jobs-left head))
    (log-warning "tasks given up" :tasks (jobs-left head)
                                  :drain-timeout (settings-drain-timeout (head-settings head)))
    (core-abandon (head-core head) (head-now head))))

;;; Settings

(defun policy (settings)
  (flet ((time-of (number)
           (max 1 (seconds number))))
    (make-policy :worker-timeout (time-of (settings-worker-timeout settings))
                 :queue-size (settings-queue-size settings)
                 :task-deadline (time-of (settings-task-deadline settings))
                 :max-attempts (settings-max-attempts settings)
                 :group-threshold (time-of (settings-group-threshold settings))
                 :breaker (make-breaker-rules :failures (settings-set-aside-after settings)
                                              :pause (time-of (settings-set-aside-pause settings))
                                              :longest (time-of (settings-set-aside-longest settings)))
                 :hedging (make-hedging :share (settings-hedge-share settings)
                                        :quantile (settings-hedge-quantile settings)
                                        :longest (time-of (settings-hedge-longest settings))))))

(defun follow (head settings)
  (setf (head-settings head) settings
        (dispatcher-policy (core-dispatcher (head-core head))) (policy settings))
  (follow-policy (core-dispatcher (head-core head)) (settings-policy settings) (head-now head))
  (name-peers head))

;;; Other heads

(defun reachable-p (settings here)
  "Return a function that tells whether a head at an address may be spoken to from HERE."
  (let ((anywhere (or (string/= (settings-cluster-key-file settings) "")
                      (settings-allow-unauthenticated settings))))
    (lambda (address)
      (and (= (address-family address) (address-family here))
           (/= address here)
           (or anywhere (loopback-p address))))))

(defun name-peers (head)
  "Look for the other heads that the settings name."
  (take-peers head (resolve (head-resolver head) (coerce (settings-peers (head-settings head)) 'list))))

(defun note-peers (head peers)
  "Look for other heads at PEERS. To be called by any other thread."
  (handler-case (on-loop (head-event-loop head) (lambda () (take-peers head peers)))
    (loop-unavailable ()))) ; it is told again

(defun take-peers (head peers)
  "Look for other heads at PEERS, an alist of names and addresses; tell of those that must not be spoken to."
  (let* ((here (mesh-local-address (head-mesh head)))
         (reachable-p (reachable-p (head-settings head) here)))
    (setf (heads-peers (core-heads (head-core head))) (mapcan (lambda (peer) (copy-list (rest peer))) peers))
    (loop for (name . addresses) in peers
          unless (or (null addresses)
                     (some (lambda (address) (or (= address here) (funcall reachable-p address))) addresses)
                     (member name (head-unreachable head) :test #'string=))
            do (push name (head-unreachable head))
               (log-warning
                (if (= (address-family (first addresses)) (address-family here))
                    "a peer on another machine is left out: set cluster_key_file, or allow_unauthenticated"
                    "a peer is left out: this head listens on IPv4 and the peer on IPv6, or the reverse")
                :peer name :listen (format-address here)))))

;;; What the status port tells

(defun why-not-alive (head)
  (handler-case (on-loop (head-event-loop head) (constantly nil))
    (loop-unavailable ()
      ;; At the end it waits for the last answers to arrive.
      (if (head-drain-end head) nil "the head is busy"))))

(defun why-not-ready (head)
  (handler-case
      (on-loop (head-event-loop head)
               (lambda ()
                 (cond ((head-drain-end head) "shutting down")
                       ((zerop (registry-count (dispatcher-workers
                                                (core-dispatcher (head-core head)))))
                        "no worker has registered"))))
    (loop-unavailable ()
      (if (head-drain-end head) "shutting down" "the head is busy"))))

(defun metrics-text (head)
  (let* ((storage (head-storage head))
         (text (on-loop (head-event-loop head)
                        (lambda ()
                          (attachment-sample storage)
                          (hydramesh/head/metrics:metrics-text (head-core head)
                                                               (mesh-counters (head-mesh head))
                                                               (append (attachment-figures storage)
                                                                       (plugin-samples)))))))
    ;; What is shown has been written, so that the counters do not go back if the head is killed now.
    (attachment-settle storage)
    text))
