(defpackage #:hydramesh/tests/domain/asking
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:is-true #:signals)
  (:import-from #:hydramesh/address #:ipv4 #:format-address)
  (:import-from #:hydramesh/client/client #:client-act #:client-due #:client-take #:make-client)
  (:import-from #:hydramesh/domain/asking #:ask #:cancel-call #:embed #:paint #:transcribe)
  (:import-from #:hydramesh/domain/limits #:+calls+)
  (:import-from #:hydramesh/domain/node #:*node* #:make-node)
  (:import-from #:hydramesh/errors #:task-error-name)
  (:import-from #:hydramesh/events
                #:make-message #:make-pong #:make-unreachable #:seconds #:+task+ #:+result+ #:+error+
                #:+cancel+
                #:+heartbeat+)
  (:import-from #:hydramesh/head/link #:link-send #:link-ping #:link-trust)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "A program that asks the cluster, whose heads are this test."))
(in-package #:hydramesh/tests/domain/asking)

(fiveam:def-suite asking :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite asking)

(defparameter +one+ (ipv4 #x7f000001 7717))
(defparameter +other+ (ipv4 #x7f000001 7727))

(defstruct world
  "A node with a client whose heads are +ONE+ and +OTHER+. SENT are (address type message), the newest first;
ALIVE are the heads that answer PINGs."
  client
  node
  (now (seconds 1000))
  (sent '())
  (alive (list +one+ +other+)))

(defun new-world (&rest options)
  (let ((world (apply #'make-world options)))
    (setf (world-client world) (make-client world (list +one+ +other+) (world-now world))
          (world-node world) (make-node nil (world-now world) :client (world-client world)))
    world))

(defmethod link-trust ((world world) peer)
  nil)

(defmethod link-ping ((world world) to)
  (when (member to (world-alive world))
    (client-take (world-client world) (make-pong :peer to :rtt 1000) (world-now world))))

(defmethod link-send ((world world) to type payload)
  (push (list to type (cond ((= type +task+) (pb:decode 'pb:task payload))
                            ((= type +cancel+) (pb:decode 'pb:cancel payload))))
        (world-sent world))
  1)

(defun pass-time (world seconds)
  (loop repeat (* 10 seconds)
        do (incf (world-now world) (seconds 1/10))
           (let ((due (client-due (world-client world))))
             (when (and due (>= (world-now world) due))
               (client-act (world-client world) (world-now world))))))

(test what-cannot-be-asked-is-an-error-and-takes-none-of-the-calls
  (let* ((world (new-world)) (*node* (world-node world)) (failures '()))
    (dotimes (time 100)
      (signals error (ask "m" "hello" :stop '(5)))
      (signals error (embed "m" '("a" 5))))
    (ask "m" "hello" :else (lambda (failure) (push failure failures)))
    (is (null failures))
    (is (= 1 (length (tasks world))))))

(defun tasks (world &optional (type +task+))
  "Return (address message) of what was sent, in order."
  (loop for (to of message) in (reverse (world-sent world))
        when (= of type) collect (list to message)))

(defun last-task (world)
  (first (last (tasks world))))

(defun answer (world task &rest fields)
  (client-take (world-client world)
               (make-message :peer (first task) :type +result+
                             :payload (pb:encode (apply #'pb:make-result
                                                        :id (pb:task-id (second task)) fields)))
               (world-now world)))

(defun fail-task (world task code)
  (client-take (world-client world)
               (make-message :peer (first task) :type +error+
                             :payload (pb:encode (pb:make-error :id (pb:task-id (second task))
                                                                :code code :message "no")))
               (world-now world)))

(defmacro asking ((world) form)
  "Do FORM as a handler does; return what becomes of it, a list to which THEN, ELSE and PART push."
  `(let ((told (list '())))
     (flet ((then (answer) (push (list :then answer) (car told)))
            (part (text) (push (list :part text) (car told)))
            (else (error) (push (list :else (task-error-name error)) (car told))))
       (declare (ignorable #'then #'part #'else))
       (let ((*node* (world-node ,world)))
         ,form))
     told))

(defun told (told)
  (reverse (car told)))

(test an-answer-comes-in-pieces-and-whole
  (let* ((world (new-world))
         (told (asking (world) (ask "m" "hello" :system "be kind" :max-tokens 4 :temperature 0
                                                :part #'part :then #'then :else #'else)))
         (task (last-task world)))
    (is (= +one+ (first task)))
    (is (equal '("system" "user")
               (mapcar #'pb:chat-message-role (pb:text-task-messages (pb:task-text (second task))))))
    (is-true (pb:task-stream (second task)))
    (answer world task :index 1 :text "lo")
    (answer world task :index 0 :text "hel")
    (answer world task :index 2 :text "!" :final t)
    (answer world task :index 3 :text "more" :final t)
    (is (equal '((:part "hel") (:part "lo") (:part "!") (:then "hello!")) (told told)))))

(test another-model-that-begins-again-voids-what-was-said
  (let* ((world (new-world))
         (told (asking (world) (ask "m" "hello" :part #'part :then #'then)))
         (task (last-task world)))
    (answer world task :index 0 :text "wrong")
    (answer world task :index 1 :text "right" :started-over t)
    (answer world task :index 2 :final t)
    (is (equal '((:part "wrong") (:part nil) (:part "right") (:then "right")) (told told)))))

(test a-task-moves-to-another-head-and-goes-on
  (let* ((world (new-world))
         (told (asking (world) (ask "m" "hello" :part #'part :then #'then :else #'else)))
         (first (last-task world)))
    (pass-time world 2)
    (answer world first :index 0 :text "he" :tokens (coerce '(1 2) '(simple-array (unsigned-byte 32) (*))))
    (setf (world-alive world) (list +other+))
    (pass-time world 6)
    (let ((second (last-task world)))
      (is (= +other+ (first second)))
      (is (string= "he" (pb:resume-text (pb:task-resume (second second)))))
      (is (= 1 (pb:resume-index (pb:task-resume (second second)))))
      (answer world first :index 1 :text "late" :final t)
      (answer world second :index 1 :text "llo" :final t)
      (is (equal '((:part "he") (:part "llo") (:then "hello")) (told told))))))

(test a-head-that-shuts-down-passes-its-tasks-on
  (let ((world (new-world)))
    (asking (world) (ask "m" "x"))
    (pass-time world 2)
    (fail-task world (last-task world) pb:+shutting-down+)
    (is (= +other+ (first (last-task world))))))

(test a-task-of-which-nothing-is-heard-is-sent-again
  (let ((world (new-world)))
    (asking (world) (ask "m" "x"))
    (pass-time world 12)
    (is (<= 2 (length (tasks world)) 3))
    (is (= 1 (length (remove-duplicates (mapcar (lambda (task) (pb:task-id (second task)))
                                                (tasks world))))))))

(test without-a-head-the-error-says-so
  (let* ((world (new-world :alive '()))
         (told (asking (world) (ask "m" "x" :then #'then :else #'else))))
    (pass-time world 10)
    (is (equal '((:else "HEAD_UNREACHABLE")) (told told)))))

(test an-error-is-told-once
  (let* ((world (new-world))
         (told (asking (world) (ask "m" "x" :then #'then :else #'else)))
         (task (last-task world)))
    (fail-task world task pb:+model-not-found+)
    (fail-task world task pb:+internal+)
    (answer world task :index 0 :final t)
    (is (equal '((:else "MODEL_NOT_FOUND")) (told told)))))

(test no-more-tasks-than-the-bound-are-in-flight
  (let ((world (new-world)) (told '()))
    (dotimes (number (1+ +calls+))
      (push (asking (world) (ask "m" "x" :then #'then :else #'else)) told))
    (is (= +calls+ (length (tasks world))))
    (is (equal '((:else "QUEUE_FULL")) (told (first told))))
    (answer world (last-task world) :index 0 :text "y" :final t)
    (is (null (told (asking (world) (ask "m" "x" :then #'then :else #'else)))))
    (is (= (1+ +calls+) (length (tasks world))))))

(test a-call-that-is-cancelled-tells-nothing
  (let* ((world (new-world)) (call nil)
         (told (asking (world) (setf call (ask "m" "x" :then #'then :else #'else)))))
    (cancel-call call)
    (cancel-call call)
    (is (= 1 (length (tasks world +cancel+))))
    (answer world (last-task world) :index 0 :final t)
    (is (null (told told)))))

(test strangers-answer-nothing
  (let* ((world (new-world))
         (told (asking (world) (ask "m" "x" :then #'then :else #'else)))
         (task (last-task world)))
    (answer world (list (ipv4 #x7f000001 9) (second task)) :index 0 :text "lie" :final t)
    (client-take (world-client world) (make-message :peer (first task) :type +result+
                                                    :payload (coerce #(255 255) 'hydramesh/events:octets))
                 (world-now world))
    (is (null (told told)))))

(test images-numbers-and-transcripts-are-what-they-are-in-lisp
  (let ((world (new-world)) (png (coerce #(1 2 3) 'hydramesh/events:octets)))
    (let ((told (asking (world) (paint "p" "a cat" :width 64 :seed 1 :then #'then))))
      (answer world (last-task world) :index 0 :progress (pb:make-progress :phase "steps" :done 1 :total 2))
      (answer world (last-task world) :index 1 :images (list (pb:make-image :png png)) :final t)
      (is (equalp (list (list :then png)) (told told))))
    (let ((told (asking (world) (embed "e" "one" :then #'then)))
          (values (coerce '(1.0 2.0) '(simple-array single-float (*)))))
      (answer world (last-task world) :index 0 :embeddings (list (pb:make-embedding :values values)) :final t)
      (is (equalp (list (list :then (list values))) (told told))))
    (let ((told (asking (world) (embed "e" '("one" "two") :then #'then :else #'else))))
      (answer world (last-task world) :index 0 :final t)
      (is (equal '((:else "INTERNAL")) (told told))))
    (let ((told (asking (world) (transcribe "w" png :then #'then))))
      (answer world (last-task world) :index 0 :text "said" :final t)
      (is (equal '((:then "said")) (told told))))))
