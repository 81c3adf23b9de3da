(defpackage #:hydramesh/tests/bench
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events
                #:make-message #:octets #:seconds #:+heartbeat+ #:+result+ #:+task+)
  (:import-from #:hydramesh/head/core #:make-core #:core-statistics #:core-take #:core-tick)
  (:import-from #:hydramesh/head/dispatcher #:make-policy)
  (:import-from #:hydramesh/head/link #:link-send #:link-ping #:link-forget)
  (:import-from #:hydramesh/head/statistics #:statistics-done)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:run)
  (:documentation "How much processor time the sans-IO core takes for a small task: a TASK in, a TASK out, a RESULT in, a RESULT out.

    src/hydramesh/build.sh lisp --eval '(asdf:load-system \"hydramesh/tests/bench\")' \\
        --eval '(hydramesh/tests/bench:run)' --quit"))
(in-package #:hydramesh/tests/bench)

(defstruct mirror
  "A link behind which every task is answered: ATTEMPT is the field `id` of the last TASK, as it came."
  (attempt (make-array 0 :element-type '(unsigned-byte 8)) :type octets))

(defmethod link-send ((mirror mirror) to type payload)
  (declare (type octets payload))
  (when (= type +task+)
    (setf (mirror-attempt mirror)
          (subseq payload 0 (1+ (position-if (lambda (octet) (< octet 128)) payload :start 1)))))
  t)

(defmethod link-ping ((mirror mirror) to))
(defmethod link-forget ((mirror mirror) peer))

(defparameter +client+ (ipv4 #xc0000201 1))
(defparameter +now+ (seconds 1000))

(defun worker-at (number)
  (ipv4 #xc0000202 number))

(defun core-with (workers mirror)
  "Return a core that knows that many WORKERS."
  (let ((core (make-core (make-policy :worker-timeout (seconds 10)
                                      :queue-size 1000
                                      :task-deadline (seconds 600)
                                      :max-attempts 3)
                         mirror +now+)))
    (loop for number from 1 to workers
          do (core-take core
                        (make-message
                         :peer (worker-at number) :type +heartbeat+
                         :payload (pb:encode
                                   (pb:make-heartbeat
                                    :worker-id (format nil "w~d" number) :incarnation 1
                                    :state pb:+ready+ :slots 4
                                    :models (list (pb:make-model-status
                                                   :name "daiic-tiny-chat" :state pb:+loaded+
                                                   :kind pb:+text+ :rate 50d0)))))
                        +now+))
    core))

(defun task (number)
  (make-message :peer +client+ :type +task+ :sequence (ldb (byte 32 0) number)
                :payload (pb:encode
                          (pb:make-task
                           :id number :model "daiic-tiny-chat" :worker-id "w1"
                           :text (pb:make-text-task :prompt "Once upon a time" :max-tokens 16)))))

(defun serve (core mirror task rest)
  "Let CORE have TASK and its worker's answer, the id and REST."
  (core-take core task +now+)
  (core-take core
             (make-message :peer (worker-at 1) :type +result+
                           :payload (concatenate 'octets (mirror-attempt mirror) rest))
             +now+))

(defun run (&key (tasks 200000) (workers 1))
  "Print what a task costs, with that many WORKERS known."
  (let* ((mirror (make-mirror))
         (core (core-with workers mirror))
         (rest (pb:encode (pb:make-result :final t :text "there was a head." :worker-id "w1"
                                          :tokens (coerce '(1 2 3 4) '(simple-array (unsigned-byte 32) (*)))
                                          :finish-reason pb:+finish-reason-stop+
                                          :usage (pb:make-usage :prompt-tokens 4 :completion-tokens 4))))
         (batch (coerce (loop for number from 1 to tasks collect (task number)) 'simple-vector)))
    (sb-ext:gc :full t)
    (let ((began (get-internal-run-time))
          (before (sb-ext:get-bytes-consed))
          (collected sb-ext:*gc-run-time*))
      (loop for task across batch
            do (serve core mirror task rest))
      (let ((microseconds (/ (* 1d6 (- (get-internal-run-time) began)) internal-time-units-per-second)))
        (assert (= tasks (statistics-done (core-statistics core))))
        (format t "~d workers: ~,2f µs and ~d bytes a task, of which ~,2f µs are garbage collection~%"
                workers
                (/ microseconds tasks)
                (round (- (sb-ext:get-bytes-consed) before) tasks)
                (/ (* 1d6 (/ (- sb-ext:*gc-run-time* collected) internal-time-units-per-second))
                   tasks))))))
