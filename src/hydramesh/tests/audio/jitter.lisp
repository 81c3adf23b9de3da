(defpackage #:hydramesh/tests/audio/jitter
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:is-true #:test)
  (:import-from #:hydramesh/audio/jitter-buffer #:buffer-delay #:buffer-put #:buffer-take #:make-jitter-buffer)
  (:import-from #:hydramesh/audio/packet #:make-packet #:packet-time)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:documentation "In which order, and when, blocks are given out that come in any."))
(in-package #:hydramesh/tests/audio/jitter)

(def-suite audio-jitter :in hydramesh)
(in-suite audio-jitter)

(defconstant +block+ 20000)

(defun packet (time &optional last)
  (make-packet :time (ldb (byte 32 0) time) :sequence (ldb (byte 32 0) time) :last last))

(defun given-out (arrivals blocks &key (buffer (make-jitter-buffer +block+)) (from 0))
  "Return what a buffer gives out in BLOCKS lengths of a block, if what ARRIVALS, a list of (at time [last]), says
comes: keywords and the times of packets."
  (let ((arrivals (sort (copy-list arrivals) #'< :key #'first)))
    (loop for tick from from below (+ from blocks)
          for now = (* tick +block+)
          do (loop while (and arrivals (<= (first (first arrivals)) now))
                   do (destructuring-bind (at time &optional last) (pop arrivals)
                        (buffer-put buffer (packet time last) at)))
          collect (let ((given (multiple-value-list (buffer-take buffer now))))
                    (cons (first given)
                          (loop for packet in (rest given) when packet collect (packet-time packet)))))))

(defun times (given)
  (loop for (kind . times) in given when (member kind '(:block :join)) append times))

(defun kinds (given)
  (mapcar #'first given))

(defun regular (count &key (delay 5000) (first 100) (random nil) (jitter 0) (loss 0))
  "Return arrivals of COUNT blocks from the time FIRST on."
  (loop for index below count
        unless (and random (< (random 1d0 random) loss))
          collect (list (+ (* index +block+) delay (if random (random (1+ jitter) random) 0)) (+ first index))))

(test blocks-come-out-in-order-whatever-the-network-does
  (let* ((random (sb-ext:seed-random-state 1))
         (given (given-out (regular 1000 :random random :jitter 50000) 1020)))
    ;; Not more than one in fifty may be late for the sake of the delay, and a few while little is known.
    (is (>= (length (times given)) 970))
    (is-true (apply #'< (times given)))))

(test what-is-lost-is-made-up-in-its-place
  (let* ((arrivals (remove 110 (regular 30) :key #'second))
         (given (given-out arrivals 34))
         (lost (find :lost given :key #'first)))
    (is (equal '(:lost 111) lost))
    (is (= 1 (count :lost (kinds (subseq given 0 30)))))
    (is (equal (mapcar #'second arrivals) (times given)))))

(test a-block-that-comes-twice-is-heard-once
  (let ((buffer (make-jitter-buffer +block+)))
    (is (eq :begun (buffer-put buffer (packet 7) 0)))
    (is (eq :double (buffer-put buffer (packet 7) 10)))
    (is (eq :kept (buffer-put buffer (packet 8) 20000)))
    (given-out '() 4 :buffer buffer :from 2)
    (is (eq :double (buffer-put buffer (packet 8) 90000)))))

(test the-delay-follows-the-jitter
  (flet ((delay-after (jitter)
           (let ((buffer (make-jitter-buffer +block+)) (random (sb-ext:seed-random-state 2)))
             (given-out (regular 600 :random random :jitter jitter) 600 :buffer buffer)
             (/ (buffer-delay buffer (* 600 +block+)) 1000))))
    (is (<= (delay-after 0) 20))
    (is (<= 40 (delay-after 50000) 75))
    (is (<= 90 (delay-after 100000) 130))))

(test it-grows-when-the-network-gets-worse-and-shrinks-again
  (let* ((buffer (make-jitter-buffer +block+)) (random (sb-ext:seed-random-state 3))
         (arrivals (loop for (at time) in (regular 3000)
                         collect (list (if (< 1000 time 1800) (+ at (random 100000 random)) at) time)))
         (given (given-out arrivals 1600 :buffer buffer))
         (worst (buffer-delay buffer (* 1599 +block+))))
    (is (<= 80000 worst 140000))
    (is-true (member :wait (kinds given)))
    (setf given (given-out (remove-if (lambda (arrival) (<= (first arrival) (* 1599 +block+))) arrivals) 1390
                           :buffer buffer :from 1600))
    (is-true (member :join (kinds given)))
    (is (<= (buffer-delay buffer (* 2990 +block+)) 45000))))

(test a-pause-is-silent-and-the-sound-after-it-is-whole
  (let* ((arrivals (append (butlast (regular 50)) (list (list (+ 5000 (* 49 +block+)) 149 t))
                           (loop for index from 200 below 230
                                 collect (list (+ 5000 (* index +block+)) (+ 100 index)))))
         (given (given-out arrivals 234)))
    (is (equal (mapcar #'second arrivals) (times given)))
    (is (null (member :wait (kinds given))))
    (is (null (member :lost (subseq (kinds given) 0 230))))
    (is (eq :pause (first (nth 100 given))))))

(test when-nothing-comes-any-more-it-becomes-silent
  (let ((kinds (kinds (given-out (regular 20) 60))))
    (is (= 5 (count :lost kinds)))
    (is (eq :pause (first (last kinds))))))

(test a-jump-is-followed-when-it-goes-on-from-there
  (let* ((buffer (make-jitter-buffer +block+))
         (before (given-out (regular 20) 20 :buffer buffer)))
    (is-true (times before))
    (is (eq :strange (buffer-put buffer (packet 4000000000) 400000)))
    (is (eq :strange (buffer-put buffer (packet 77777) 400000)))
    (is (equal (list (+ 100 18)) (times (given-out '() 1 :buffer buffer :from 20))))
    (is (eq :strange (buffer-put buffer (packet 1234567) 420000)))
    (is (eq :begun (buffer-put buffer (packet 1234568) 440000)))
    (is (eq :kept (buffer-put buffer (packet 1234569) 460000)))
    (is (equal '(1234568 1234569) (times (given-out '() 6 :buffer buffer :from 23))))))

(test the-number-of-32-bits-may-begin-again
  (let ((first (- (ash 1 32) 10)))
    (is (equal (loop for index below 30 collect (ldb (byte 32 0) (+ first index)))
               (times (given-out (regular 30 :first first) 34))))))

(test whatever-comes-the-buffer-is-bounded
  (let ((buffer (make-jitter-buffer +block+)) (random (sb-ext:seed-random-state 5)))
    (loop for tick below 2000
          for now = (* tick +block+)
          do (loop repeat (random 20 random)
                   do (buffer-put buffer (packet (if (zerop (random 2 random))
                                                     (random (ash 1 32) random)
                                                     (+ tick (random 200 random)))
                                                 (zerop (random 10 random)))
                                  now))
             (buffer-take buffer now)
             (is (<= 0 (buffer-delay buffer now) 5000000)))))
