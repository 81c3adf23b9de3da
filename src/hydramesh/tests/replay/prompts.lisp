(defpackage #:hydramesh/tests/replay/prompts
  (:use #:cl #:hydramesh/tests/replay/simulation)
  (:import-from #:fiveam #:test #:is #:is-true)
  (:import-from #:hydramesh/head/observer #:finished-task-first #:finished-task-queued #:finished-task-worker)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/replay/outcome #:outcome-done #:outcome-first #:quantile #:simulated-outcome)
  (:import-from #:hydramesh/replay/prompts #:hashes-of #:prompt-tree)
  (:import-from #:hydramesh/storage/prompts #:make-prompts #:note-prompt)
  (:import-from #:hydramesh/storage/pseudonym #:make-salt #:pseudonym)
  (:import-from #:hydramesh/storage/traffic #:make-passage #:passage-client)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "That a replay knows what workers have read."))
(in-package #:hydramesh/tests/replay/prompts)

(fiveam:def-suite replayed-prompts :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite replayed-prompts)

(defun blocks (numbers)
  (coerce numbers '(simple-array (unsigned-byte 64) (*))))

(defun shared (one other)
  "Return how many numbers ONE and OTHER have at the beginning that are the same."
  (or (mismatch one other) (length one)))

(test prompts-share-as-many-blocks-as-they-did
  (let* ((state (sb-ext:seed-random-state 5)) (prompts (make-prompts))
         (real (list (blocks '(1 2 3))))
         (passages '()))
    (loop repeat 200
          do (let ((parent (nth (random (length real) state) real)))
               (push (blocks (append (coerce (subseq parent 0 (random (1+ (length parent)) state)) 'list)
                                     (loop repeat (1+ (random 6 state)) collect (random 1000000 state))))
                     real)))
    (setf real (mapcar (lambda (hashes) (subseq hashes 0 (min 64 (length hashes)))) real))
    (dolist (hashes real)
      (multiple-value-bind (number parent shared) (note-prompt prompts hashes 1000)
        (push (make-passage :prompt number :parent parent :shared shared :blocks (length hashes)) passages)))
    (let* ((passages (coerce (nreverse passages) 'vector)) (tree (prompt-tree passages))
           (drawn (map 'list (lambda (passage) (hashes-of tree passage)) passages)))
      (is-true (loop for (one . ones) on real
                     for (drawn-one . drawn-ones) on drawn
                     always (every (lambda (other drawn-other)
                                     (= (shared one other) (shared drawn-one drawn-other)))
                                   ones drawn-ones))))))

(test what-came-before-the-record-is-shared-as-far-as-is-known
  ;; Both go on after a prompt that is not there.
  (let* ((one (make-passage :prompt 10 :parent 7 :shared 3 :blocks 5))
         (other (make-passage :prompt 11 :parent 7 :shared 2 :blocks 4))
         (damaged (make-passage :prompt 12 :parent 12 :shared 3 :blocks 3))
         (tree (prompt-tree (vector one other damaged))))
    (is (= 2 (shared (hashes-of tree one) (hashes-of tree other))))
    (is (= 5 (length (hashes-of tree one))))
    (is (= 3 (length (hashes-of tree damaged))))))

(defun turn (at number first-after cached &rest fields)
  "Return the passage of a turn of a chat that has been read FIRST-AFTER its arrival and answered 0.1 s
later."
  (apply #'passage at (+ first-after 100000)
         (append fields
                 (list :streamed-p t :first first-after :reading 100 :prompt-tokens 2000 :cached-tokens cached
                       :prompt number :blocks 24))))

(defun chats ()
  "Return 30 chats of two turns, all on the worker a: the first takes 2 s to read, the second 0.2 s."
  (loop for chat below 30
        for at = (* chat 10000000)
        collect (turn at (+ 1000 (* 2 chat)) 2000000 0)
        collect (turn (+ at 5000000) (+ 1001 (* 2 chat)) 200000 1800 :parent (+ 1000 (* 2 chat)) :shared 22)))

(defun soon (tasks)
  (count-if (lambda (task) (< (- (finished-task-first task) (finished-task-queued task)) 500000)) tasks))

(defparameter +only-b+ "(policy \"p\" (rule \"r\" (require (= worker.name \"b\"))))")

(defparameter +apart+
  "(policy \"p\" (rule \"one\" (when (= task.client \"one\")) (require (= worker.name \"a\")))
               (rule \"two\" (when (= task.client \"two\")) (require (= worker.name \"b\"))))")

(test what-a-worker-has-read-it-need-not-read-again
  (let ((tasks (replayed (chats) (list (is-there "a" :rate 50d0)))))
    (is (= 30 (soon tasks)))
    (is (< 1900000 (quantile (outcome-first (simulated-outcome tasks)) 9/10) 2100000))))

(test a-worker-that-has-read-nothing-has-to-read-all
  ;; It reads at the rate that it tells: 100 units in 2 s.
  (let ((tasks (replayed (chats) (list (is-there "a" :rate 50d0) (is-there "b" :rate 50d0))
                         :policy (read-policy +only-b+ "p"))))
    (is-true (every (lambda (task) (string= "b" (finished-task-worker task))) tasks))
    (is (= 30 (soon tasks)))))

(test chats-whose-turns-are-torn-apart-are-read-twice
  (let* ((salt (make-salt 1 2))
         (one (pseudonym "one" salt))
         (two (pseudonym "two" salt))
         (chats (chats)))
    (loop for (first second) on chats by #'cddr
          do (setf (passage-client first) one
                   (passage-client second) two))
    (let ((tasks (replayed chats (list (is-there "a" :rate 50d0) (is-there "b" :rate 50d0))
                           :policy (read-policy +apart+ "p") :salt salt)))
      (is (= 60 (outcome-done (simulated-outcome tasks))))
      (is (= 0 (soon tasks))))))

(test without-a-policy-turns-go-where-the-first-one-was-read
  (let ((tasks (replayed (chats) (list (is-there "a" :rate 50d0) (is-there "b" :rate 49d0)))))
    (is (= 30 (soon tasks)))))
