(defpackage #:hydramesh/tests/topology
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:is-true)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/topology/control
                #:make-neighbour #:make-report #:neighbour-health #:neighbour-node #:neighbour-rtt
                #:read-report #:report-neighbours #:report-node #:role-message)
  (:import-from #:hydramesh/topology/distance #:rtt-group #:smoothed #:+isolated+)
  (:import-from #:hydramesh/topology/election #:elect #:successor #:+leaf+ #:+relay+ #:+master+)
  (:import-from #:hydramesh/topology/graph
                #:edge-one #:edge-other #:edge-rtt #:graph-edges #:graph-nodes #:joined)
  (:import-from #:hydramesh/topology/health #:health #:+healthy+ #:+degraded+ #:+unreachable+)
  (:import-from #:hydramesh/topology/routes
                #:failover #:make-route #:path-rtt #:path-to #:paths #:route-first)
  (:documentation "The rules of DCF's mesh, beside the same said in another and slower way."))
(in-package #:hydramesh/tests/topology)

(fiveam:def-suite topology :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite topology)

(defvar *random* (sb-ext:seed-random-state 11))

(defun below (number)
  (random number *random*))

;;; Health and distance

(defun answers (text)
  "Return the probes that TEXT shows, of which + were answered."
  (map 'list (lambda (character) (char= character #\+)) text))

(test a-peer-is-as-healthy-as-its-last-probes-say
  (loop for (text expected) in `(("" ,+healthy+) ("+++++" ,+healthy+) ("-" ,+degraded+) ("+-" ,+degraded+)
                                 ("--" ,+degraded+) ("--+" ,+healthy+) ("---" ,+unreachable+)
                                 ("---+" ,+unreachable+) ("---++" ,+healthy+) ("---+-" ,+unreachable+)
                                 ("-+-+-" ,+degraded+) ("+---+" ,+unreachable+))
        do (is (= expected (health (answers text))) "~A" text)))

(defun health-at (answers fail ok)
  "Return the health after all of ANSWERS: the last run of FAIL failures, or of OK answers after one, decides."
  (flet ((run-ends-at (index length answered)
           (and (>= (1+ index) length)
                (loop for place from (1+ (- index length)) to index
                      always (eq answered (nth place answers))))))
    (let* ((last (1- (length answers)))
           (failed (loop for index from last downto 0
                         when (run-ends-at index fail nil) return index)))
      (cond ((and failed (loop for index from (+ failed ok) to last
                               never (run-ends-at index ok t)))
             +unreachable+)
            ((or (null answers) (nth last answers)) +healthy+)
            (t +degraded+)))))

(test health-is-the-same-looked-at-from-the-end
  (loop repeat 3000
        do (let ((answers (loop repeat (below 12) collect (zerop (below 2))))
                 (fail (1+ (below 4)))
                 (ok (1+ (below 3))))
             (unless (= (health-at answers fail ok) (health answers :fail fail :ok ok))
               (fiveam:fail "~S with ~D and ~D" answers fail ok))))
  (is-true t))

(test a-group-is-how-often-the-threshold-fits
  (is (equal '(0 0 1 2 19) (loop for rtt in '(0 49 50 120 999) collect (rtt-group rtt 50 +healthy+))))
  (is (= 2 (rtt-group 120 50 +degraded+)))
  (is (= +isolated+ -1 (rtt-group 120 50 +unreachable+))))

(test a-smoothed-time-goes-an-eighth-of-the-way-and-gets-there
  (is (= 700 (smoothed nil 700)))
  (is (= 725 (smoothed 700 900)))
  (let ((rtt 1000000))
    (loop repeat 200 do (setf rtt (smoothed rtt 500)))
    (is (<= 500 rtt 508))
    (loop repeat 200 do (setf rtt (smoothed rtt 90000)))
    (is (<= 89992 rtt 90000))))

;;; Graphs

(defun neighbours (&rest entries)
  (loop for (node health rtt) in entries collect (make-neighbour :node node :health health :rtt rtt)))

(defun report (node &rest entries)
  (make-report :node node :neighbours (apply #'neighbours entries)))

(defun edges-of (graph)
  "Return the edges of GRAPH as lists, in order."
  (sort (loop for edge in (graph-edges graph)
              collect (list (edge-one edge) (edge-other edge) (edge-rtt edge)))
        (lambda (one other) (or (< (first one) (first other))
                                (and (= (first one) (first other)) (< (second one) (second other)))))))

(test reports-are-joined-with-each-edge-once-and-its-least-time
  (let ((graph (joined 9 (list (report 1 '(2 0 30) '(3 2 1) '(1 0 5) '(2 1 25))
                               (report 2 '(1 0 40) '(9 1 7))))))
    (is (equal '(1 2 3 9) (graph-nodes graph)))
    (is (equal '((1 2 25) (2 9 7)) (edges-of graph))))
  (is (equal '(4) (graph-nodes (joined 4 '())))))

(defun random-reports (nodes)
  "Return reports of some of NODES about others; times often equal each other, and may be 0."
  (loop repeat (below 7)
        collect (apply #'report (below nodes)
                       (loop repeat (below 6)
                             collect (list (below nodes) (below 3) (below 4))))))

;;; Election

(defun graph-of (&rest edges)
  "Return the graph of EDGES, lists of two nodes and a time; 0 is a node in any case."
  (joined 0 (loop for (one other rtt) in edges collect (report one (list other 0 rtt)))))

(defun roles-in (graph)
  "Return the master of GRAPH, and the roles of its nodes in their order."
  (multiple-value-bind (master roles) (elect graph)
    (list master (loop for node in (graph-nodes graph) collect (gethash node roles)))))

(test the-best-connected-node-is-master-and-of-equals-the-nearest-then-the-least
  (is (equal '(1 (0 2 0 0)) (roles-in (graph-of '(1 0 10) '(1 2 10) '(1 3 10)))))
  (is (equal '(1 (0 2 1 1 0)) (roles-in (graph-of '(0 1 5) '(1 2 5) '(2 3 5) '(3 4 5)))))
  ;; 0 and 1 have two neighbours each; to those of 1 it is nearer.
  (is (equal '(1 (1 2 0 0)) (roles-in (graph-of '(0 1 10) '(0 2 10) '(1 3 4)))))
  ;; 10 and 11 milliseconds are 10 in the mean, rounded down.
  (is (equal '(0 (2 1 0 0)) (roles-in (graph-of '(0 1 10) '(0 2 11) '(1 3 10)))))
  (is (equal '(0 (2)) (roles-in (graph-of)))))

(defun elected (graph)
  "Return the master of GRAPH: the first of all nodes by their rank."
  (flet ((rank (node)
           (let ((times (loop for (one other rtt) in (edges-of graph)
                              when (or (= one node) (= other node)) collect rtt)))
             (list (- (length times))
                   (if times (floor (apply #'+ times) (length times)) 0)
                   node))))
    (first (sort (copy-list (graph-nodes graph))
                 (lambda (one other)
                   (loop for this in (rank one) for that in (rank other)
                         unless (= this that) return (< this that)))))))

(test the-master-ranks-before-all-others-and-roles-follow-from-degrees
  (loop repeat 2000
        do (let ((graph (joined (below 8) (random-reports 8))))
             (multiple-value-bind (master roles) (elect graph)
               (let ((expected (loop for node in (graph-nodes graph)
                                     for degree = (count-if (lambda (edge)
                                                              (find node (subseq edge 0 2)))
                                                            (edges-of graph))
                                     collect (cond ((= node master) +master+)
                                                   ((>= degree 2) +relay+)
                                                   (t +leaf+)))))
                 (unless (and (= master (elected graph))
                              (equal expected (loop for node in (graph-nodes graph)
                                                    collect (gethash node roles))))
                   (fiveam:fail "~S" graph))))))
  (is-true t))

(test who-has-lost-its-master-follows-the-least-that-it-can-reach
  (is (= 2 (successor 5 (neighbours '(1 2 0) '(2 1 0) '(7 0 0)))))
  (is (= 5 (successor 5 (neighbours '(1 2 0) '(7 0 0)))))
  (is (= 5 (successor 5 '()))))

;;; Routes

(test paths-are-the-shortest-and-of-equals-the-one-from-the-lesser-node
  (let ((paths (paths (graph-of '(0 1 10) '(1 2 10) '(0 2 50) '(4 5 1)) 0)))
    (is (= 20 (path-rtt paths 2)))
    (is (equal '(1 2) (path-to paths 2)))
    (is (= 0 (path-rtt paths 0)))
    (is (null (path-to paths 0)))
    (is (null (path-rtt paths 4)))
    (is (null (path-to paths 4))))
  (is (equal '(1 3) (path-to (paths (graph-of '(0 1 5) '(0 2 5) '(1 3 5) '(2 3 5)) 0) 3)))
  (is (equal '(2 3) (path-to (paths (graph-of '(0 1 5) '(0 2 5) '(1 3 5) '(2 3 5)) 0 :without 1) 3))))

(defun distances (graph source)
  "Return the RTT of the shortest path to each node of GRAPH: Bellman and Ford's way."
  (let ((known (list (cons source 0))))
    (loop repeat (length (graph-nodes graph))
          do (loop for (one other rtt) in (edges-of graph)
                   do (loop for (from . to) in (list (cons one other) (cons other one))
                            for way = (cdr (assoc from known))
                            when way
                              do (let ((there (assoc to known)))
                                   (cond ((null there) (push (cons to (+ way rtt)) known))
                                         ((< (+ way rtt) (cdr there)) (setf (cdr there) (+ way rtt))))))))
    known))

(test every-path-is-as-short-as-any-and-leads-along-edges
  (loop repeat 1000
        do (let* ((graph (joined 0 (random-reports 8)))
                  (paths (paths graph 0))
                  (expected (distances graph 0)))
             (flet ((rtt (one other)
                      (third (find (list (min one other) (max one other)) (edges-of graph)
                                   :key (lambda (edge) (subseq edge 0 2)) :test #'equal))))
               (dolist (node (graph-nodes graph))
                 (unless (and (eql (path-rtt paths node) (cdr (assoc node expected)))
                              (or (null (path-rtt paths node))
                                  (= (path-rtt paths node)
                                     (loop for (one other) on (cons 0 (path-to paths node))
                                           while other sum (rtt one other)))))
                   (fiveam:fail "~D in ~S" node graph))
                 ;; Times of 0 apart, no lesser node would do as well as the last one before it.
                 (let ((before (first (last (cons 0 (path-to paths node)) 2))))
                   (when (and (path-to paths node) (every (lambda (edge) (plusp (third edge))) (edges-of graph)))
                     (dolist (other (graph-nodes graph))
                       (when (and (< other before) (rtt other node) (path-rtt paths other)
                                  (= (path-rtt paths node) (+ (path-rtt paths other) (rtt other node))))
                         (fiveam:fail "~D before ~D in ~S" other node graph)))))))))
  (is-true t))

(test failover-tries-who-is-healthy-then-who-is-near-and-never-who-is-gone
  (flet ((order (&rest routes)
           (mapcar #'route-first
                   (failover (loop for (first health rtt) in routes
                                   collect (make-route :first first :health health :rtt rtt))))))
    (is (equal '(5 3 7) (order '(7 1 5) '(3 0 9) '(4 2 1) '(5 0 2))))
    (is (equal '(1 2) (order '(2 0 10) '(1 0 10))))
    (is (null (order '(9 2 1))))))

;;; Messages

(defun octets (&rest bytes)
  (coerce bytes '(simple-array (unsigned-byte 8) (*))))

(defun written (report)
  "Return the bytes of REPORT."
  (flet ((two (number) (list (floor number 256) (mod number 256))))
    (apply #'octets 0 1
           (append (two (report-node report))
                   (list (length (report-neighbours report)))
                   (loop for neighbour in (report-neighbours report)
                         append (two (neighbour-node neighbour))
                         append (list (neighbour-health neighbour))
                         append (two (neighbour-rtt neighbour)))))))

(test a-report-is-read-as-it-was-written
  (loop repeat 300
        do (let* ((report (apply #'report (below 65536)
                                 (loop repeat (below 256)
                                       collect (list (below 65536) (below 3) (below 65536))))))
             (unless (equalp report (read-report (written report)))
               (fiveam:fail "~S" report))))
  (is (equalp (report 5 '(1 0 10) '(2 1 30) '(3 2 9999))
              (read-report (octets 0 1 0 5 3 0 1 0 0 10 0 2 1 0 30 0 3 2 #x27 #x0f)))))

(test what-is-no-report-of-this-version-is-none
  (let ((good (written (report 5 '(1 0 10) '(2 1 30)))))
    (is-true (read-report good))
    (loop for end below (length good)
          do (is (null (read-report (subseq good 0 end)))))
    (is (null (read-report (concatenate '(simple-array (unsigned-byte 8) (*)) good #(0)))))
    (flet ((changed (place value)
             (let ((bytes (copy-seq good)))
               (setf (aref bytes place) value)
               (read-report bytes))))
      (is (null (changed 0 1)))
      (is (null (changed 1 2)))
      (is (null (changed 4 1)))
      (is (null (changed 7 3))))))

(test any-bytes-are-a-report-or-none-and-a-report-has-no-other-bytes
  (loop repeat 20000
        do (let ((bytes (apply #'octets 0 1 (loop repeat (below 30) collect (below 8)))))
             (let ((report (read-report bytes)))
               (when (and report (not (equalp bytes (written report))))
                 (fiveam:fail "~S" bytes)))))
  (is-true t))

(test a-role-names-the-node-and-its-master
  (is (equalp (octets 1 1 0 7 1 0 5) (role-message 7 +relay+ 5)))
  (is (equalp (octets 1 1 255 255 0 0 161) (role-message 65535 +leaf+ 161))))
