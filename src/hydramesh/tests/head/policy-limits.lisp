(defpackage #:hydramesh/tests/head/policy-limits
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/head/core #:core-dispatcher)
  (:import-from #:hydramesh/head/enforcing #:enforce)
  (:import-from #:hydramesh/policy/policy #:policy-rules #:read-policy)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:cluster-now #:pass-time #:add-worker #:add-client #:ask #:tasks
                #:task #:answer #:results #:status #:task-error #:task-errors #:unreachable)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What a policy does to tasks that it makes wait, and what it cannot do."))
(in-package #:hydramesh/tests/head/policy-limits)

(fiveam:def-suite policy-limits :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite policy-limits)

(defun put (cluster policy)
  "Have POLICY, or one that has what that text says, decide in CLUSTER."
  (enforce (core-dispatcher (cluster-core cluster))
           (if (stringp policy)
               (read-policy (format nil "(policy \"a test\" ~A)" policy) "test")
               policy)
           (cluster-now cluster)))

(test a-task-waits-while-a-rule-keeps-it-that-may-say-something-else-later
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (put cluster "(rule \"later\" (exclude (< task.waited 30 s)))")
    (ask client)
    (pass-time cluster 25)
    (is (null (tasks worker)))
    (is (null (task-errors client)))
    (pass-time cluster 6)
    (is (task worker))))

(test a-task-that-waited-for-a-policy-until-its-deadline-is-told-so
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster)
    (put cluster "(rule \"not yet\" (exclude (< task.waited 1 h)))")
    (ask client :deadline-ms 20000)
    (pass-time cluster 21)
    (let ((error (task-error client)))
      (is (= pb:+deadline-exceeded+ (pb:error-code error)))
      (is (search "\"not yet\"" (pb:error-message error))))))

(test a-task-that-a-rule-keeps-does-not-hold-up-others-with-its-model
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (put cluster "(rule \"patience\" (when (= task.client \"one\")) (exclude (< task.waited 1 h)))")
    (ask client :client "one")
    (pass-time cluster 1)
    (ask client :client "other" :text (pb:make-text-task :prompt "hello" :max-tokens 7))
    (pass-time cluster 1)
    (is (= 7 (pb:text-task-max-tokens (pb:task-text (task worker)))))))

(test what-is-reserved-for-a-client-is-kept-for-it-whatever-others-ask
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 2))
         (client (add-client cluster)))
    (put cluster "(rule \"half\" (reserve (= worker.id \"w\") (for (= task.client \"accounts\"))
                                        (share 50 %)))")
    (ask client)
    (ask client)
    (pass-time cluster 1)
    (let ((others (tasks worker)))
      (is (= 1 (length others)))
      (ask client :client "accounts")
      (let ((reserved (task worker)))
        (answer worker (first others))
        (pass-time cluster 1)
        (is (= 1 (length (tasks worker))))
        ;; The slot of the one for which it is stays reserved once that is free.
        (answer worker reserved)
        (ask client)
        (pass-time cluster 1)
        (is (null (tasks worker)))))))

(test an-answer-that-has-begun-is-not-gone-on-with-by-a-fallback
  (let* ((cluster (new-cluster))
         (big (add-worker cluster :id "big" :models '("big")))
         (small (add-worker cluster :id "small" :models '("small")))
         (client (add-client cluster)))
    (put cluster "(rule \"r\" (when (= task.model \"big\")) (fallback \"small\"))")
    (ask client :model "big" :stream t)
    (answer big (task big) :text "It was" :final nil)
    (is (= 1 (length (results client))))
    (unreachable big)
    (pass-time cluster 5)
    (is (null (tasks small)))))

(test a-fault-in-a-policy-excludes-and-stops-nothing
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster))
         (policy (read-policy "(policy \"faulty\" (rule \"r\" (weight 2)))" "test")))
    (setf (svref (policy-rules policy) 0)
          (hydramesh/policy/policy::make-rule :task-test (lambda (&rest views) (error "~S" views))))
    (put cluster policy)
    (ask client)
    (pass-time cluster 15)
    (is (null (tasks worker)))
    (is (task-error client))
    (put cluster nil)
    (ask client)
    (is (task worker))))

(test an-explanation-names-the-rules-that-spoke-of-each-worker
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :id "solar" :tags '("solar"))
    (add-worker cluster :id "spot" :tags '("spot"))
    (put cluster "(rule \"sun\" (prefer (has worker.tags :solar) 3))
                  (rule \"no spot\" (exclude (has worker.tags :spot)))")
    (ask client)
    (let* ((number (pb:task-status-number (first (pb:cluster-status-tasks (status client :tasks t)))))
           (verdicts (pb:explanation-verdicts
                      (pb:cluster-status-explanation (status client :explain number))))
           (told (status client :policy t)))
      (is (equal '("solar" "spot") (mapcar #'pb:verdict-worker-id verdicts)))
      (is (equal '(t nil) (mapcar #'pb:verdict-chosen verdicts)))
      (is (search "sun" (first (pb:verdict-rules (first verdicts)))))
      (is (search "no spot" (first (pb:verdict-rules (second verdicts)))))
      (is (search "excluded by the policy: no spot" (pb:verdict-reason (second verdicts))))
      (is (= 2 (pb:policy-status-rules (pb:cluster-status-policy told))))
      (is (search "(rule" (pb:policy-status-text (pb:cluster-status-policy told))))
      (is (string= "" (pb:policy-status-text (pb:cluster-status-policy (status client))))))))

;;; Those that wait together

(defun sized (client tokens &rest more)
  "Ask for so many TOKENS; return the task's id."
  (apply #'ask client :text (pb:make-text-task :prompt "hello" :max-tokens tokens) more))

(defun lengths (worker)
  "Return how many tokens each task asks for that WORKER has got."
  (mapcar (lambda (task) (pb:text-task-max-tokens (pb:task-text task))) (tasks worker)))

(test a-task-that-a-rule-forbids-does-not-take-those-with-it-which-the-rule-allows
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 1))
         (client (add-client cluster)))
    (put cluster "(rule \"no long ones\" (exclude (> task.size 400 tokens)))")
    (sized client 1)
    (let ((first (task worker)))
      (sized client 2)
      (sized client 1000)
      (sized client 3)
      (answer worker first)
      (is (equal '(2) (lengths worker))))
    (pass-time cluster 25)
    (is (search "no long ones" (pb:error-message (task-error client))))
    (is (null (task-errors client)) "the third waits")))

(test a-task-that-a-rule-lets-run-does-not-wait-for-one-that-it-does-not
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 3))
         (client (add-client cluster)))
    (put cluster "(rule \"long ones run alone\" (exclude (and (> task.size 400 tokens) (> worker.load 0))))")
    (sized client 1)
    (let ((first (task worker)))
      (sized client 1000)
      (is (null (tasks worker)))
      (sized client 2)
      (let ((second (task worker)))
        (is (= 2 (pb:text-task-max-tokens (pb:task-text second))))
        (answer worker first)
        (answer worker second))
      (is (equal '(1000) (lengths worker))))))

(test a-task-that-was-patient-is-not-held-up-by-one-that-was-not
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 2))
         (client (add-client cluster)))
    (put cluster "(rule \"not at once\" (exclude (< task.waited 5 s)))")
    (sized client 1 :client "one")
    (pass-time cluster 4)
    (sized client 2 :client "two")
    (pass-time cluster 2)
    (is (equal '(1) (lengths worker)))
    (pass-time cluster 4)
    (is (equal '(2) (lengths worker)))))

;;; Models that several workers hold

(defun lender (cluster id number takes)
  "Add a worker with 4 GiB, of which it lends all; the model \"m\" TAKES so many GiB there, unless that is 0."
  (add-worker cluster :id id
                      :models (if (zerop takes)
                                  '()
                                  (list (pb:make-model-status :name "m" :state pb:+available+
                                                              :needs (ash takes 30))))
                      :ram (pb:make-memory :total (ash 4 30) :free (ash 4 30))
                      :shard (pb:make-shard-offer :address (format nil "192.0.2.1:~D" number)
                                                  :bytes (ash 4 30))))

(test a-task-waits-while-a-rule-keeps-it-from-who-would-lead-those-that-hold-its-model
  (let* ((cluster (new-cluster :worker-timeout 10))
         (lead (lender cluster "lead" 7801 7))
         (client (add-client cluster)))
    (lender cluster "other" 7802 0)
    (put cluster "(rule \"later\" (when (= worker.id \"lead\")) (exclude (< task.waited 30 s)))")
    (ask client)
    (pass-time cluster 25)
    (is (null (task-errors client)))
    (is (null (tasks lead)))
    (pass-time cluster 6)
    (is (= 1 (length (pb:shard-plan-members (pb:task-shards (task lead))))))))

(test a-task-that-a-lasting-rule-keeps-from-who-would-lead-fails-with-its-name
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (lender cluster "lead" 7801 7)
    (lender cluster "other" 7802 0)
    (put cluster "(rule \"not there\" (exclude (= worker.id \"lead\")))")
    (ask client)
    (is (search "not there" (pb:error-message (task-error client))))))
