;;;; How long HydraMesh takes to choose a worker; tests/bench/decisions.py runs it.

(asdf:load-system "hydramesh")

(defpackage #:hydramesh/bench/decisions
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/answer-order #:make-answer-limits)
  (:import-from #:hydramesh/entropy #:make-entropy)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/head/clients #:make-client)
  (:import-from #:hydramesh/head/fallbacks #:place-or-fall-back)
  (:import-from #:hydramesh/head/group-ledger #:make-group-ledger)
  (:import-from #:hydramesh/head/in-force #:consider-policy #:in-force-replace)
  (:import-from #:hydramesh/head/job #:make-job)
  (:import-from #:hydramesh/head/limits #:make-head-limits)
  (:import-from #:hydramesh/head/registry #:make-registry #:registry-heard #:registry-in-force)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:work-of)
  (:local-nicknames (#:pb #:hydramesh/schema)))
(in-package #:hydramesh/bench/decisions)

(defparameter +now+ (seconds 1000))
(defparameter +workers+ 100)
(defparameter +rules+ 50)
(defparameter +batch+ 2000 "Decisions of which a time is the mean.")
(defparameter +batches+ 20)

(defun workers ()
  "Return a registry of workers that differ in all that the rules ask for."
  (let ((registry (make-registry (make-head-limits))))
    (dotimes (number +workers+ registry)
      (registry-heard registry
                      (pb:make-heartbeat
                       :worker-id (format nil "w~D" number) :incarnation 1 :state pb:+ready+ :slots 4
                       :backend (if (evenp number) pb:+cuda+ pb:+cpu+)
                       :tags (list (format nil "t~D" (mod number 10)))
                       :vram (pb:make-memory :total (ash 24 30) :free (ash (mod number 24) 30))
                       :models (list (pb:make-model-status :name "m" :state pb:+loaded+
                                                           :rate (+ 20d0 number))))
                      (ipv4 (+ #x0a000001 number) 7717)
                      +now+))))

(defun policy ()
  "Return a policy whose rules all match the task, so that each worker is judged by all of them."
  (read-policy
   (format nil "(policy \"bench\" (price power ((between 22:00 6:00) 0.21 EUR/kWh) (otherwise 0.34 EUR/kWh)) ~
                ~{~A~})"
           (loop for number below +rules+
                 for factor = (+ 1.1 (/ number 100))
                 collect (format nil "(rule \"r~D\" (when (= task.kind :text) (< task.size 4000)) ~A)" number
                                 (ecase (mod number 5)
                                   (0 (format nil "(prefer (has worker.tags :t~D) ~,2F)" (mod number 10) factor))
                                   (1 (format nil "(avoid (> worker.load 2) ~,2F)" factor))
                                   (2 "(exclude (and (= worker.backend :cpu) (< worker.free-vram 2 GiB)))")
                                   (3 "(weight (/ 0.34 EUR/kWh price.power))")
                                   (4 (format nil "(prefer (= worker.group 0) ~,2F)" factor))))))
   "bench"))

(defun job ()
  (let* ((entropy (make-entropy))
         (task (pb:make-task :id 1 :model "m" :stream t
                             :text (pb:make-text-task :prompt "Once upon a time" :max-tokens 200))))
    (make-job task nil 1 (work-of task) (make-client (ipv4 #x7f000001 1) entropy) nil 100
              (make-answer-limits) 1 +now+ (+ +now+ (seconds 600)) entropy)))

(defun middle (numbers)
  (nth (floor (length numbers) 2) (sort (copy-list numbers) #'<)))

(defun microseconds-of (policy)
  "Return how long a decision takes with POLICY, NIL for none: the middle of batches; and bytes that it makes."
  (let* ((registry (workers))
         (in-force (registry-in-force registry))
         (groups (make-group-ledger registry (make-head-limits) (constantly nil)))
         (job (job)))
    (in-force-replace in-force policy)
    (flet ((decide ()
             (or (place-or-fall-back registry groups job +now+
                                     (lambda (job) (consider-policy in-force job +now+ 0 +workers+)))
                 (error "nobody was chosen"))))
      (dotimes (count +batch+)
        (decide))
      (sb-ext:gc :full t)
      (let ((before (sb-ext:get-bytes-consed)))
        (values (middle (loop repeat +batches+
                              collect (let ((began (get-internal-run-time)))
                                        (dotimes (count +batch+)
                                          (decide))
                                        (/ (* 1d6 (- (get-internal-run-time) began))
                                           internal-time-units-per-second +batch+))))
                (round (- (sb-ext:get-bytes-consed) before) (* +batch+ +batches+)))))))

(loop for (title policy) in (list (list "no policy" nil)
                                  (list (format nil "a policy of ~D rules" +rules+) (policy)))
      do (multiple-value-bind (microseconds bytes) (microseconds-of policy)
           (format t "decision ~,2F ~D ~A~%" microseconds bytes title)))
