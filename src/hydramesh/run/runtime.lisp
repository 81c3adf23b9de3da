(defpackage #:hydramesh/run/runtime
  (:use #:cl)
  (:import-from #:hydramesh/address
                #:all-addresses #:address-family #:bad-address #:format-address #:loopback-p)
  (:import-from #:hydramesh/client/client #:make-client #:client-take #:client-act #:client-due)
  (:import-from #:hydramesh/domain/keeping #:open-keeping #:close-kept #:keeping-failure)
  (:import-from #:hydramesh/domain/limits
                #:+reliable-bytes+ #:+memory+ #:+peer-memory+ #:+peers+ #:+datagrams+)
  (:import-from #:hydramesh/domain/node #:make-node #:node-add #:node-stop #:node-counters)
  (:import-from #:hydramesh/domain/receiving #:node-take)
  (:import-from #:hydramesh/domain/service #:service-name #:service-needs-network-p)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/foreign/dcf
                #:library-unusable #:transport-error #:load-library #:clock-new #:clock-free
                #:clock-now)
  (:import-from #:hydramesh/foreign/system #:system-failure)
  (:import-from #:hydramesh/foreign/waiter #:make-waiter #:waiter-wait #:waiter-wake #:waiter-close)
  (:import-from #:hydramesh/keyfile #:load-key #:key-file-error)
  (:import-from #:hydramesh/mesh
                #:make-bounds #:open-mesh #:close-mesh #:insecure-bind #:mesh-now #:mesh-receive #:mesh-flush
                #:mesh-next-timeout #:mesh-local-address #:mesh-descriptor #:mesh-blocked #:mesh-ready-p)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:hydramesh/service/notify
                #:notifier-feed-watchdog #:notifier-ready #:notifier-status #:notifier-stopping
                #:notifier-watchdog-period)
  (:import-from #:hydramesh/run/settings
                #:run-settings-domain-listen #:run-settings-domain-peers #:run-settings-heads
                #:run-settings-cluster-key-file #:run-settings-allow-unauthenticated #:run-settings-state-dir
                #:run-settings-storage)
  (:import-from #:hydramesh/domain/due #:node-act #:node-due)
  (:export #:run-definitions #:cannot-run)
  (:documentation "The process of programs: one loop that waits for the network and for time, and hands both
to a node and to a client of the cluster."))
(in-package #:hydramesh/run/runtime)

(defparameter +farewell+ (seconds 2) "How long the last messages have to be acknowledged.")
(defparameter +beat+ (seconds 1/4) "Between two readings of the clock; it takes a longer wait for a pause.")
(defparameter +full-socket+ (seconds 1/1000) "Until a full socket to the cluster is tried again.")
(defconstant +header+ 14 "Bytes before the body of a RELIABLE message.")

(define-condition cannot-run (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream) (write-string (slot-value condition 'reason) stream)))
  (:documentation "What the settings name cannot be used, or the system does not give it; REASON says what to
do."))

(defun refuse (control &rest arguments)
  (error 'cannot-run :reason (apply #'format nil control arguments)))

(defstruct runtime
  "DOMAIN and CLUSTER are meshes, or NIL; NODE gets what comes from the one, CLIENT from the other."
  (waiter nil)
  (clock nil)
  (domain nil)
  (cluster nil)
  (node nil)
  (client nil)
  (stop nil))

(defun now (runtime)
  (clock-now (runtime-clock runtime)))

;;; Opening

(defun addresses-of (names setting)
  "Return the addresses of NAMES, host:port each, those that are found; refuse if none of them is."
  (let ((found (loop for name across names
                     append (handler-case (all-addresses name)
                              (system-failure (condition)
                                (log-warning "an address is left out" :setting setting :address name
                                                                      :reason (princ-to-string condition))
                                '())))))
    (when (and (plusp (length names)) (null found))
      (refuse "none of the addresses in ~A is found: ~{~A~^, ~}" setting (coerce names 'list)))
    found))

(defun of-one-family (addresses family)
  (remove family addresses :key #'address-family :test-not #'=))

(defun open-domain (settings key)
  (let ((listen (run-settings-domain-listen settings)))
    (unless (string= listen "")
      (open-mesh listen :key key
                        :allow-unauthenticated (run-settings-allow-unauthenticated settings)
                        :traffic :domain
                        :bounds (make-bounds :max-message (+ +header+ +reliable-bytes+)
                                             :memory +memory+
                                             :peer-memory +peer-memory+
                                             :max-peers +peers+
                                             :datagram-rate (coerce +datagrams+ 'double-float))))))

(defun open-cluster (settings heads key)
  "Open the mesh through which HEADS are reached, NIL if there are none."
  (when heads
    (let* ((may-leave (or key (run-settings-allow-unauthenticated settings)))
           (six (= 6 (address-family (first heads))))
           (remote (find-if-not #'loopback-p heads)))
      (when (and remote (not may-leave))
        (refuse "refusing to talk to ~A without a cluster key: anyone on the way could read and change ~
                 what is said. Set cluster_key_file to the key that the head has, or set ~
                 allow_unauthenticated if the network is trusted" (format-address remote)))
      (open-mesh (format nil "~A:0" (if may-leave (if six "[::]" "0.0.0.0") (if six "[::1]" "127.0.0.1")))
                 :key key
                 :allow-unauthenticated (run-settings-allow-unauthenticated settings)))))

(defun domain-peers (settings domain)
  (let ((peers (addresses-of (run-settings-domain-peers settings) "domain_peers")))
    (cond ((null domain) '())
          (t (loop for peer in (of-one-family peers (address-family (mesh-local-address domain)))
                   do (when (and (not (loopback-p peer))
                                 (string= (run-settings-cluster-key-file settings) "")
                                 (not (run-settings-allow-unauthenticated settings)))
                        (refuse "refusing to send to ~A without a cluster key: set cluster_key_file, or ~
                                 allow_unauthenticated if the network is trusted" (format-address peer)))
                   collect peer)))))

(defun need-network (definitions settings)
  (when (string= (run-settings-domain-listen settings) "")
    (let ((needing (find-if #'service-needs-network-p definitions)))
      (when needing
        (refuse "~A needs the network: set domain_listen, as in --domain-listen 127.0.0.1:7720"
                (service-name needing))))))

(defun open-runtime (settings)
  "Open what SETTINGS name."
  (let* ((file (run-settings-cluster-key-file settings))
         (key (if (string= file "") nil (load-key file)))
         (runtime (make-runtime))
         (opened nil))
    (unwind-protect
         (let* ((found (addresses-of (run-settings-heads settings) "heads"))
                (heads (and found (of-one-family found (address-family (first found)))))
                (domain (setf (runtime-domain runtime) (open-domain settings key)))
                (cluster (setf (runtime-cluster runtime) (open-cluster settings heads key))))
           (load-library)
           (setf (runtime-clock runtime) (clock-new)
                 (runtime-waiter runtime) (make-waiter (if domain (mesh-descriptor domain) -1)))
           (when cluster
             (setf (runtime-client runtime)
                   (make-client cluster heads (now runtime)
                                :remote (or key (run-settings-allow-unauthenticated settings)))))
           (setf (runtime-node runtime)
                 (make-node domain (now runtime)
                            :peers (domain-peers settings domain)
                            :address (and domain (mesh-local-address domain))
                            :store (lambda ()
                                     (open-keeping (run-settings-state-dir settings)
                                                   (run-settings-storage settings)))
                            :client (runtime-client runtime))
                 opened t)
           runtime)
      (unless opened
        (close-runtime runtime)))))

(defun close-runtime (runtime)
  (flet ((close-one (mesh handler)
           (when mesh
             (close-mesh mesh +farewell+ handler))))
    (close-one (runtime-domain runtime)
               (lambda (event)
                 (when (runtime-node runtime)
                   (node-take (runtime-node runtime) event (now runtime)))))
    (close-one (runtime-cluster runtime) #'identity))
  (when (runtime-node runtime)
    (close-kept (runtime-node runtime)))
  (when (runtime-waiter runtime)
    (waiter-close (runtime-waiter runtime)))
  (when (runtime-clock runtime)
    (clock-free (runtime-clock runtime))))

;;; The loop

(defun wait (runtime)
  "Wait until something has come or is due."
  (let* ((now (now runtime))
         (domain (runtime-domain runtime))
         (cluster (runtime-cluster runtime))
         (dues (list (node-due (runtime-node runtime))
                     (and (runtime-client runtime) (client-due (runtime-client runtime)))))
         (left (reduce #'min (mapcar (lambda (due) (- due now)) (remove nil dues)) :initial-value +beat+)))
    ;; Each mesh has a clock of its own.
    (dolist (mesh (remove nil (list domain cluster)))
      (setf left (min left (if (mesh-ready-p mesh) 0 (- (mesh-next-timeout mesh) (mesh-now mesh))))))
    (when (plusp left)
      (waiter-wait (runtime-waiter runtime) (and domain (mesh-blocked domain))
                   (if (and cluster (mesh-blocked cluster)) (min left +full-socket+) left)
                   (and cluster (list (mesh-descriptor cluster)))))))

(defun turn (runtime)
  (wait runtime)
  (let ((node (runtime-node runtime)) (client (runtime-client runtime))
        (domain (runtime-domain runtime)) (cluster (runtime-cluster runtime)))
    (when domain
      (mesh-receive domain (lambda (event) (node-take node event (now runtime)))))
    (when cluster
      (mesh-receive cluster (lambda (event) (client-take client event (now runtime)))))
    (node-act node (now runtime))
    (when client
      (client-act client (now runtime)))
    (when domain
      (mesh-flush domain))
    (when cluster
      (mesh-flush cluster))))

(defmacro with-system-reasons (&body body)
  "Do BODY; what the settings or the system do not give is CANNOT-RUN."
  `(handler-case (progn ,@body)
     ((or key-file-error insecure-bind bad-address keeping-failure system-failure library-unusable
          transport-error)
         (condition)
       (error 'cannot-run :reason (princ-to-string condition)))))

(defun run-definitions (definitions settings notifier)
  "Run DEFINITIONS until the process is told to end; tell NOTIFIER how it goes. Signal CANNOT-RUN."
  (with-system-reasons
    (need-network definitions settings)
    (let ((runtime (open-runtime settings)))
      (unwind-protect
           (progn
             (attach-signals runtime)
             (dolist (definition definitions)
               (node-add (runtime-node runtime) definition))
             (tell-ready notifier definitions)
             (log-info "running"
                       :programs (names definitions)
                       :listen (if (runtime-domain runtime)
                                   (format-address (mesh-local-address (runtime-domain runtime)))
                                   "none"))
             (loop until (runtime-stop runtime)
                   do (turn runtime)
                      (notifier-feed-watchdog notifier (now runtime)))
             (log-info "stopping")
             (notifier-stopping notifier)
             (node-stop (runtime-node runtime)))
        (close-runtime runtime)
        (tell-counters runtime)))))

(defun names (definitions)
  (format nil "~{~A~^, ~}" (mapcar #'service-name definitions)))

(defun tell-ready (notifier definitions)
  (let ((period (notifier-watchdog-period notifier)))
    ;; The loop waits no longer than a beat.
    (when (and period (< period (* 4 +beat+)))
      (log-warning "the watchdog may end this though it is well: WatchdogSec should be a second at least")))
  (notifier-status notifier (format nil "running ~A" (names definitions)))
  (notifier-ready notifier))

(defun tell-counters (runtime)
  (let ((counters (and (runtime-node runtime) (node-counters (runtime-node runtime)))))
    (when counters
      (log-info "counted" :what (format nil "~{~A~^, ~}"
                                        (loop for (name . count) in counters
                                              collect (format nil "~A ~D" name count)))))))

(defun attach-signals (runtime)
  "From now on SIGTERM and SIGINT end the loop."
  (dolist (signal (list sb-unix:sigterm sb-unix:sigint))
    (sb-sys:enable-interrupt signal
                             (lambda (signal info context)
                               (declare (ignore signal info context))
                               (setf (runtime-stop runtime) t)
                               (waiter-wake (runtime-waiter runtime))))))
