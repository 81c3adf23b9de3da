(defpackage #:hydramesh/topology/graph
  (:use #:cl)
  (:import-from #:hydramesh/topology/control
                #:neighbour-health #:neighbour-node #:neighbour-rtt #:report-neighbours #:report-node)
  (:import-from #:hydramesh/topology/health #:+unreachable+)
  (:export #:graph #:make-graph #:graph-nodes #:graph-edges
           #:edge #:make-edge #:edge-one #:edge-other #:edge-rtt #:joined #:neighbours-in)
  (:documentation "A mesh as its nodes report it: who reaches whom, and how fast."))
(in-package #:hydramesh/topology/graph)

(defstruct (edge (:copier nil))
  "A way between two nodes, ONE being the lesser id, with its round-trip time."
  (one 0 :type unsigned-byte :read-only t)
  (other 0 :type unsigned-byte :read-only t)
  (rtt 0 :type unsigned-byte :read-only t))

(defstruct (graph (:copier nil))
  "NODES are ids, the least first; EDGES are unique."
  (nodes '() :type list :read-only t)
  (edges '() :type list :read-only t))

(defun joined (self reports)
  "Return the graph that REPORTS make together, of which the node SELF is one in any case.
Of an edge that several tell of, the least round-trip time counts; whom a reporter cannot reach is a
node, but there is no edge to it."
  (let ((nodes (make-hash-table)) (edges (make-hash-table :test 'equal)))
    (setf (gethash self nodes) t)
    (dolist (report reports)
      (let ((reporter (report-node report)))
        (setf (gethash reporter nodes) t)
        (dolist (neighbour (report-neighbours report))
          (let ((other (neighbour-node neighbour)))
            (setf (gethash other nodes) t)
            (unless (or (= other reporter) (= (neighbour-health neighbour) +unreachable+))
              (let* ((key (cons (min reporter other) (max reporter other)))
                     (known (gethash key edges)))
                (setf (gethash key edges) (if known
                                              (min known (neighbour-rtt neighbour))
                                              (neighbour-rtt neighbour)))))))))
    (make-graph :nodes (sort (loop for node being the hash-keys of nodes collect node) #'<)
                :edges (loop for (one . other) being the hash-keys of edges using (hash-value rtt)
                             collect (make-edge :one one :other other :rtt rtt)))))

(defun neighbours-in (graph)
  "Return a hash table of each node's neighbours in GRAPH: a list of conses of one and its RTT."
  (let ((neighbours (make-hash-table)))
    (dolist (edge (graph-edges graph) neighbours)
      (let ((one (edge-one edge)) (other (edge-other edge)) (rtt (edge-rtt edge)))
        (push (cons other rtt) (gethash one neighbours))
        (push (cons one rtt) (gethash other neighbours))))))
