;;;; The sans-IO part of HydraMesh's head as a process: build.sh lisp --load lisp_core.lisp.
;;;;
;;;; Requests and answers are a length of 4 octets and as many octets, of which the first is a letter;
;;;; lisp_core.py says what follows. Numbers are big-endian, times in microseconds. While a request is
;;;; handled, what the head sends and whom it pings are questions to the test, answered by one octet.

(let ((*standard-output* *error-output*))
  (asdf:load-system "hydramesh/head/core"))

(defpackage #:lisp-core
  (:use #:cl)
  (:local-nicknames (#:events #:hydramesh/events) (#:core #:hydramesh/head/core)
                    (#:dispatcher #:hydramesh/head/dispatcher) (#:link #:hydramesh/head/link)
                    (#:statistics #:hydramesh/head/statistics) (#:worker #:hydramesh/head/worker)))
(in-package #:lisp-core)

(hydramesh/service/logs:configure "error")

(defvar *in* (sb-sys:make-fd-stream 0 :element-type '(unsigned-byte 8) :buffering :full))
(defvar *out* (sb-sys:make-fd-stream 1 :element-type '(unsigned-byte 8) :buffering :full :output t :input nil))

(defvar *core* nil)
(defvar *now* 0)
(defvar *paused* 0)

;;; Numbers and frames

(defun number-in (octets start count)
  (loop with number = 0
        for at from start below (+ start count)
        do (setf number (logior (ash number 8) (aref octets at)))
        finally (return number)))

(defun octets-of (number count)
  (loop for place from (* 8 (1- count)) downto 0 by 8
        collect (ldb (byte 8 place) number)))

(defun receive ()
  "Return the next frame, or NIL at the end."
  (let ((header (make-array 4 :element-type '(unsigned-byte 8))))
    (when (= 4 (read-sequence header *in*))
      (let ((frame (make-array (number-in header 0 4) :element-type '(unsigned-byte 8))))
        (read-sequence frame *in*)
        frame))))

(defun say (letter &rest parts)
  (write-sequence (octets-of (1+ (reduce #'+ parts :key #'length)) 4) *out*)
  (write-byte (char-code letter) *out*)
  (dolist (part parts)
    (write-sequence part *out*))
  (finish-output *out*))

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

;;; Requests

(defparameter +limits+
  '(:task :json-task :tasks-memory :ahead :ahead-bytes :ahead-memory :delivered :heartbeat
    :heartbeats-memory :workers :models :heads :tags :capabilities :slots :name :detail :clients
    :remembered-ids :client-name :idle-shares :heads-told :named-models :incarnations :stopped))

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
      (#\P (core:core-take *core* (events:make-pong :peer (peer) :rtt 1000) *now*))
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
