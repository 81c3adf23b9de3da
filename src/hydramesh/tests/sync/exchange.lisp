(defpackage #:hydramesh/tests/sync/exchange
  (:use #:cl #:hydramesh/tests/sync/network)
  (:import-from #:fiveam #:test #:is #:is-true #:is-false)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events #:make-message #:seconds)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/sync/exchange
                #:exchange-ignored #:exchange-leave #:exchange-name #:exchange-neighbours #:exchange-received)
  (:import-from #:hydramesh/sync/neighbour #:neighbour-replica #:neighbour-rtt)
  (:import-from #:hydramesh/sync/replica #:replica-workers)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Heads that tell each other of themselves get to the same, whatever the network does."))
(in-package #:hydramesh/tests/sync/exchange)

(fiveam:def-suite exchange :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite exchange)

(defun three (network)
  (let ((heads (loop for id in '("a" "b" "c") collect (add-head network id))))
    (apply #'know-each-other heads)
    heads))

(defun change-something (head random)
  "Let something of HEAD change, as when tasks come and go."
  (setf (getf (head-figures head) :queued) (random 100 random))
  (let ((worker (format nil "worker-~D" (random 60 random))))
    (see head worker (if (zerop (random 4 random)) nil (1+ (random 9 random))) (random 3 random))))

(test heads-that-know-of-each-other-agree
  (let* ((network (new-network)) (heads (three network)))
    (see (first heads) "w" 3 1 t)
    (pass-time network 2)
    (is-true (apply #'agree-p heads))
    (see (first heads) "w" 2 1)
    (pass-time network 1)
    (is-true (apply #'agree-p heads))))

(test one-that-is-told-of-the-other-is-enough-for-both
  (let* ((network (new-network)) (one (add-head network "a")) (other (add-head network "b")))
    (exchange-name (head-exchange one) (list (head-address other)))
    (pass-time network 2)
    (is-true (agree-p one other))))

(test they-agree-in-spite-of-loss-doubles-and-disorder
  (dotimes (seed 8)
    (let* ((network (new-network :seed seed :loss 0.3d0 :duplicates 0.2d0 :delay (seconds 1)))
           (heads (three network))
           (random (sb-ext:seed-random-state (+ 100 seed))))
      (loop repeat 300
            do (change-something (nth (random 3 random) heads) random)
               (pass-time network 0.1d0))
      (pass-time network 25)
      (is-true (apply #'agree-p heads) "seed ~D" seed))))

(test they-agree-after-a-partition
  (dotimes (seed 4)
    (let* ((network (new-network :seed seed))
           (heads (three network))
           (random (sb-ext:seed-random-state (+ 100 seed))))
      (pass-time network 3)
      (setf (network-cut-p network)
            (lambda (one other) (not (eq (eq one (first heads)) (eq other (first heads))))))
      (loop repeat 300
            do (change-something (nth (random 3 random) heads) random)
               (pass-time network 0.1d0))
      (pass-time network 1)
      (is (equal '() (heard-by (first heads))))
      (is-true (apply #'agree-p (rest heads)))
      (setf (network-cut-p network) (constantly nil))
      (pass-time network 10)
      (is-true (apply #'agree-p heads)))))

(test a-head-that-restarts-is-told-all-and-tells-all
  (dotimes (seed 4)
    (let* ((network (new-network :seed seed :loss 0.1d0 :delay (seconds 0.3d0))) (heads (three network)))
      (dotimes (worker 300)
        (dolist (head heads)
          (see head (format nil "w~D" worker) 1)))
      (pass-time network 20)
      (clrhash (head-views (first heads)))
      (see (first heads) "w7" 7)
      (restart-head (first heads))
      (apply #'know-each-other heads)
      (pass-time network 20)
      (is-true (apply #'agree-p heads))
      (is (= 8 (gethash "w7" (head-assigned (second heads))))))))

(test one-that-was-silent-is-told-all-again
  (let* ((network (new-network)) (heads (three network)))
    (see (second heads) "w" 2)
    (pass-time network 3)
    (setf (head-alive-p (first heads)) nil)
    (pass-time network 15)
    (is (equal '("c") (heard-by (second heads))))
    (setf (head-alive-p (first heads)) t)
    (pass-time network 10)
    (is-true (apply #'agree-p heads))))

(test what-is-told-is-what-has-changed
  (let* ((network (new-network)) (heads (three network)))
    (dotimes (worker 200)
      (see (first heads) (format nil "worker-~4,'0D" worker) 1 0))
    (pass-time network 5)
    (is-true (apply #'agree-p heads))
    (let ((whole (network-bytes network)) (sent (network-sent network)))
      (is (> whole 8000))
      (see (first heads) "worker-0007" 2 0)
      (pass-time network 1)
      (is-true (apply #'agree-p heads))
      (is (< (- (network-bytes network) whole) 1000))
      (is (< (- (network-sent network) sent) 12)))))

(test a-state-of-many-datagrams-arrives-whole
  (let* ((network (new-network :loss 0.2d0)) (heads (three network)))
    (dotimes (worker 1000)
      (see (first heads) (format nil "worker-~A-~D" (make-string 40 :initial-element #\x) worker) worker 0))
    (pass-time network 30)
    (is-true (apply #'agree-p heads))))

(test of-workers-that-come-and-go-nothing-stays
  (let* ((network (new-network)) (heads (three network)))
    (pass-time network 3)
    (setf (network-cut-p network) (lambda (one other) (declare (ignore one)) (eq other (third heads))))
    (loop for round below 20
          do (dotimes (worker 50)
               (see (first heads) (format nil "w~D-~D" round worker) 1))
             (pass-time network 0.5d0)
             (dotimes (worker 50)
               (see (first heads) (format nil "w~D-~D" round worker) nil))
             (pass-time network 0.5d0)
             (setf (network-cut-p network) (constantly nil)))
    (pass-time network 5)
    (is-true (apply #'agree-p heads))
    (is (zerop (hash-table-count (replica-workers
                                  (neighbour-replica
                                   (first (exchange-neighbours (head-exchange (third heads)))))))))))

(test tasks-of-lost-heads-count-no-more
  (let* ((network (new-network)) (heads (three network)))
    (see (first heads) "w" 2)
    (see (second heads) "w" 3)
    (pass-time network 2)
    (is (= 5 (gethash "w" (head-assigned (third heads)))))
    (setf (head-alive-p (first heads)) nil)
    (pass-time network 12)
    (is (= 3 (gethash "w" (head-assigned (third heads)))))
    (exchange-leave (head-exchange (second heads)) (network-now network))
    (setf (head-alive-p (second heads)) nil)
    (pass-time network 0.1d0)
    (is (= 0 (gethash "w" (head-assigned (third heads)))))))

(test the-least-of-equals-is-the-master
  (let* ((network (new-network)) (heads (three network)))
    (is (equal '("a" "b" "c") (apply #'masters heads)))
    (pass-time network 3)
    (is (equal '("a") (apply #'masters heads)))
    (setf (head-alive-p (first heads)) nil)
    (pass-time network 12)
    (is (equal '("b") (apply #'masters (rest heads))))
    (setf (getf (head-figures (second heads)) :state) pb:+draining+)
    (pass-time network 1)
    (is (equal '("c") (masters (third heads))))))

(test the-one-that-hears-most-is-the-master
  (let* ((network (new-network)) (heads (three network)))
    (setf (network-cut-p network)
          (lambda (one other) (not (or (eq one (third heads)) (eq other (third heads))))))
    (pass-time network 5)
    (is (equal '("c") (apply #'masters heads)))))

(test the-distance-is-measured
  (let* ((network (new-network :delay 0)) (heads (three network)))
    (setf (network-delay network) (seconds 0.04d0))
    (pass-time network 60)
    (dolist (neighbour (exchange-neighbours (head-exchange (first heads))))
      (is (< 10000 (neighbour-rtt neighbour) 80000)))))

(test whoever-does-not-answer-is-asked-ever-more-seldom
  (let* ((network (new-network))
         (head (add-head network "a"))
         (deaf (ipv4 #xc0000209 7717)))
    (exchange-name (head-exchange head) (list deaf))
    (pass-time network 600)
    (let ((sent (gethash deaf (network-deaf network))))
      (is (< 10 (length sent) 20))
      (is (every (lambda (payload) (< (length payload) 60)) sent)))))

(test without-a-key-strangers-are-not-listened-to
  (let* ((network (new-network))
         (one (add-head network "a" :strangers nil))
         (other (add-head network "b" :strangers nil)))
    (exchange-name (head-exchange one) (list (head-address other)))
    (pass-time network 5)
    (is (equal '() (heard-by other)))
    (exchange-name (head-exchange other) (list (head-address one)))
    (pass-time network 70)
    (is-true (agree-p one other))))

(test a-head-does-not-take-itself-for-another
  (let* ((network (new-network)) (head (add-head network "a")) (twin (add-head network "a")))
    (know-each-other head twin)
    (incf (head-incarnation twin))
    (restart-head twin)
    (pass-time network 5)
    (is (equal '() (heard-by head)))
    (is (< (network-sent network) 10))))

(test what-is-no-message-of-a-head-changes-nothing
  (let* ((network (new-network)) (heads (three network)) (random (sb-ext:seed-random-state 7)))
    (see (second heads) "w" 2)
    (pass-time network 3)
    (flet ((say (payload)
             (deliver (first heads)
                      (make-message :peer (head-address (second heads)) :type #x26
                                    :payload (coerce payload '(simple-array (unsigned-byte 8) (*))))))
           (sync (&rest fields)
             (pb:encode (apply #'pb:make-sync (append fields (list :head-id "z" :incarnation 9))))))
      (let ((before (exchange-ignored (head-exchange (first heads)))))
        (say #())
        (say (make-array 2000 :initial-element 10))
        (say (sync :head-id ""))
        (say (sync :head-id (make-string 300 :initial-element #\x)))
        (say (sync :incarnation 0))
        (say (sync :base 2 :version 1))
        (say (sync :version (1- (ash 1 64))))
        (is (= 7 (- (exchange-ignored (head-exchange (first heads))) before))))
      (pass-time network 1)
      (dotimes (round 2000)
        (let ((payload (sync :base 0 :version 3
                             :head (pb:make-head-state :state 77 :queued 4294967295)
                             :workers (list (pb:make-head-worker :worker-id "w" :assigned 1)))))
          (loop repeat (1+ (random 4 random))
                do (setf (aref payload (random (length payload) random)) (random 256 random)))
          (say payload))
        (when (zerop (mod round 100))
          (pass-time network 1))))
    (is (<= (length (heard-by (first heads))) 16))
    (pass-time network 15)
    (is-true (apply #'agree-p heads))))

(test no-more-is-read-than-a-head-has-time-for
  (let* ((network (new-network)) (heads (three network)))
    (pass-time network 3)
    (let ((ignored (exchange-ignored (head-exchange (first heads)))))
      (dotimes (round 2000)
        (deliver (first heads)
                 (make-message :peer (head-address (second heads)) :type #x26
                               :payload (pb:encode (pb:make-sync :head-id "b" :incarnation 1)))))
      (is (<= 1480 (- (exchange-ignored (head-exchange (first heads))) ignored) 1500)))))
