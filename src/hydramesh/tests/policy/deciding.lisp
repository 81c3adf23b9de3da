(defpackage #:hydramesh/tests/policy/deciding
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/policy/effects
                #:fallback-model #:fallback-after #:hedge-allowed #:hedge-after #:hedge-lateness)
  (:import-from #:hydramesh/policy/plan
                #:plan-task #:plan-fallbacks #:plan-hedge #:plan-inside #:plan-rules #:judge #:judge-verbose)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/policy/views
                #:make-policy-task #:make-policy-worker #:make-situation #:situation-at #:situation-clock
                #:situation-weekday)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:capability-set)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What policies decide."))
(in-package #:hydramesh/tests/policy/deciding)

(fiveam:def-suite policy-deciding :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite policy-deciding)

(defun plan (text &key (task (make-policy-task)) (situation (make-situation)))
  "Return the plan of the policy that has what TEXT says."
  (plan-task (read-policy (format nil "(policy \"a test\" ~A)" text) "test") task situation))

(defun weight (text worker &rest more)
  "Return the weight that the rules in TEXT give WORKER."
  (judge (apply #'plan text more) worker))

(defun holds-p (condition &key (task (make-policy-task)) (worker (make-policy-worker))
                            (situation (make-situation)))
  "Return whether CONDITION is true, in (when …) and behind an effect alike."
  (let ((one (weight (format nil "(rule \"r\" (when ~A) (weight 4))" condition) worker
                     :task task :situation situation))
        (other (weight (format nil "(rule \"r\" (prefer ~A 4))" condition) worker
                       :task task :situation situation)))
    (is (= one other))
    (= one 4d0)))

(test all-rules-that-match-count-and-their-factors-are-multiplied
  (let ((near (make-policy-worker :group 0 :tags '("solar")))
        (far (make-policy-worker :group 3)))
    (is (= 6d0 (weight "(rule \"near\" (when (= worker.group 0)) (weight 3))
                        (rule \"solar\" (prefer (has worker.tags :solar)))" near)))
    (is (= 1d0 (weight "(rule \"near\" (when (= worker.group 0)) (weight 3))
                        (rule \"solar\" (prefer (has worker.tags :solar)))" far)))
    (is (= 0.25d0 (weight "(rule \"near\" (avoid (= worker.group 3) 4))" far)))))

(test an-exclusion-wins-wherever-it-stands
  (let ((worker (make-policy-worker :tags '("spot"))))
    (dolist (text '("(rule \"a\" (exclude (has worker.tags :spot))) (rule \"b\" (weight 1000))"
                    "(rule \"b\" (weight 1000)) (rule \"a\" (when (has worker.tags :spot)) (exclude))"
                    "(rule \"a\" (require (not (has worker.tags :spot))))"))
      (is (null (weight text worker))))))

(test weights-stay-within-bounds-whatever-is-computed
  (let ((rules (format nil "~{(rule \"~D\" (weight 1000))~}" '(1 2 3 4 5))))
    (is (= 1d6 (weight rules (make-policy-worker)))))
  (is (= 1d3 (weight "(rule \"r\" (weight (/ 1 worker.load)))" (make-policy-worker))))
  (is (= 1d-3 (weight "(rule \"r\" (weight (- worker.load 5)))" (make-policy-worker)))))

(test the-factor-of-a-rule-that-has-many-stays-a-number
  (let ((rule (format nil "(rule \"r\" ~V@{~A~:*~})" 200 "(weight 1000) ")))
    (multiple-value-bind (weight rules) (judge-verbose (plan rule) (make-policy-worker))
      (is (= 1d6 weight))
      (is (equal '(("r" . 1d6)) rules)))))

(test fields-of-the-task-the-worker-and-the-moment-can-be-compared
  (let ((task (make-policy-task :model "Qwen/Qwen3-8B" :kind :image :size 300 :client "accounts"
                                :needs (capability-set pb:+see+ pb:+chat+) :tags '("gpu") :streaming t
                                :deadline 30))
        (worker (make-policy-worker :name "desk" :backend pb:+cuda+ :free-vram (* 9 (expt 2 30))
                                    :rtt 0.002d0 :rate 35 :loaded t :readiness :loaded))
        (situation (make-situation :clock (* 23 60) :weekday :sunday :waiting 2)))
    (dolist (condition '("(like task.model \"Qwen/*\")" "(like task.model \"x\" \"*3*B\")"
                         "(= task.kind :image)" "(in task.kind :text :image)"
                         "(< task.size 400 images)" "(<= 100 task.size 300)" "(has task.needs :see :chat)"
                         "(has task.tags \"gpu\")" "task.streaming" "(< task.deadline 1 min)"
                         "(= \"accounts\" task.client)" "(/= task.client \"\")"
                         "(= worker.backend :cuda)" "(> worker.free-vram 8 GiB)" "(< worker.rtt 5 ms)"
                         "(>= worker.rate 30 images/s)" "worker.loaded" "(= worker.readiness :loaded)"
                         "(between 22:00 6:00)" "(in time.weekday :saturday :sunday)"
                         "(>= time.clock 23:00)" "(> head.waiting 0)"
                         "(or (= task.kind :text) (not (has worker.tags :spot)))"
                         "(< (/ task.size worker.rate) 9 s)"))
      (is (holds-p condition :task task :worker worker :situation situation) condition))
    (dolist (condition '("(like task.model \"qwen/*\")" "(like task.model \"Qwen\")" "(= task.kind :text)"
                         "(has task.needs :see :tools)" "(has worker.tags :spot)" "(< worker.rtt 1 ms)"
                         "(between 6:00 22:00)" "(between 12:00 23:00)" "(< 300 task.size 400)"
                         "(and task.streaming (not worker.loaded))"))
      (is (not (holds-p condition :task task :worker worker :situation situation)) condition))))

(defparameter +prices+
  "(price power ((and (has worker.tags :solar) (between 10:00 16:00)) 0.1 EUR/kWh)
                ((between 22:00 6:00) 0.2 EUR/kWh)
                (otherwise 0.4 EUR/kWh))")

(test the-first-row-of-a-price-that-holds-counts
  (flet ((factor (hour tags)
           (weight (format nil "~A (rule \"cheap\" (weight (/ 0.4 EUR/kWh price.power)))" +prices+)
                   (make-policy-worker :tags tags)
                   :situation (make-situation :clock (* 60 hour)))))
    (is (< 3.999d0 (factor 12 '("solar")) 4.001d0))
    (is (= 1d0 (factor 12 '())))
    (is (= 2d0 (factor 23 '("solar"))))
    (is (= 1d0 (factor 16 '("solar"))))))

(test power-times-a-price-is-money-for-an-hour
  (let ((rules (format nil "~A (rule \"dear\" (exclude (> (* worker.power price.power) 0.15 EUR/h)))"
                       +prices+)))
    (flet ((dear-p (watts)
             (null (weight rules (make-policy-worker :power watts)
                           :situation (make-situation :clock (* 12 60))))))
      (is (dear-p 400))
      (is (not (dear-p 300))))))

(test what-is-reserved-is-kept-free-for-those-it-is-for
  (let ((rules "(rule \"desk\" (reserve (= worker.name \"desk\") (for (= task.client \"accounts\"))
                                        (share 50 %) (others (= head.waiting 0))))")
        (inside (make-policy-task :client "accounts"))
        (busy (make-situation :waiting 1)))
    (flet ((may-p (task free inside &optional (situation busy))
             (and (weight rules (make-policy-worker :name "desk" :slots 4 :free-slots free
                                                    :inside (vector inside))
                          :task task :situation situation)
                  t)))
      (is (may-p inside 1 0))
      (is (may-p (make-policy-task) 3 0))
      (is (not (may-p (make-policy-task) 2 0)))
      (is (may-p (make-policy-task) 2 1))
      (is (not (may-p (make-policy-task) 1 1)))
      (is (may-p (make-policy-task) 1 1 (make-situation :waiting 0))))
    (is (= 1d0 (weight rules (make-policy-worker :name "other" :free-slots 0) :situation busy)))
    (is (= 1 (plan-inside (plan rules :task inside))))
    (is (= 0 (plan-inside (plan rules))))))

(test fallbacks-come-in-the-order-of-their-times
  (let ((plan (plan "(rule \"b\" (when (= task.model \"big\")) (fallback \"tiny\" (after 1 min)))
                     (rule \"a\" (when (= task.model \"big\")) (fallback \"small\" (after 5 s)))
                     (rule \"c\" (when (= task.model \"other\")) (fallback \"none\"))"
                    :task (make-policy-task :model "big"))))
    (is (equal '(("small" . 5d0) ("tiny" . 60d0))
               (loop for fallback in (plan-fallbacks plan)
                     collect (cons (fallback-model fallback) (fallback-after fallback)))))
    (is (equal '("b" "a") (plan-rules plan)))))

(test the-first-rule-says-how-late-a-task-is-hedged-unless-one-forbids-it
  (flet ((hedge (text)
           (plan-hedge (plan text))))
    (is (null (hedge "(rule \"r\" (weight 2))")))
    (is (= 1.5d0 (hedge-after (hedge "(rule \"a\" (hedge (after 1.5 s))) (rule \"b\" (hedge))"))))
    (is (= 3d0 (hedge-lateness (hedge "(rule \"a\" (hedge (after 300 %)))"))))
    (is (hedge-allowed (hedge "(rule \"a\" (hedge))")))
    (is (not (hedge-allowed (hedge "(rule \"a\" (hedge)) (rule \"b\" (hedge never))"))))))

(test a-verdict-names-the-rules-that-speak-of-a-worker-and-what-each-does
  (multiple-value-bind (weight rules)
      (judge-verbose (plan "(rule \"near\" (prefer (= worker.group 0) 3))
                            (rule \"spot\" (exclude (has worker.tags :spot)))
                            (rule \"solar\" (prefer (has worker.tags :solar)))"
                           :task (make-policy-task))
                     (make-policy-worker :tags '("spot")))
    (is (null weight))
    (is (equal '(("near" . 3d0) ("spot")) rules))))

(test a-moment-is-in-the-local-time-that-is-asked-for
  (let ((moment (situation-at 1700000000 :zone 0))) ; Tuesday, 14 November 2023, 22:13:20 UTC
    (is (= (+ (* 22 60) 13) (situation-clock moment)))
    (is (eq :tuesday (situation-weekday moment))))
  (is (eq :wednesday (situation-weekday (situation-at 1700000000 :zone -2)))))
