(defpackage #:hydramesh/tests/head/nodes
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/events #:+mesh+)
  (:import-from #:hydramesh/head/core #:core-statistics)
  (:import-from #:hydramesh/head/statistics #:statistics-malformed)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:cluster-core #:pass-time #:add-client #:add-worker #:member-inbox #:received
                #:send #:status)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Nodes of other DCF implementations at a head."))
(in-package #:hydramesh/tests/head/nodes)

(fiveam:def-suite nodes :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite nodes)

(defun octets (&rest bytes)
  (coerce bytes '(simple-array (unsigned-byte 8) (*))))

(defun report (at node &rest neighbours)
  "Send from AT what NODE reports of NEIGHBOURS, lists of an id, a health and an RTT."
  (send at +mesh+ (apply #'octets 0 1 (ash node -8) (logand node 255) (length neighbours)
                         (loop for (id health rtt) in neighbours
                               append (list (ash id -8) (logand id 255) health (ash rtt -8) (logand rtt 255))))))

(defun nodes-of (cluster)
  "Return the id, role, master and number of peers of each node in the status."
  (loop for node in (pb:cluster-status-nodes (status (add-client cluster)))
        collect (list (pb:node-status-node node) (pb:enum-name 'pb:role (pb:node-status-role node))
                      (pb:node-status-master node) (pb:node-status-peers node))))

(test a-report-is-answered-with-a-role-and-the-node-is-known
  (let* ((cluster (new-cluster)) (one (add-client cluster)) (two (add-client cluster)))
    ;; The head is node 0, and both reach it; so it is the master.
    (report one 7 '(0 0 3) '(300 0 9))
    (report two 300 '(0 1 4))
    (pass-time cluster 1)
    (is (equalp (list (octets 1 1 0 7 1 0 0)) (received one +mesh+)))
    (is (equalp (list (octets 1 1 1 44 1 0 0)) (received two +mesh+)))
    (is (equal '((7 "RELAY" 0 2) (300 "RELAY" 0 1)) (nodes-of cluster)))))

(test the-node-that-reaches-most-is-master-and-all-are-told
  (let* ((cluster (new-cluster)) (one (add-client cluster)) (two (add-client cluster)))
    (report one 7 '(8 0 3) '(9 0 3) '(0 2 0))
    (report two 8 '(7 0 2))
    (pass-time cluster 1)
    (is (equalp (list (octets 1 1 0 7 2 0 7)) (received one +mesh+)))
    (is (equalp (list (octets 1 1 0 8 0 0 7)) (received two +mesh+)))))

(test each-report-is-answered-but-there-is-one-election-a-second
  (let* ((cluster (new-cluster)) (node (add-client cluster)))
    (loop repeat 100
          do (report node 7 '(0 0 3))
             (pass-time cluster 0.1))
    (is (<= 9 (length (received node +mesh+)) 11))))

(test a-silent-node-is-forgotten-and-sent-nothing
  (let* ((cluster (new-cluster)) (node (add-client cluster)))
    (report node 7)
    (pass-time cluster 1)
    (received node +mesh+)
    (pass-time cluster 8)
    (is (equal '((7 "LEAF" 0 0)) (nodes-of cluster)))
    (pass-time cluster 3)
    (is (null (nodes-of cluster)))
    (is (null (member-inbox node)))))

(test a-node-is-told-at-the-address-that-it-reported-from-last
  (let* ((cluster (new-cluster)) (before (add-client cluster)) (after (add-client cluster)))
    (report before 7)
    (report after 7)
    (pass-time cluster 1)
    (is (null (received before +mesh+)))
    (is (= 1 (length (received after +mesh+))))))

(test no-more-nodes-are-known-than-may-be-and-the-others-stay
  (let* ((cluster (new-cluster)) (node (add-client cluster)))
    (dotimes (id 300)
      (report node (+ 1 id)))
    (pass-time cluster 1)
    (let ((nodes (nodes-of cluster)))
      (is (= 128 (length nodes)))
      (is (equal 1 (first (first nodes)))))))

(test what-is-no-report-or-has-the-heads-own-number-is-counted-and-nothing-more
  (let* ((cluster (new-cluster)) (node (add-client cluster)))
    (dolist (bytes (list (octets) (octets 0) (octets 1 1 0 7 1 0 0) (octets 0 2 0 7 0) (octets 0 1 0 7 1)
                         (octets 0 1 0 0 0) (octets 0 1 0 7 1 0 8 3 0 0)))
      (send node +mesh+ bytes))
    (pass-time cluster 1)
    (is (= 7 (statistics-malformed (core-statistics (cluster-core cluster)))))
    (is (null (nodes-of cluster)))
    (is (null (member-inbox node)))))

(test nodes-see-nothing-of-the-cluster
  (let* ((cluster (new-cluster)) (node (add-client cluster)))
    (add-worker cluster)
    (loop repeat 20
          do (report node 7 '(0 0 3))
             (pass-time cluster 1))
    (is (equal (list +mesh+) (remove-duplicates (mapcar #'car (member-inbox node)))))))
