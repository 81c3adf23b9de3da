(defpackage #:hydramesh/tests/head/shares
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:add-worker #:add-client #:unreachable
                #:ask #:status #:task #:tasks #:answer #:task-error #:task-errors)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Clients share the workers and the queue, whatever one of them sends."))
(in-package #:hydramesh/tests/head/shares)

(fiveam:def-suite shares :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite shares)

(defun serve (worker count)
  "Answer as many tasks, one after the other; return what they asked."
  (loop repeat count
        nconc (loop for task in (tasks worker)
                    collect (pb:text-task-prompt (pb:task-text task))
                    do (answer worker task))))

(defun asks (client name &rest fields &key (count 1) (seconds 1) &allow-other-keys)
  "Send tasks that cost as many SECONDS of a worker, more or less; return their ids."
  (dolist (key '(:count :seconds))
    (remf fields key))
  (loop repeat count
        collect (apply #'ask client
                       :text (pb:make-text-task :prompt name :max-tokens (* 50 seconds))
                       fields)))

(defun times (name served)
  (count name served :test #'string=))

(test a-flood-leaves-another-client-its-share
  (let* ((cluster (new-cluster :queue-size 5000))
         (worker (add-worker cluster :slots 1)))
    (asks (add-client cluster) "flood" :count 3000)
    (asks (add-client cluster) "other" :count 13)
    (is (= 13 (times "other" (serve worker 27))))))

(test a-flood-for-another-model-leaves-a-client-its-share
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 2 :models '("a" "b"))))
    (asks (add-client cluster) "flood" :count 80 :model "a")
    (asks (add-client cluster) "other" :count 10 :model "b")
    (is (= 10 (times "other" (serve worker 11))))))

(test a-share-is-of-what-tasks-cost-not-of-their-number
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1)))
    (asks (add-client cluster) "long" :count 20 :seconds 10)
    (asks (add-client cluster) "short" :count 50)
    (is (<= 3 (times "long" (serve worker 44)) 5))))

(test users-of-one-client-share-its-share-and-names-gain-nothing
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1))
         (gateway (add-client cluster 10))
         (direct (add-client cluster 11)))
    (asks gateway "busy" :count 40 :client "a")
    (loop for number below 20
          do (asks direct "direct" :client (format nil "name ~D" number)))
    (asks gateway "quiet" :count 5 :client "b")
    (let ((served (rest (serve worker 21))))
      (is (equal '(10 5 5) (loop for name in '("direct" "busy" "quiet") collect (times name served)))))))

(test ports-of-one-host-gain-nothing-against-another-host
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1)))
    (loop repeat 20 do (asks (add-client cluster 10) "ports" :count 2))
    (asks (add-client cluster 11) "other" :count 10)
    (is (= 10 (times "other" (rest (serve worker 21)))))))

(test who-comes-late-has-saved-up-nothing
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1))
         (early (add-client cluster))
         (late (add-client cluster)))
    (asks late "late")
    (serve worker 1)
    (asks early "early" :count 40)
    (serve worker 20)
    (asks late "late" :count 10)
    (is (= 5 (times "early" (serve worker 10))))))

(test one-at-a-time-pays-for-its-long-tasks
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1))
         (many (add-client cluster))
         (single (add-client cluster))
         (served '()))
    (asks many "many" :count 60)
    (loop repeat 50
          do (when (or (null served) (string= "single" (first served)))
               (asks single "single" :seconds 10))
             (push (first (serve worker 1)) served))
    (is (<= (times "single" served) 6))))

(test a-task-that-lost-its-worker-waits-for-no-turn
  (let* ((cluster (new-cluster))
         (lost (add-worker cluster :id "lost" :slots 1)))
    (asks (add-client cluster) "begun")
    (asks (add-client cluster) "other" :count 5)
    (let ((other (add-worker cluster :id "other" :slots 1)))
      (serve other 1)
      (unreachable lost)
      (is (string= "begun" (second (serve other 2)))))))

(test tasks-that-lost-their-worker-go-in-the-order-in-which-they-came
  (let* ((cluster (new-cluster))
         (lost (add-worker cluster :id "lost" :slots 4))
         (client (add-client cluster)))
    (dolist (name '("1" "2" "3" "4" "5" "6"))
      (asks client name))
    (unreachable lost)
    (let ((other (add-worker cluster :id "other" :slots 1)))
      (is (equal '("1" "2" "3" "4" "5" "6") (serve other 6))))))

(test a-full-queue-refuses-who-has-most-in-it-and-takes-in-others
  (let* ((cluster (new-cluster :queue-size 10))
         (worker (add-worker cluster :slots 1))
         (flood (add-client cluster 10))
         (other (add-client cluster 11))
         (sent (asks flood "flood" :count 12)))
    (is (equal (last sent) (mapcar #'pb:error-id (task-errors flood))))
    (asks other "other" :count 5)
    (is (equal (reverse (subseq sent 6 11)) (mapcar #'pb:error-id (task-errors flood))))
    (is (null (task-errors other)))
    (let ((refused (first (asks other "other")))
          (error (task-error other)))
      (is (equal (list refused pb:+queue-full+) (list (pb:error-id error) (pb:error-code error)))))
    (is (= 5 (times "other" (serve worker 11))))))

(test users-of-one-gateway-share-its-places-in-a-full-queue
  (let* ((cluster (new-cluster :queue-size 6))
         (gateway (add-client cluster)))
    (add-worker cluster :slots 1)
    (let ((sent (asks gateway "flood" :count 7 :client "flood")))
      (asks gateway "other" :count 3 :client "other")
      (is (equal (reverse (subseq sent 4)) (mapcar #'pb:error-id (task-errors gateway))))
      (is (= 6 (pb:cluster-status-queued (status gateway)))))))

(test workers-are-not-told-who-asks
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster)))
    (asks (add-client cluster) "x" :client "somebody")
    (is (string= "" (pb:task-client (task worker))))))

(test many-names-are-not-all-remembered-and-change-nothing
  (let* ((cluster (new-cluster :queue-size 5000))
         (worker (add-worker cluster :slots 1)))
    (loop for number below 1000
          do (asks (add-client cluster (mod number 250)) "names" :client (format nil "~D" number)))
    (is (= 1000 (length (serve worker 1000))))
    (asks (add-client cluster) "again")
    (is (equal '("again") (serve worker 1)))))

(test who-always-waits-is-served-no-less-than-another-but-for-one-task
  "The bound of start-time fair queueing, at every moment, for hosts and within them."
  (let ((*random-state* (sb-ext:seed-random-state 13)))
    (loop named rounds
          repeat 60
          do (let* ((cluster (new-cluster))
                    (worker (add-worker cluster :slots 1))
                    (clients (loop for host below 3 collect (add-client cluster (+ 10 host))))
                    (parties (make-hash-table :test 'equal)) ; what is left and what was served of each
                    (largest 0)
                    (count (+ 8 (random 52))))
               (asks (add-client cluster 99) "first") ; until it is answered, all others wait
               (loop repeat count
                     do (let ((host (random 3)) (user (random 3)) (seconds (1+ (random 8))))
                          (asks (nth host clients) (format nil "~D ~D ~D" host user seconds)
                                :seconds seconds :client (format nil "~D" user))
                          (dolist (party (list (list host) (list host user)))
                            (incf (car (or (gethash party parties)
                                           (setf (gethash party parties) (cons 0 0))))))
                          (setf largest (max largest (1+ seconds)))))
               (serve worker 1)
               (loop repeat count
                     do (let ((served (first (serve worker 1))))
                          (destructuring-bind (host user seconds)
                              (loop for place in '(0 2 4) collect (digit-char-p (char served place)))
                            (dolist (party (list (list host) (list host user)))
                              (decf (car (gethash party parties)))
                              (incf (cdr (gethash party parties)) seconds)))
                          (unless (fair-p parties largest)
                            (fiveam:fail "One party was served more than its share: ~S"
                                         (loop for party being the hash-keys of parties
                                                 using (hash-value amounts)
                                               collect (cons party amounts)))
                            (return-from rounds))))
               (fiveam:pass)))))

(defun fair-p (parties largest)
  (loop for one being the hash-keys of parties using (hash-value (one-left . one-served))
        always (loop for other being the hash-keys of parties using (hash-value (left . served))
                     always (or (/= (length one) (length other))
                                (not (equal (butlast one) (butlast other)))
                                (zerop one-left)
                                (zerop left)
                                (<= (- one-served served) (* 2 largest))))))
