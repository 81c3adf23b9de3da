(defpackage #:hydramesh/tests/bench
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events
                #:make-message #:octets #:seconds #:+heartbeat+ #:+result+ #:+task+)
  (:import-from #:hydramesh/head/core #:make-core #:core-statistics #:core-take)
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
  "A link behind which every task is answered: ATTEMPTS are the fields `id` of TASKs, as they came."
  (attempts '() :type list))

(defmethod link-send ((mirror mirror) to type payload)
  (declare (type octets payload))
  (when (= type +task+)
    (push (subseq payload 0 (1+ (position-if (lambda (octet) (< octet 128)) payload :start 1)))
          (mirror-attempts mirror)))
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

(defun serve (core mirror rest)
  "Let CORE have a worker's answer: the id of an attempt and REST."
  (core-take core
             (make-message :peer (worker-at 1) :type +result+
                           :payload (concatenate 'octets (pop (mirror-attempts mirror)) rest))
             +now+))

(defun answer-rest ()
  "Return a RESULT without its id."
  (pb:encode (pb:make-result :final t :text "there was a head." :worker-id "w1"
                             :tokens '(1 2 3 4)
                             :finish-reason pb:+finish-reason-stop+
                             :usage (pb:make-usage :prompt-tokens 4 :completion-tokens 4))))

(defun run (&key (tasks 200000) (workers 1) (waiting 0))
  "Print what a task costs, with that many WORKERS known, and that many tasks WAITING at any time."
  (let* ((mirror (make-mirror))
         (core (core-with workers mirror))
         (rest (answer-rest))
         (batch (coerce (loop for number from 1 to tasks collect (task number)) 'simple-vector)))
    (sb-ext:gc :full t)
    (let ((began (get-internal-run-time))
          (before (sb-ext:get-bytes-consed))
          (collected sb-ext:*gc-run-time*))
      (loop for task across batch
            for number from 1
            do (core-take core task +now+)
               (when (> number waiting)
                 (serve core mirror rest)))
      (loop while (mirror-attempts mirror)
            do (serve core mirror rest))
      (flet ((microseconds (time)
               (/ (* 1d6 time) internal-time-units-per-second tasks)))
        (assert (= tasks (statistics-done (core-statistics core))))
        (format t "~d worker~:p, ~d task~:p waiting: ~,2f µs and ~d bytes a task, of which ~,2f µs are garbage collection~%"
                workers
                waiting
                (microseconds (- (get-internal-run-time) began))
                (round (- (sb-ext:get-bytes-consed) before) tasks)
                (microseconds (- sb-ext:*gc-run-time* collected)))))))
