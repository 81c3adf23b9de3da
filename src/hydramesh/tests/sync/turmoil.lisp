(defpackage #:hydramesh/tests/sync/turmoil
  (:use #:cl #:hydramesh/tests/sync/network)
  (:import-from #:fiveam #:test #:is #:is-true)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/sync/state #:view-assigned)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "Heads of which everything goes wrong at once, and that agree when it is over."))
(in-package #:hydramesh/tests/sync/turmoil)

(fiveam:def-suite turmoil :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite turmoil)

(defun one-of (heads random)
  (nth (random (length heads) random) heads))

(defun change-views (head random)
  (loop repeat (random 40 random)
        do (see head (format nil "w~D" (random 300 random))
                (if (zerop (random 3 random)) nil (random 9 random))
                (random 3 random))))

(defun go-wrong (network heads random)
  "Let the network become worse or better, a head hang or be restarted, or just something change."
  (case (random 20 random)
    (0 (setf (network-loss network) (random 0.6d0 random)))
    (1 (setf (network-duplicates network) (random 0.4d0 random)))
    (2 (setf (network-delay network) (random (seconds 3) random)))
    (3 (let ((from (one-of heads random)) (to (one-of heads random)))
         (setf (network-cut-p network)
               (lambda (one other) (and (eq one from) (or (eq other to) (eq from to)))))))
    (4 (setf (network-cut-p network) (constantly nil)))
    (5 (let ((head (one-of heads random)))
         (restart-head head)
         (know-each-other head (one-of heads random))))
    (6 (let ((head (one-of heads random)))
         (setf (head-alive-p head) (not (head-alive-p head)))))
    (t (change-views (one-of heads random) random))))

(defun mend (network heads)
  (setf (network-loss network) 0
        (network-duplicates network) 0
        (network-delay network) 1000
        (network-cut-p network) (constantly nil))
  (dolist (head heads)
    (setf (head-alive-p head) t))
  (apply #'know-each-other heads))

(defun assigned-by-others (head heads worker)
  (loop for other in (remove head heads)
        for view = (gethash worker (head-views other))
        when view sum (view-assigned view)))

(test whatever-has-happened-heads-agree-when-it-is-over
  (dotimes (seed 40)
    (let* ((network (new-network :seed seed))
           (random (sb-ext:seed-random-state (+ 1000 seed)))
           (heads (loop for id in '("a" "b" "c" "d") collect (add-head network id))))
      (apply #'know-each-other heads)
      (loop repeat 150
            do (go-wrong network heads random)
               (pass-time network (random 2d0 random)))
      (mend network heads)
      (pass-time network 15)
      (is-true (apply #'agree-p heads) "seed ~D" seed)
      (is (= 1 (length (apply #'masters heads))) "seed ~D" seed)
      (is-true (loop for head in heads
                     always (loop for worker being the hash-keys of (head-assigned head)
                                    using (hash-value assigned)
                                  always (= assigned (assigned-by-others head heads worker))))
               "seed ~D" seed))))
