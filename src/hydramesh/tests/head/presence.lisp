(defpackage #:hydramesh/tests/head/presence
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/events #:+heartbeat+)
  (:import-from #:hydramesh/head/core #:core-closed #:core-statistics)
  (:import-from #:hydramesh/head/statistics #:statistics-malformed)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:cluster-members #:add-worker #:add-client
                #:member-address #:say #:send #:received)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What a head answers a client that asks for its presence."))
(in-package #:hydramesh/tests/head/presence)

(fiveam:def-suite presence :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite presence)

(defun asked (client)
  (send client +heartbeat+ (make-array 0 :element-type '(unsigned-byte 8)))
  (pb:decode 'pb:presence (first (last (received client +heartbeat+)))))

(defun heads (client)
  (pb:presence-heads (asked client)))

(test the-head-answers-with-its-state-and-the-heads-that-workers-name
  (let ((cluster (new-cluster)))
    (add-worker cluster :id "a" :heads '("[2001:db8::1]:7717" "192.0.2.10:7717" "192.0.2.10:7717"))
    (add-worker cluster :id "b" :heads '("192.0.2.10:7717"))
    (let ((presence (asked (add-client cluster))))
      (is (= pb:+ready+ (pb:presence-state presence)))
      (is (equal '("192.0.2.10:7717" "[2001:db8::1]:7717") (pb:presence-heads presence))))))

(test a-worker-that-has-gone-names-no-heads
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :heads '("192.0.2.10:7717"))))
    (say worker pb:heartbeat-state pb:+stopped+)
    (is (null (heads (add-client cluster))))))

(test names-nonsense-and-loopback-of-other-machines-are-not-passed-on
  (let ((cluster (new-cluster)))
    (add-worker cluster :heads '("127.0.0.1:7717" "head.example:7717" "nonsense" "192.0.2.9:1"))
    (is (equal '("192.0.2.9:1") (heads (add-client cluster))))))

(test loopback-heads-are-told-on-the-same-machine
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (dolist (member (list worker client))
      (let ((address (ipv4 #x7f000001 (ldb (byte 16 0) (member-address member)))))
        (setf (member-address member) address
              (gethash address (cluster-members cluster)) member)))
    (say worker pb:heartbeat-heads '("127.0.0.1:7719"))
    (is (equal '("127.0.0.1:7719") (heads client)))
    (is (null (heads (add-client cluster))))))

(test only-so-many-heads-are-told-those-most-named
  (let ((cluster (new-cluster))
        (many (loop for number from 1 to 40 collect (format nil "192.0.2.~D:7717" number))))
    (add-worker cluster :id "a" :heads many)
    (add-worker cluster :id "b" :heads (last many))
    (let ((heads (heads (add-client cluster))))
      (is (= 16 (length heads)))
      (is (equal (last many) (list (first heads)))))))

(test a-head-that-shuts-down-says-so
  (let ((cluster (new-cluster)))
    (setf (core-closed (cluster-core cluster)) t)
    (is (= pb:+draining+ (pb:presence-state (asked (add-client cluster)))))))

(test heads-do-not-answer-each-other
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (send client +heartbeat+ (asked client))
    (is (null (received client +heartbeat+)))
    (is (= 1 (statistics-malformed (core-statistics (cluster-core cluster)))))))
