(defpackage #:hydramesh/tests/topology-vectors
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:skip)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/tests/vector-file #:at #:bytes #:vectors)
  (:import-from #:hydramesh/topology/control
                #:make-neighbour #:make-report #:read-report #:role-message)
  (:import-from #:hydramesh/topology/distance #:rtt-group)
  (:import-from #:hydramesh/topology/election #:elect)
  (:import-from #:hydramesh/topology/graph
                #:edge-one #:edge-other #:edge-rtt #:graph-edges #:graph-nodes #:joined)
  (:import-from #:hydramesh/topology/health #:health)
  (:import-from #:hydramesh/topology/routes
                #:failover #:make-route #:path-rtt #:path-to #:paths #:route-first)
  (:documentation "The rules of DCF's mesh come to what tests/vectors/mesh.json says."))
(in-package #:hydramesh/tests/topology-vectors)

(fiveam:def-suite topology-vectors :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite topology-vectors)

(defparameter +groups+ '("reports" "roles" "health" "groups" "meshes" "failover"))

(defmacro do-cases ((case group) &body body)
  "Run BODY for each CASE of GROUP in the file."
  (let ((file (gensym)))
    `(let ((,file (vectors "mesh.json" +groups+)))
       (if (null ,file)
           (skip "There is no tests/vectors/mesh.json.")
           (loop for ,case across (at ,file ,group)
                 do (progn ,@body))))))

(defun lists (value)
  "Return VALUE with lists for its arrays."
  (if (and (vectorp value) (not (stringp value))) (map 'list #'lists value) value))

(defun report-of (node neighbours)
  (make-report :node node
               :neighbours (loop for (other health rtt) in neighbours
                                 collect (make-neighbour :node other :health health :rtt rtt))))

(test messages-are-read-and-written-as-the-file-says
  (do-cases (case "reports")
    (is (equalp (if (at case "drop") nil (report-of (at case "node") (lists (at case "neighbours"))))
                (read-report (bytes (at case "bytes"))))))
  (do-cases (case "roles")
    (is (equalp (bytes (at case "bytes"))
                (role-message (at case "node") (at case "role") (at case "master"))))))

(test health-and-groups-are-what-the-file-says
  (do-cases (case "health")
    (is (= (at case "health")
           (health (loop for answer in (lists (at case "answers")) collect (eq answer :true))))
        "~A" (lists (at case "answers"))))
  (do-cases (case "groups")
    (is (= (at case "group") (rtt-group (at case "ms") (at case "threshold") (at case "health"))))))

(test meshes-have-the-edges-roles-and-paths-that-the-file-says
  (do-cases (case "meshes")
    (let ((graph (joined (at case "self")
                         (loop for (node neighbours) in (lists (at case "reports"))
                               collect (report-of node neighbours)))))
      (is (equal (lists (at case "nodes")) (graph-nodes graph)))
      (is (equal '() (set-exclusive-or (lists (at case "edges"))
                                       (loop for edge in (graph-edges graph)
                                             collect (list (edge-one edge) (edge-other edge) (edge-rtt edge)))
                                       :test #'equal)))
      (multiple-value-bind (master roles) (elect graph)
        (is (= (at case "master") master))
        (is (equal (lists (at case "roles"))
                   (loop for node in (graph-nodes graph) collect (gethash node roles)))))
      (let ((paths (paths graph (at case "self"))))
        (is (equal (lists (at case "paths"))
                   (loop for node in (graph-nodes graph)
                         when (path-to paths node)
                           collect (list node (path-rtt paths node) (path-to paths node)))))))))

(test failover-has-the-order-that-the-file-says
  (do-cases (case "failover")
    (is (equal (lists (at case "order"))
               (mapcar #'route-first
                       (failover (loop for (first health rtt) in (lists (at case "routes"))
                                       collect (make-route :first first :health health :rtt rtt))))))))
