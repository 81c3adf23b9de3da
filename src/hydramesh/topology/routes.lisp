(defpackage #:hydramesh/topology/routes
  (:use #:cl)
  (:import-from #:hydramesh/topology/graph #:neighbours-in)
  (:import-from #:hydramesh/topology/health #:+unreachable+)
  (:export #:paths #:path-rtt #:path-to #:route #:make-route #:route-first #:route-health #:route-rtt
           #:failover)
  (:documentation "Ways through a mesh: the shortest by RTT, and in which order to try several."))
(in-package #:hydramesh/topology/routes)

;;; Shortest paths

(defstruct (step-to (:conc-name step-) (:copier nil))
  "That a NODE is reached within RTT, by way of FROM."
  (node 0 :type unsigned-byte :read-only t)
  (rtt 0 :type unsigned-byte :read-only t)
  (from 0 :type unsigned-byte :read-only t))

(defun sooner-p (one other)
  "Return whether the step ONE is taken before OTHER: the nearer node, then the least, from the least."
  (flet ((order (key)
           (- (funcall key one) (funcall key other))))
    (minusp (or (find-if-not #'zerop (mapcar #'order (list #'step-rtt #'step-node #'step-from))) 0))))

(defun paths (graph source &key without)
  "Return the shortest paths from the node SOURCE in GRAPH, for the functions below.
Of two that are as short, a node's is the one that comes from the lesser id. None leads through the
node WITHOUT. This is Dijkstra's algorithm."
  (let ((neighbours (neighbours-in graph))
        (frontier (list (make-step-to :node source :from source)))
        (taken (make-hash-table)))
    (loop while frontier
          do (let* ((next (pop frontier)) (node (step-node next)))
               (unless (or (gethash node taken) (eql node without))
                 (setf (gethash node taken) next)
                 (let ((further (loop for (other . rtt) in (gethash node neighbours)
                                      unless (gethash other taken)
                                        collect (make-step-to :node other :rtt (+ (step-rtt next) rtt)
                                                              :from node))))
                   (when further
                     (setf frontier (merge 'list (sort further #'sooner-p) frontier #'sooner-p)))))))
    taken))

(defun path-rtt (paths node)
  "Return the RTT of the shortest path to NODE, NIL if there is none."
  (let ((step (gethash node paths)))
    (and step (step-rtt step))))

(defun path-to (paths node)
  "Return the nodes on the shortest path to NODE, that one last and without the source; NIL if there is none."
  (let ((path '()))
    (loop for step = (gethash node paths)
          while (and step (/= (step-from step) (step-node step)))
          do (push node path)
             (setf node (step-from step)))
    path))

;;; Failover

(defstruct (route (:copier nil))
  "A way to somewhere, whose FIRST node has that HEALTH, and which takes RTT in all."
  (first 0 :type unsigned-byte :read-only t)
  (health 0 :type (integer 0 2) :read-only t)
  (rtt 0 :type unsigned-byte :read-only t))

(defun failover (routes)
  "Return those of ROUTES that can be gone, in the order in which to try them: by health, RTT and id."
  (flet ((before-p (one other)
           (loop for key in (list #'route-health #'route-rtt #'route-first)
                 for order = (- (funcall key one) (funcall key other))
                 unless (zerop order)
                   return (minusp order))))
    (sort (remove +unreachable+ routes :key #'route-health) #'before-p)))
