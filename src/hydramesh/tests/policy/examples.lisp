(defpackage #:hydramesh/tests/policy/examples
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/policy/effects
                #:fallback-model #:hedge-allowed #:hedge-lateness)
  (:import-from #:hydramesh/policy/plan #:plan-task #:plan-fallbacks #:plan-hedge #:judge #:judge-verbose)
  (:import-from #:hydramesh/policy/policy #:load-policy)
  (:import-from #:hydramesh/policy/views #:make-policy-task #:make-policy-worker #:make-situation)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/work #:capability-set)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:example-files #:example)
  (:documentation "The policies that come with HydraMesh do what they say."))
(in-package #:hydramesh/tests/policy/examples)

(fiveam:def-suite policy-examples :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite policy-examples)

(defun example-files ()
  (uiop:directory-files (asdf:system-relative-pathname "hydramesh" "policies/") "*.policy"))

(defun example (name)
  "Return the policy that comes as NAME."
  (load-policy (namestring (find name (example-files) :key #'pathname-name :test #'string=))))

(defun at (weekday hour &rest more)
  (apply #'make-situation :weekday weekday :clock (* 60 hour) more))

(defmacro with-plan ((name situation &rest task) &body body)
  "Run BODY where (WEIGHT …) is that of a worker for the task, and (RULES …) names the rules that speak of
it."
  `(let ((plan (plan-task (example ,name) (make-policy-task ,@task) ,situation)))
     (flet ((weight (&rest worker) (judge plan (apply #'make-policy-worker worker)))
            (rules (&rest worker)
              (mapcar #'car (nth-value 1 (judge-verbose plan (apply #'make-policy-worker worker))))))
       (declare (ignorable #'weight #'rules))
       ,@body)))

(test there-are-three
  (is (equal '("chat" "office" "power") (sort (mapcar #'pathname-name (example-files)) #'string<))))

(test accounting-has-its-card-while-people-work
  (with-plan ("office" (at :monday 10 :waiting 1) :client "sales")
    (is (null (weight :name "accounting-1" :slots 4 :free-slots 4)))
    (is (equal '("accounting's card") (rules :name "accounting-1" :slots 4 :free-slots 4)))
    (is (eql 1d0 (weight :name "desk-3"))))
  (with-plan ("office" (at :monday 10 :waiting 0) :client "sales")
    (is (eql 1d0 (weight :name "accounting-1" :slots 4 :free-slots 4))))
  (with-plan ("office" (at :monday 10 :waiting 1) :client "accounting")
    (is (eql 1d0 (weight :name "accounting-1" :slots 4 :free-slots 1))))
  (with-plan ("office" (at :sunday 10 :waiting 1) :client "sales")
    (is (eql 1d0 (weight :name "accounting-1" :slots 4 :free-slots 1)))))

(test research-has-half-of-the-large-machine
  (with-plan ("office" (at :monday 10) :client "sales")
    (is (eql 1d0 (weight :tags '("large") :slots 8 :free-slots 5)))
    (is (null (weight :tags '("large") :slots 8 :free-slots 4)))
    (is (eql 1d0 (weight :tags '("large") :slots 8 :free-slots 2 :inside (vector 0 3)))))
  (with-plan ("office" (at :monday 10) :client "research")
    (is (eql 1d0 (weight :tags '("large") :slots 8 :free-slots 1)))))

(test long-texts-stay-off-desks-by-day-and-contracts-off-rented-machines
  (with-plan ("office" (at :monday 10) :size 5000 :client "legal")
    (is (null (weight :tags '("desk"))))
    (is (null (weight :tags '("rented"))))
    (is (eql 1d0 (weight))))
  (with-plan ("office" (at :monday 20) :size 5000)
    (is (eql 1d0 (weight :tags '("desk"))))))

(test pictures-need-a-card
  (with-plan ("office" (at :monday 10) :kind :image)
    (is (null (weight :backend pb:+cpu+)))
    (is (eql 1d0 (weight :backend pb:+rocm+)))))

(test the-sun-makes-workers-cheap-at-noon
  (with-plan ("power" (at :tuesday 12))
    (is (< 5.6d0 (weight :tags '("solar")) 5.7d0))
    (is (eql 1d0 (weight))))
  (with-plan ("power" (at :tuesday 17))
    (is (eql 1d0 (weight :tags '("solar"))))))

(test batches-wait-for-cheap-power
  (with-plan ("power" (at :tuesday 12) :client "batch")
    (is (null (weight)))
    (is (weight :tags '("solar"))))
  (with-plan ("power" (at :tuesday 23) :client "batch")
    (is (weight))))

(test spot-machines-are-for-when-many-wait-and-never-for-long-answers
  (with-plan ("power" (at :tuesday 12 :waiting 0))
    (is (null (weight :tags '("spot")))))
  (with-plan ("power" (at :sunday 12 :waiting 0))
    (is (weight :tags '("spot"))))
  (with-plan ("power" (at :tuesday 12 :waiting 9))
    (is (weight :tags '("spot"))))
  (with-plan ("power" (at :tuesday 12 :waiting 9) :size 9000)
    (is (null (weight :tags '("spot"))))))

(test what-draws-much-is-left-alone-in-the-evening
  (with-plan ("power" (at :tuesday 19))
    (is (eql 0.25d0 (weight :power 350)))
    (is (eql 1d0 (weight :power 250)))))

(test short-chats-go-near-to-where-the-model-is-loaded
  (with-plan ("chat" (at :monday 10) :size 200 :streaming t)
    (is (eql 40d0 (weight :group 0 :loaded t)))
    (is (eql 0.25d0 (weight :group 4)))
    (is (eql 2d0 (hedge-lateness (plan-hedge plan)))))
  (with-plan ("chat" (at :monday 10) :size 5000)
    (is (eql 2d0 (weight :rate 90)))
    (is (not (hedge-allowed (plan-hedge plan))))))

(test the-large-model-has-two-behind-it
  (with-plan ("chat" (at :monday 10) :model "Qwen/Qwen3-32B")
    (is (equal '("Qwen/Qwen3-8B" "Qwen/Qwen3-1.7B") (mapcar #'fallback-model (plan-fallbacks plan)))))
  (with-plan ("chat" (at :monday 10) :model "Qwen/Qwen3-32B" :needs (capability-set pb:+see+))
    (is (null (plan-fallbacks plan)))
    (is (null (weight :free-vram (expt 2 30))))
    (is (weight :free-vram (* 13 (expt 2 30))))))
