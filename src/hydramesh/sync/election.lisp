(defpackage #:hydramesh/sync/election
  (:use #:cl)
  (:import-from #:hydramesh/topology/control #:make-neighbour #:make-report)
  (:import-from #:hydramesh/topology/election #:+leaf+ #:elect)
  (:import-from #:hydramesh/topology/graph #:graph-edges #:joined #:make-graph)
  (:import-from #:hydramesh/topology/health #:+healthy+)
  (:export #:member #:make-member #:role-of)
  (:shadow #:member)
  (:documentation "Which role each of several heads has, by the rules of DCF's mesh: those that hear each
other are its nodes."))
(in-package #:hydramesh/sync/election)

(defstruct (member (:constructor make-member (id ready links)) (:copier nil))
  "A head: whether it is READY to take tasks, and LINKS, an alist of the ids of others that it hears and of
the milliseconds of a round trip to each."
  (id "" :type string :read-only t)
  (ready nil :type boolean :read-only t)
  (links '() :type list :read-only t))

(defun role-of (id members)
  "Return the role of the head with that ID among MEMBERS, a list: +LEAF+, +RELAY+ or +MASTER+.
One that takes no tasks is elected only if none does."
  (let* ((numbers (numbers members))
         (graph (joined (gethash id numbers)
                        (mapcar (lambda (member) (report-of member numbers)) members)))
         (candidates (mapcar (lambda (member) (gethash (member-id member) numbers))
                             (or (remove-if-not #'member-ready members) members)))
         (roles (nth-value 1 (elect (make-graph :nodes (sort candidates #'<)
                                                :edges (graph-edges graph))))))
    (values (gethash (gethash id numbers) roles +leaf+))))

(defun numbers (members)
  "Return a hash table of a number for each id that is told of, in the order of ids."
  (let ((ids '()) (numbers (make-hash-table :test 'equal)))
    (dolist (member members)
      (push (member-id member) ids)
      (loop for (id) in (member-links member) do (push id ids)))
    (loop for id in (remove-duplicates (sort ids #'string<) :test #'string=)
          for number from 0
          do (setf (gethash id numbers) number))
    numbers))

(defun report-of (member numbers)
  (make-report :node (gethash (member-id member) numbers)
               :neighbours (loop for (id . rtt) in (member-links member)
                                 collect (make-neighbour :node (gethash id numbers)
                                                         :health +healthy+ :rtt rtt))))
