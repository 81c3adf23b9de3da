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
  (:import-from #:hydramesh/head/job #:job-prefix #:make-job)
  (:import-from #:hydramesh/head/limits #:make-head-limits)
  (:import-from #:hydramesh/head/patience #:worth-waiting)
  (:import-from #:hydramesh/head/read-prompts #:make-read-prompts #:note-read)
  (:import-from #:hydramesh/head/registry
                #:make-registry #:registry-heard #:registry-in-force #:registry-workers)
  (:import-from #:hydramesh/head/turnaround #:turnaround-ended)
  (:import-from #:hydramesh/head/worker #:worker-read #:worker-take #:worker-turnaround)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/prompt-blocks #:read-bytes)
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

(defun job (&optional (hashes 0))
  "Return a job, whose prompt is as long as so many HASHES tell of."
  (let* ((entropy (make-entropy))
         (prefix (make-array (* 8 hashes) :element-type '(unsigned-byte 8) :initial-element 1))
         (size (+ 100 (read-bytes hashes)))
         (task (pb:make-task :id 1 :model "m" :stream t :prefix prefix
                             :text (pb:make-text-task :prompt "Once upon a time" :max-tokens 200))))
    (dotimes (place hashes)
      (setf (aref prefix (* 8 place)) (+ 192 place))) ; most hashes are no fixnums
    (make-job task nil 1 (work-of task) (make-client (ipv4 #x7f000001 1) entropy) nil size
              (make-answer-limits) 1 +now+ (+ +now+ (seconds 600)) entropy)))

(defparameter +hashes+ 64 "The most that count.")

(defun readers (share job &key busy)
  "Return a registry of workers that have read much, and a SHARE of them the prompt of JOB. Those of these that are
BUSY, another share, have no slot free."
  (let ((registry (workers))
        (entropy (make-entropy)))
    (loop for worker in (registry-workers registry)
          for number from 0
          for read = (make-read-prompts 1024 entropy)
          do (loop for first from 0 below 900 by +hashes+
                   do (note-read read "m" (coerce (loop for place below +hashes+
                                                        collect (+ (ash 1 40) (* 1000 number) first place))
                                                  '(simple-array (unsigned-byte 64) (*)))))
             (when (< number (* share +workers+))
               (note-read read "m" (job-prefix job))
               (turnaround-ended (worker-turnaround worker) (seconds 2) +now+)
               (when (and busy (< number (* busy share +workers+)))
                 (dotimes (attempt 4)
                   (worker-take worker attempt))))
             (setf (worker-read worker) read))
    registry))

(defun middle (numbers)
  (nth (floor (length numbers) 2) (sort (copy-list numbers) #'<)))

(defun microseconds-of (registry job &optional policy)
  "Return how long a decision for JOB takes with POLICY: the middle of batches; and bytes that it makes."
  (let* ((in-force (registry-in-force registry))
         (groups (make-group-ledger registry (make-head-limits) (constantly nil))))
    (in-force-replace in-force policy)
    (flet ((decide ()
             (let ((chosen (or (place-or-fall-back registry groups job +now+
                                                   (lambda (job)
                                                     (consider-policy in-force job +now+ 0 +workers+)))
                               (error "nobody was chosen"))))
               (worth-waiting registry chosen job +now+))))
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

(let ((chat (job +hashes+)))
  (loop for (title registry job policy)
          in (list (list "no policy" (workers) (job) nil)
                   (list (format nil "a policy of ~D rules" +rules+) (workers) (job) (policy))
                   (list "64 hashes that nobody has read" (readers 0 chat) chat nil)
                   (list "that one has read" (readers 1/100 chat) chat nil)
                   (list "that half have read" (readers 1/2 chat) chat nil)
                   (list "that all have read" (readers 1 chat) chat nil)
                   (list "half, of which half are busy" (readers 1/2 chat :busy 1/2) chat nil)
                   (list "half, and all of them busy" (readers 1/2 chat :busy 1) chat nil))
        do (multiple-value-bind (microseconds bytes) (microseconds-of registry job policy)
             (format t "decision ~,2F ~D ~A~%" microseconds bytes title))))
