(defpackage #:hydramesh/head/metrics
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/head/breaker #:breaker-retry-at)
  (:import-from #:hydramesh/head/core #:core-dispatcher #:core-heads #:core-nodes #:core-statistics)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-workers #:dispatcher-queue #:dispatcher-policy #:dispatcher-in-flight
                #:policy-queue-size)
  (:import-from #:hydramesh/head/heads #:heads-exchange #:master-p)
  (:import-from #:hydramesh/head/job-queue #:job-queue-length)
  (:import-from #:hydramesh/head/nodes #:nodes-count)
  (:import-from #:hydramesh/head/proximity #:proximity-group #:proximity-health)
  (:import-from #:hydramesh/head/registry #:registry-workers)
  (:import-from #:hydramesh/head/statistics
                #:+bounds+ #:durations-counts #:durations-sum
                #:statistics-outcomes #:statistics-moved #:statistics-hedged #:statistics-hedges-won
                #:statistics-set-aside #:statistics-repeated #:statistics-malformed
                #:statistics-foreign #:statistics-refused-heartbeats #:statistics-read-before
                #:statistics-patient #:statistics-rewarded
                #:statistics-prompt-tokens #:statistics-cached-tokens #:statistics-queued
                #:statistics-total)
  (:import-from #:hydramesh/head/model-index #:worker-model-capabilities)
  (:import-from #:hydramesh/head/worker
                #:worker-breaker #:worker-state #:worker-heartbeat #:worker-models #:worker-proximity)
  (:import-from #:hydramesh/shown #:word #:shown)
  (:import-from #:hydramesh/sync/exchange
                #:exchange-bytes #:exchange-ignored #:exchange-neighbours #:exchange-received #:exchange-sent)
  (:import-from #:hydramesh/work #:+no-needs+ #:capability-list #:ability)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:metrics-text)
  (:documentation "What Prometheus reads: the head's counts, shown when it asks.

The text is that of OpenMetrics, with the names, labels and buckets of `daiic-head`. The counters of
the network are those of libdcf: what both count has the same name."))
(in-package #:hydramesh/head/metrics)

(defconstant +label+ 64 "Characters of a name in a label.")
(defconstant +farthest+ 10 "Groups from this one on are told of together.")
(defconstant +most-cards+ 1024
  "Cards that are told of at most; the names of those that come and go stay with Prometheus.")

(defun metrics-text (core counters &optional figures)
  "Return every metric of the head as text. COUNTERS are those of MESH-COUNTERS: lists of a name, what
is counted in a sentence, and the number. FIGURES are others: lists of a whole name, :COUNTER or :GAUGE,
a sentence, and the number; or of a gauge, a cons of labels and its samples, see WRITE-SAMPLES."
  (let* ((dispatcher (core-dispatcher core))
         (statistics (core-statistics core))
         (workers (registry-workers (dispatcher-workers dispatcher))))
    (with-output-to-string (out)
      (write-counts out statistics)
      (write-gauge out "daiic_head_queued" "Tasks waiting for a worker"
                   (job-queue-length (dispatcher-queue dispatcher)))
      (write-gauge out "daiic_head_queue_size" "Tasks that may wait"
                   (policy-queue-size (dispatcher-policy dispatcher)))
      (write-gauge out "daiic_head_in_flight" "Tasks on workers" (dispatcher-in-flight dispatcher))
      (write-family out "daiic_head_workers" "gauge" "Workers by state and backend")
      (write-samples out "daiic_head_workers" '("state" "backend") (count-all (mapcar #'kind workers)))
      (write-gauge out "daiic_head_workers_set_aside" "Workers that get no tasks, or one to try them"
                   (count-if #'set-aside-p workers))
      (write-family out "daiic_head_capable_workers" "gauge"
                    "Ready workers with a model that can do this")
      (write-samples out "daiic_head_capable_workers" '("capability")
                     (count-all (mapcan #'abilities workers)))
      (write-family out "daiic_head_reached_workers" "gauge"
                    "Workers by how well they answer PINGs, and by how far away they are")
      (write-samples out "daiic_head_reached_workers" '("health" "group")
                     (count-all (mapcar #'reach workers)))
      (write-gauge out "daiic_head_nodes" "Nodes of other DCF implementations that report to this head"
                   (nodes-count (core-nodes core)))
      (write-heads out (core-heads core))
      (write-cards out (cards workers))
      (write-histogram out "daiic_head_queue_seconds" "Wait for a worker, each time a task is placed"
                       (statistics-queued statistics))
      (write-histogram out "daiic_head_task_seconds" "From a task's arrival to its end"
                       (statistics-total statistics))
      (loop for (name help value) in counters
            do (write-counter out (format nil "daiic_wire_~A" name) (string-right-trim "." help) value))
      (loop for (name kind help value) in figures
            do (ecase kind
                 (:counter (write-counter out name help value))
                 (:gauge (cond ((consp value)
                                (write-family out name "gauge" help)
                                (write-samples out name (car value) (cdr value)))
                               (t (write-gauge out name help value))))))
      (format out "# EOF~%"))))

(defun write-counts (out statistics)
  "Write what is counted of tasks and messages."
  (write-family out "daiic_head_tasks" "counter"
                "Tasks that ended, by kind of work and DONE, CANCELLED or the error's name")
  (write-samples out "daiic_head_tasks_total" '("kind" "outcome")
                 (loop for (kind . outcome) being the hash-keys of (statistics-outcomes statistics)
                         using (hash-value count)
                       collect (cons (list kind outcome) count)))
  (loop for (name help value)
          in `(("moved" "Tasks taken from a worker and given to another" ,(statistics-moved statistics))
               ("set_aside" "Workers set aside, as they failed again and again"
                            ,(statistics-set-aside statistics))
               ("hedged" "Tasks run on a second worker too, as the first was late" ,(statistics-hedged statistics))
               ("hedges_won" "Tasks for which the second worker was faster" ,(statistics-hedges-won statistics))
               ("repeated" "TASKs that were known already" ,(statistics-repeated statistics))
               ("malformed" "Messages that could not be decoded" ,(statistics-malformed statistics))
               ("foreign" "Answers from elsewhere than the task's worker"
                          ,(statistics-foreign statistics))
               ("refused_heartbeats" "Heartbeats of workers for which there was no room"
                                     ,(statistics-refused-heartbeats statistics))
               ("read_before" "Tasks given to a worker that had read the beginning of their prompt before"
                              ,(statistics-read-before statistics))
               ("prompt_tokens" "Tokens of prompts, by their answers" ,(statistics-prompt-tokens statistics))
               ("cached_tokens" "Those that workers did not read again"
                                ,(statistics-cached-tokens statistics))
               ("patient" "Tasks that waited for a worker which had read their prompt, as others were free"
                          ,(statistics-patient statistics))
               ("rewarded" "Those of them that got that worker" ,(statistics-rewarded statistics)))
        do (write-counter out (format nil "daiic_head_~A" name) help value)))

(defun write-heads (out heads)
  (let ((exchange (heads-exchange heads)))
    (write-gauge out "daiic_head_heads" "Other heads that are heard" (length (exchange-neighbours exchange)))
    (write-gauge out "daiic_head_master" "Whether this head is the master" (if (master-p heads) 1 0))
    (loop for (name help value)
            in `(("sent" "SYNCs to other heads" ,(exchange-sent exchange))
                 ("sent_bytes" "Payload of SYNCs to other heads" ,(exchange-bytes exchange))
                 ("received" "SYNCs from anywhere" ,(exchange-received exchange))
                 ("ignored" "SYNCs that told nothing: from no head of the cluster, or too many"
                            ,(exchange-ignored exchange)))
          do (write-counter out (format nil "daiic_head_sync_~A" name) help value))))

;;; What is counted

(defun kind (worker)
  "Return the labels of WORKER."
  (list (word 'pb:worker-state (worker-state worker))
        (word 'pb:backend (pb:heartbeat-backend (worker-heartbeat worker)))))

(defun set-aside-p (worker)
  (and (worker-breaker worker) (breaker-retry-at (worker-breaker worker))))

(defun reach (worker)
  "Return the labels of how WORKER is reached."
  (let* ((proximity (worker-proximity worker))
         (group (proximity-group proximity)))
    (list (word 'pb:health (1+ (proximity-health proximity)))
          (cond ((null group) "unknown")
                ((< group +farthest+) (princ-to-string group))
                (t (format nil "~D+" +farthest+))))))

(defun abilities (worker)
  "Return a list of the labels of what the models of WORKER can do, if it is ready."
  (when (= (worker-state worker) pb:+ready+)
    (let ((can +no-needs+))
      (loop for model being the hash-values of (worker-models worker)
            do (setf can (logior can (or (worker-model-capabilities model) +no-needs+))))
      (loop for capability in (capability-list can)
            when (ability capability)
              collect (list (word 'pb:capability capability))))))

(defun cards (workers)
  "Return a list of conses of labels and a PB:CARD, of +MOST-CARDS+ cards of WORKERS at most."
  (let ((told (make-hash-table :test 'equal))
        (found '()))
    (loop for worker in workers
          for said = (worker-heartbeat worker)
          for id = (shown (pb:heartbeat-worker-id said) +label+)
          do (loop for card in (pb:heartbeat-cards said)
                   for index from 0
                   for key = (cons id index)
                   do (when (>= (hash-table-count told) +most-cards+)
                        (return-from cards (nreverse found)))
                      (unless (gethash key told)
                        (setf (gethash key told) t)
                        (push (cons (list id
                                          (shown (pb:heartbeat-name said) +label+)
                                          (princ-to-string index)
                                          (shown (pb:card-name card) +label+))
                                    card)
                              found))))
    (nreverse found)))

(defun count-all (labels)
  "Return a list of each of LABELS, lists of strings, with how often it is there."
  (let ((counts (make-hash-table :test 'equal)))
    (dolist (one labels)
      (incf (gethash one counts 0)))
    (loop for one being the hash-keys of counts using (hash-value count)
          collect (cons one count))))

;;; The text

(defun write-cards (out cards)
  "Write what was measured of CARDS, conses of labels and a PB:CARD."
  (let ((labels '("worker" "worker_name" "card" "name")))
    (flet ((family (name help) (write-family out name "gauge" help)))
      (family "daiic_head_card_memory_bytes" "A graphics card's memory in all, and free")
      (write-samples out "daiic_head_card_memory_bytes" (append labels '("amount"))
                     (loop for (values . card) in cards
                           for memory = (pb:card-vram card)
                           when (and memory (plusp (pb:memory-total memory)))
                             collect (cons (append values '("total")) (pb:memory-total memory))
                             and collect (cons (append values '("free")) (pb:memory-free memory))))
      (loop for (reader name help)
              in '((pb:card-temperature "temperature_celsius" "A graphics card's temperature")
                   (pb:card-power "power_watts" "What a graphics card draws")
                   (pb:card-power-limit "power_limit_watts" "What a graphics card may draw")
                   (pb:card-load "load_ratio" "Share of time in which a graphics card computes"))
            for whole = (format nil "daiic_head_card_~A" name)
            do (family whole help)
               (write-samples out whole labels
                              (loop for (values . card) in cards
                                    for measured = (funcall reader card)
                                    when measured
                                      collect (cons values (format nil "~F" measured))))))))

(defun write-family (out name type help)
  (format out "# HELP ~A ~A~%# TYPE ~A ~A~%" name (escaped help) name type))

(defun write-counter (out name help value)
  (write-family out name "counter" help)
  (format out "~A_total ~D~%" name value))

(defun write-gauge (out name help value)
  (write-family out name "gauge" help)
  (format out "~A ~D~%" name value))

(defun write-samples (out name labels samples)
  "Write SAMPLES, conses of values of LABELS and a number or its text, in the order of the values."
  (flet ((before-p (one other)
           (loop for value in (car one)
                 for than in (car other)
                 unless (string= value than)
                   return (string< value than))))
    (loop for (values . count) in (sort (copy-list samples) #'before-p)
          do (format out "~A{~{~A=\"~A\"~^,~}} ~A~%"
                     name
                     (loop for label in (sorted labels)
                           collect label
                           collect (escaped (nth (position label labels :test #'string=) values)))
                     count))))

(defun sorted (labels)
  (sort (copy-list labels) #'string<))

(defun write-histogram (out name help durations)
  (write-family out name "histogram" help)
  (let ((total 0))
    (loop for count across (durations-counts durations)
          for place from 0
          do (incf total count)
             (format out "~A_bucket{le=\"~A\"} ~D~%"
                     name
                     (if (< place (length +bounds+)) (decimal (svref +bounds+ place)) "+Inf")
                     total))
    (format out "~A_count ~D~%~A_sum ~A~%" name total name (decimal (durations-sum durations)))))

(defun decimal (microseconds)
  "Return MICROSECONDS in seconds, as \"0.005\" or \"2.5\" or \"300.0\"."
  (multiple-value-bind (seconds rest) (floor microseconds 1000000)
    (let ((digits (string-right-trim "0" (format nil "~6,'0D" rest))))
      (format nil "~D.~A" seconds (if (string= digits "") "0" digits)))))

(defun escaped (text)
  "Return TEXT as it is written between quotes."
  (with-output-to-string (out)
    (loop for character across text
          do (case character
               (#\\ (write-string "\\\\" out))
               (#\" (write-string "\\\"" out))
               (#\Newline (write-string "\\n" out))
               (t (write-char character out))))))
