;;;; The sans-IO part of HydraMesh's head as a process: build.sh lisp --load lisp_core.lisp.
;;;;
;;;; Requests and answers begin with a letter; lisp_core.py says what follows. Numbers are big-endian,
;;;; times in microseconds. While a request is handled, what the head sends and whom it pings are questions
;;;; to the test, answered by one octet.

(let ((*standard-output* *error-output*))
  (asdf:load-system "hydramesh/head/core"))
(load (merge-pathnames "lisp_process.lisp" *load-truename*))

(defpackage #:lisp-core
  (:use #:cl #:lisp-process)
  (:local-nicknames (#:events #:hydramesh/events) (#:core #:hydramesh/head/core)
                    (#:dispatcher #:hydramesh/head/dispatcher) (#:link #:hydramesh/head/link)
                    (#:statistics #:hydramesh/head/statistics) (#:worker #:hydramesh/head/worker)))
(in-package #:lisp-core)

(hydramesh/service/logs:configure "error")

(defvar *core* nil)
(defvar *now* 0)
(defvar *paused* 0)

(defun say (letter &rest parts)
  (apply #'send (list (char-code letter)) parts))

;;; The head's way out

(defstruct test-link)

(defmethod link:link-send ((link test-link) to type payload)
  (say #\S (octets-of to 8) (octets-of type 1) payload)
  (let ((answer (receive)))
    (ecase (aref answer 0)
      (0 nil)
      (1 t)
      (2 (error 'link:message-too-large :reason (map 'string #'code-char (subseq answer 1)))))))

(defmethod link:link-ping ((link test-link) to)
  (say #\G (octets-of to 8))
  (when (= 1 (aref (receive) 0))
    (core:core-take *core* (events:make-pong :peer to :rtt 1000) *now*)))

(defmethod link:link-forget ((link test-link) peer)
  (declare (ignore peer)))

(defmethod link:link-trust ((link test-link) peer)
  (declare (ignore peer)))

;;; Requests

(defparameter +limits+
  '(:task :json-task :tasks-memory :ahead :ahead-bytes :ahead-memory :delivered :heartbeat
    :heartbeats-memory :workers :models :heads :tags :cards :shards :members :capabilities :slots
    :name :detail :clients
    :remembered-ids :client-name :idle-shares :heads-told :named-models :incarnations :stopped :read-blocks))

(defun start (numbers)
  (destructuring-bind (worker-timeout queue-size task-deadline max-attempts &rest limits) numbers
    (setf *core* (core:make-core (dispatcher:make-policy :worker-timeout worker-timeout
                                                         :queue-size queue-size
                                                         :task-deadline task-deadline
                                                         :max-attempts max-attempts)
                                 (make-test-link)
                                 *now*
                                 :paused (lambda () *paused*)
                                 :limits (apply #'hydramesh/head/limits:make-head-limits
                                                (mapcan #'list +limits+ limits))))))

(defun books ()
  "Return what the head has counted, in numbers of 8 octets."
  (let* ((statistics (core:core-statistics *core*))
         (dispatcher (core:core-dispatcher *core*))
         (numbers (list* (statistics:statistics-malformed statistics)
                         (statistics:statistics-foreign statistics)
                         (statistics:statistics-refused-heartbeats statistics)
                         (statistics:statistics-repeated statistics)
                         (dispatcher:dispatcher-in-flight dispatcher)
                         (hash-table-count (dispatcher:dispatcher-jobs dispatcher))
                         (dispatcher:dispatcher-tasks-bytes dispatcher)
                         (loop for worker in (hydramesh/head/registry:registry-workers
                                              (dispatcher:dispatcher-workers dispatcher))
                               collect (hash-table-count (worker:worker-attempts worker))
                               collect (worker:worker-slots worker)))))
    (loop for number in numbers append (octets-of number 8))))

(defun handle (letter octets)
  (setf *now* (number-in octets 1 8)
        *paused* (number-in octets 9 8))
  (flet ((peer () (number-in octets 17 8)))
    (ecase letter
      (#\N (start (loop for at from 17 below (length octets) by 8 collect (number-in octets at 8))))
      (#\M (core:core-take *core*
                           (events:make-message :peer (peer)
                                                :type (aref octets 25)
                                                :sequence (number-in octets 26 4)
                                                :payload (subseq octets 30))
                           *now*))
      (#\P (core:core-take *core* (events:make-pong :peer (peer) :rtt (number-in octets 25 8))
                           *now*))
      (#\U (core:core-take *core* (events:make-unreachable :peer (peer)) *now*))
      (#\T (core:core-tick *core* *now*))
      (#\A (core:core-abandon *core* *now*))
      (#\C (setf (core:core-closed *core*) (plusp (peer))))
      (#\B nil)))
  (say #\D (if (eql letter #\B) (books) '())))

(say #\R) ; what was said until now is the compiler's
(loop for frame = (receive)
      while frame
      do (handle (code-char (aref frame 0)) frame))
(sb-ext:exit :abort t)
