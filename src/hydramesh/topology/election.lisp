(defpackage #:hydramesh/topology/election
  (:use #:cl)
  (:import-from #:hydramesh/topology/control #:neighbour-health #:neighbour-node)
  (:import-from #:hydramesh/topology/graph #:graph-nodes #:neighbours-in)
  (:import-from #:hydramesh/topology/health #:+unreachable+)
  (:export #:+leaf+ #:+relay+ #:+master+ #:elect #:successor)
  (:documentation "Who leads a mesh, by the rules of DCF's, so that all who know the same choose the same."))
(in-package #:hydramesh/topology/election)

(defconstant +leaf+ 0)
(defconstant +relay+ 1)
(defconstant +master+ 2)

(defconstant +relay-degree+ 2 "Neighbours that make a node a relay.")

(defun elect (graph)
  "Return who is the master of GRAPH, and a hash table of the role of every node.
It is the one with the most neighbours; of several, the one with the least mean RTT to them, rounded
down; of several, the one with the least id. GRAPH has at least one node."
  (let ((neighbours (neighbours-in graph))
        (roles (make-hash-table))
        (master nil) (most 0) (least 0))
    (dolist (node (graph-nodes graph))
      (let* ((ways (gethash node neighbours))
             (degree (length ways))
             (mean (if ways (floor (reduce #'+ ways :key #'cdr) degree) 0)))
        (setf (gethash node roles) (if (>= degree +relay-degree+) +relay+ +leaf+))
        (when (or (null master)
                  (> degree most)
                  (and (= degree most) (< mean least)))
          (setf master node
                most degree
                least mean))))
    (setf (gethash master roles) +master+)
    (values master roles)))

(defun successor (self neighbours)
  "Return whom the node SELF follows when it cannot reach its master any more: the least id that it can.
NEIGHBOURS are those that it hears, without that master."
  (loop with least = self
        for neighbour in neighbours
        unless (= (neighbour-health neighbour) +unreachable+)
          do (setf least (min least (neighbour-node neighbour)))
        finally (return least)))
