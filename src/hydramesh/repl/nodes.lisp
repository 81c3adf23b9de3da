(defpackage #:hydramesh/repl/nodes
  (:use #:cl)
  (:import-from #:hydramesh/address #:format-address)
  (:import-from #:hydramesh/head/core #:core-nodes)
  (:import-from #:hydramesh/head/nodes
                #:node-address #:node-id #:node-master #:node-neighbours #:node-role #:node-seen-at
                #:nodes-graph #:nodes-list #:nodes-self)
  (:import-from #:hydramesh/repl/console #:look)
  (:import-from #:hydramesh/repl/tables #:print-rows #:seconds-text)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:word)
  (:import-from #:hydramesh/topology/control #:neighbour-health #:neighbour-node #:neighbour-rtt)
  (:import-from #:hydramesh/topology/election #:successor)
  (:import-from #:hydramesh/topology/routes
                #:failover #:make-route #:path-rtt #:path-to #:paths #:route-first #:route-health #:route-rtt)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:nodes #:routes)
  (:documentation "What a session of the REPL can ask about the nodes of other DCF implementations."))
(in-package #:hydramesh/repl/nodes)

(defun nodes ()
  "Print every node of another DCF implementation that reports to this head, how far away it is, and which
NEXT one it follows if it loses this head."
  (multiple-value-bind (rows graph self)
      (look (lambda (core now)
              (let ((nodes (core-nodes core)))
                (values (loop for node in (nodes-list nodes)
                              collect (list (node-id node)
                                            (word 'pb:role (1+ (node-role node)))
                                            (node-master node)
                                            (next node (nodes-self nodes))
                                            (length (node-neighbours node))
                                            (format nil "~A ago" (seconds-text (- now (node-seen-at node))))
                                            (format-address (node-address node))))
                        (nodes-graph nodes)
                        (nodes-self nodes)))))
    (let ((paths (paths graph self)))
      (print-rows '("NODE" "ROLE" "MASTER" "NEXT" "PEERS" "RTT" "HEARD" "ADDRESS")
                  (loop for (id role master next peers heard address) in rows
                        collect (list id role master next peers
                                      (and (path-rtt paths id) (format nil "~D ms" (path-rtt paths id)))
                                      heard address))
                  "nodes"))))

(defun next (node head)
  (successor (node-id node) (remove head (node-neighbours node) :key #'neighbour-node)))

(defun routes (node)
  "Print the ways from this head to NODE, the number of one in (nodes) or of one that they name."
  (check-type node (unsigned-byte 16))
  (multiple-value-bind (neighbours graph self)
      (look (lambda (core now)
              (declare (ignore now))
              (let ((nodes (core-nodes core)))
                (values (loop for reporter in (nodes-list nodes)
                              for said = (find (nodes-self nodes) (node-neighbours reporter)
                                               :key #'neighbour-node)
                              when said
                                collect (list (node-id reporter) (neighbour-health said) (neighbour-rtt said)))
                        (nodes-graph nodes)
                        (nodes-self nodes)))))
    (let* ((ways (loop for (first health rtt) in neighbours
                       for paths = (paths graph first :without self)
                       when (path-rtt paths node)
                         collect (cons (make-route :first first :health health
                                                   :rtt (+ rtt (path-rtt paths node)))
                                       (cons first (path-to paths node)))))
           (routes (failover (mapcar #'car ways))))
      (print-rows '("" "HEALTH" "RTT" "BY WAY OF")
                  (loop for route in routes
                        for rank from 1
                        collect (list (format nil "~D." rank)
                                      (word 'pb:health (1+ (route-health route)))
                                      (format nil "~D ms" (route-rtt route))
                                      (format nil "~{~D~^, ~}" (cdr (assoc route ways)))))
                  "routes"))))
