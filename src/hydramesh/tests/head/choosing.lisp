(defpackage #:hydramesh/tests/head/choosing
  (:use #:cl)
  (:import-from #:fiveam #:test)
  (:import-from #:hydramesh/answer-order #:answer-order-made-by #:make-answer-limits)
  (:import-from #:hydramesh/entropy #:make-entropy)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/clients #:make-client)
  (:import-from #:hydramesh/head/eligibility #:may-serve-p #:may-run-p)
  (:import-from #:hydramesh/head/in-force #:consider-policy #:in-force-replace #:judged)
  (:import-from #:hydramesh/head/job
                #:make-job #:job-answer #:job-failed-on #:job-kind #:job-model #:job-needs #:job-pinned
                #:job-prefix #:job-queued-at #:job-reading #:job-size #:job-tags)
  (:import-from #:hydramesh/head/limits #:make-head-limits)
  (:import-from #:hydramesh/head/read-prompts
                #:make-read-prompts #:bytes-read #:learn-kept #:note-read #:share-kept)
  (:import-from #:hydramesh/head/registry
                #:make-registry #:registry-heard #:registry-in-force #:registry-workers)
  (:import-from #:hydramesh/head/scheduling #:choose)
  (:import-from #:hydramesh/head/tags #:tag-subset-p)
  (:import-from #:hydramesh/head/verdicts
                #:explain-choice #:verdict-worker #:verdict-rank #:verdict-reason)
  (:import-from #:hydramesh/head/model-index #:worker-model-continues-p #:+on-disk+)
  (:import-from #:hydramesh/head/worker
                #:worker-id #:worker-process #:worker-state #:worker-serving-p #:worker-tags #:worker-load
                #:worker-models #:worker-slots #:worker-take #:worker-last-assignment #:worker-read)
  (:import-from #:hydramesh/head/worker-models
                #:worker-lacks-p #:worker-readiness #:worker-rate #:worker-began)
  (:import-from #:hydramesh/prompt-blocks #:hashes-in)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/work #:work-of #:work-kind-reading #:work-kind-shared)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "The choice of a worker is that of a description of it which is slow and simple, and
its explanation says the same."))
(in-package #:hydramesh/tests/head/choosing)

(fiveam:def-suite choosing :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite choosing)

;;; The description

(defun allowed-p (worker job)
  (and (member (job-pinned job) (list "" (worker-id worker)) :test #'string=)
       (not (member (worker-process worker) (job-failed-on job) :test #'equal))
       (tag-subset-p (job-tags job) (worker-tags worker))))

(defun candidates (workers job test)
  (let* ((there (remove-if-not test workers))
         (lacking (some (lambda (worker) (worker-lacks-p worker (job-model job) (job-needs job))) there)))
    (remove-if-not (lambda (worker)
                     (and (may-run-p worker job)
                          (allowed-p worker job)
                          (or (gethash (job-model job) (worker-models worker))
                              (not lacking))))
                   there)))

(defun described-choice (workers job now)
  (flet ((readiness (worker) (worker-readiness worker (job-model job)))
         (free-p (worker) (< (worker-load worker) (worker-slots worker))))
    (let* ((candidates (candidates workers job (lambda (worker) (= (worker-state worker) pb:+ready+))))
           (made-by (answer-order-made-by (job-answer job)))
           (same (and made-by
                      (remove-if-not (lambda (worker)
                                       (let ((known (gethash (job-model job) (worker-models worker))))
                                         (and known (worker-model-continues-p known made-by))))
                                     candidates)))
           (candidates (or same candidates))
           (free (remove-if-not #'free-p candidates)))
      (when free
        (let* ((best (reduce #'min free :key #'readiness))
               (equals (remove best free :key #'readiness :test #'/=)))
          (when (or (= best (reduce #'min candidates :key #'readiness))
                    (and (<= best +on-disk+) (>= (- now (job-queued-at job)) (seconds 2))))
            (done-first equals job)))))))

(defun left-to-do (worker job)
  (let ((read (worker-read worker))
        (reading (job-reading job)))
    (- (+ (job-size job) reading)
       (if read
           (* (min reading (* (work-kind-reading (job-kind job))
                              (bytes-read read (job-model job) (job-prefix job))))
              (share-kept read (job-model job)))
           0))))

(defun done-first (workers job)
  (flet ((rate (worker) (worker-rate worker (job-model job))))
    (let ((fastest (reduce #'max workers :key #'rate)))
      (flet ((order (worker)
               (list (* (/ (left-to-do worker job)
                           (cond ((plusp (rate worker)) (rate worker)) ((plusp fastest) fastest) (t 1)))
                        (1+ (if (work-kind-shared (job-kind job))
                                (/ (worker-load worker) (float (worker-slots worker) 1d0))
                                (worker-load worker))))
                     (worker-last-assignment worker))))
        (first (stable-sort (copy-list workers)
                            (lambda (one other)
                              (or (< (first one) (first other))
                                  (and (= (first one) (first other)) (< (second one) (second other)))))
                            :key #'order))))))

;;; Any cluster

(defun any (&rest choices)
  (nth (random (length choices)) choices))

(defun any-identity ()
  (any nil (pb:make-model-identity :weights "one") (pb:make-model-identity :weights "other")))

(defun any-models ()
  (loop for name in '("m" "o/m" "n")
        when (plusp (random 3))
          collect (pb:make-model-status
                   :name name
                   :state (any pb:+loaded+ pb:+loaded+ pb:+loading+ pb:+available+ pb:+downloading+
                               pb:+failed+ 99)
                   :kind (any pb:+text+ pb:+text+ pb:+image+ 0)
                   :rate (any 0d0 10d0 20d0)
                   :identity (any-identity)
                   :capabilities (any-capabilities))))

(defun any-capabilities ()
  (let ((told (any '() '() (list pb:+complete+) (list pb:+chat+ 500 -3))))
    (make-array (length told) :element-type '(signed-byte 32) :initial-contents told)))

(defun any-registry ()
  (let ((registry (make-registry (make-head-limits)))
        (given 0))
    (loop for number from 1 to (random 8)
          do (let ((worker (registry-heard
                            registry
                            (pb:make-heartbeat
                             :worker-id (format nil "w~D" number)
                             :incarnation 1
                             :state (any pb:+ready+ pb:+ready+ pb:+ready+ pb:+starting+ pb:+draining+)
                             :slots (1+ (random 3))
                             :can-download (any t nil)
                             :tags (any '() '("a") '("b" "a"))
                             :models (any-models))
                            (ash number 16)
                            1000)))
               (loop repeat (random 4)
                     do (worker-take worker (random 1000))
                        (setf (worker-last-assignment worker) (incf given)))
               (when (zerop (random 5))
                 (worker-began worker (any "m" "o/m" "x")))
               (when (zerop (random 2))
                 (setf (worker-read worker) (any-read)))))
    registry))

(defun any-prefix ()
  (let ((begins (random 2)))
    (coerce (loop for octet below (* 8 (random 20)) collect (logxor octet begins))
            '(simple-array (unsigned-byte 8) (*)))))

(defun any-read ()
  (let ((read (make-read-prompts 1024 (make-entropy))))
    (loop repeat (random 3)
          do (note-read read (any "m" "o/m") (hashes-in (any-prefix)))
             (learn-kept read "m" (any 0d0 0.5d0 1d0)))
    read))

(defun any-job ()
  (let ((task (pb:make-task
               :id 1
               :model (any "m" "m" "o/m" "x/y" "z")
               :worker-id (any "" "" "" "w1")
               :tags (any '() '() '("a"))
               :prefix (any-prefix)
               :resume (any nil (pb:make-resume :text "t" :index 1 :model (any-identity))))))
    (if (plusp (random 3))
        (setf (pb:task-text task) (pb:make-text-task :prompt "p"))
        (setf (pb:task-image task) (pb:make-image-task :prompt "p")))
    (let ((job (make-job task '() 1 (work-of task) (make-client 1 (make-entropy)) nil (any 100 4000)
                         (make-answer-limits) 1 0 (seconds 60) (make-entropy))))
      (setf (job-failed-on job) (any '() '() (list (cons "w2" 1))))
      job)))

(test the-choice-is-as-described-and-as-explained
  (let ((*random-state* (sb-ext:seed-random-state 13)))
    (loop repeat 4000
          do (let* ((registry (any-registry))
                    (workers (registry-workers registry))
                    (job (any-job))
                    (now (seconds (any 1 3)))
                    (described (described-choice workers job now))
                    (chosen (choose registry job now))
                    (verdicts (explain-choice registry job now)))
               (unless (and (eq chosen described)
                            (eq chosen (let ((first (find 1 verdicts :key #'verdict-rank)))
                                         (and first (verdict-worker first))))
                            (eq (and (may-serve-p registry job) t)
                                (and (candidates workers job #'worker-serving-p) t))
                            (= (length verdicts) (length workers))
                            (every (lambda (verdict)
                                     (if (verdict-rank verdict)
                                         (null (verdict-reason verdict))
                                         (verdict-reason verdict)))
                                   verdicts))
                 (fiveam:fail "~A is chosen, and not ~A, for ~A of ~A: ~A"
                              chosen described job workers verdicts)
                 (return)))
          finally (fiveam:pass))))

;;; With a policy

(defun any-policy ()
  (read-policy (format nil "(policy \"any\" (rule \"one\" ~A) (rule \"two\" ~A))"
                       (any "(exclude (has worker.tags :a))" "(require (has worker.tags :b))"
                            "(exclude (> worker.load 0))" "(exclude (= worker.readiness :loaded))")
                       (any "(prefer (has worker.tags :b) 5)" "(avoid (> worker.load 0) 4)"
                            "(weight (+ 1 worker.free-slots))" "(when (= task.kind :image)) (exclude)"))
               "any"))

(test the-choice-by-a-policy-is-as-explained-and-never-one-that-it-excludes
  (let ((*random-state* (sb-ext:seed-random-state 17))
        (chosen-p nil))
    (loop repeat 4000
          do (let* ((registry (any-registry))
                    (in-force (registry-in-force registry))
                    (job (any-job))
                    (now (seconds (any 1 3))))
               (in-force-replace in-force (any-policy))
               (consider-policy in-force job now 0 (length (registry-workers registry)))
               (let* ((chosen (choose registry job now))
                      (verdicts (explain-choice registry job now))
                      (first (find 1 verdicts :key #'verdict-rank)))
                 (setf chosen-p (or chosen-p chosen))
                 (unless (and (eq chosen (and first (verdict-worker first)))
                              (or (null chosen) (judged in-force chosen job)))
                   (fiveam:fail "~A is chosen for ~A: ~A" chosen job verdicts)
                   (return))))
          finally (fiveam:is-true chosen-p))))
