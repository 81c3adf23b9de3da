(defpackage #:hydramesh/head/nodes
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/events #:microseconds #:octets #:seconds #:+mesh+)
  (:import-from #:hydramesh/head/link #:link-send)
  (:import-from #:hydramesh/topology/control
                #:report #:report-node #:report-neighbours #:read-report #:role-message)
  (:import-from #:hydramesh/topology/election #:elect #:+leaf+)
  (:import-from #:hydramesh/topology/graph #:joined)
  (:export #:node #:node-id #:node-address #:node-seen-at #:node-role #:node-master #:node-neighbours
           #:nodes #:make-nodes #:nodes-self #:nodes-count #:nodes-list #:nodes-graph #:nodes-take
           #:nodes-tick)
  (:documentation "Nodes of other DCF implementations, to which this head is the master that assigns roles.

They REPORT whom they hear, and are told their ROLE by an election over all reports. They are sent nothing
else but what DCF itself knows."))
(in-package #:hydramesh/head/nodes)

(defparameter +election-interval+ (seconds 1) "The least time between two elections.")

(defstruct (node (:copier nil))
  "A node that has reported. ROLE and MASTER are what it was told last; it is DUE-P to be told again."
  (id 0 :type (unsigned-byte 16) :read-only t)
  (address 0 :type address)
  (seen-at 0 :type microseconds)
  (report nil :type (or null report))
  (role +leaf+ :type (integer 0 2))
  (master 0 :type (unsigned-byte 16))
  (due-p nil))

(defstruct (nodes (:constructor make-nodes (self most link)) (:copier nil))
  "All nodes by their ids, MOST of them, where SELF is this head's own. An election may be held at ELECT-AT."
  (self 0 :type (unsigned-byte 16) :read-only t)
  (most 0 :type unsigned-byte :read-only t)
  (link nil :read-only t)
  (by-id (make-hash-table) :type hash-table :read-only t)
  (elect-at 0 :type microseconds)
  (due-p nil))

(defun nodes-count (nodes)
  "Return the number of nodes."
  (hash-table-count (nodes-by-id nodes)))

(defun nodes-list (nodes)
  "Return all nodes, the least id first."
  (sort (loop for node being the hash-values of (nodes-by-id nodes) collect node) #'< :key #'node-id))

(defun node-neighbours (node)
  "Return what it reported of others, a list of NEIGHBOUR."
  (report-neighbours (node-report node)))

(defun nodes-graph (nodes)
  "Return the mesh as the nodes report it."
  (joined (nodes-self nodes) (mapcar #'node-report (nodes-list nodes))))

(defun nodes-take (nodes peer payload now)
  "Take in PAYLOAD of a MESH that came from the address PEER; return whether that was a report.
A node is told its role by the next `nodes-tick` at which an election may be held."
  (declare (type octets payload))
  (let ((report (read-report payload)))
    (when (and report (/= (report-node report) (nodes-self nodes)))
      (let* ((by-id (nodes-by-id nodes))
             (id (report-node report))
             (node (or (gethash id by-id)
                       (and (< (hash-table-count by-id) (nodes-most nodes))
                            (setf (gethash id by-id) (make-node :id id))))))
        (when node
          (setf (node-address node) peer
                (node-seen-at node) now
                (node-report node) report
                (node-due-p node) t
                (nodes-due-p nodes) t))
        t))))

(defun nodes-tick (nodes patience now)
  "Forget the nodes that were silent for longer than PATIENCE, and tell those their role that wait for it."
  (loop with silent = (- now patience)
        for node in (nodes-list nodes)
        when (< (node-seen-at node) silent)
          do (remhash (node-id node) (nodes-by-id nodes)))
  (when (and (nodes-due-p nodes) (>= now (nodes-elect-at nodes)))
    (setf (nodes-due-p nodes) nil
          (nodes-elect-at nodes) (+ now +election-interval+))
    (multiple-value-bind (master roles) (elect (nodes-graph nodes))
      (dolist (node (nodes-list nodes))
        (when (shiftf (node-due-p node) nil)
          (setf (node-role node) (gethash (node-id node) roles)
                (node-master node) master)
          (link-send (nodes-link nodes) (node-address node) +mesh+
                     (role-message (node-id node) (node-role node) master)))))))
