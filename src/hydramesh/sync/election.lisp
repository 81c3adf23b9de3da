(defpackage #:hydramesh/sync/election
  (:use #:cl)
  (:export #:node #:make-node #:node-id #:elect #:degree)
  (:documentation "Which of several heads is the master, by DCF's rule: the healthy one with most ways to others, of
those the one with the least mean round trip, then the one with the least id."))
(in-package #:hydramesh/sync/election)

(defstruct (node (:constructor make-node (id healthy links)) (:copier nil))
  "LINKS is an alist of the ids of others that it hears and the milliseconds of a round trip to each."
  (id "" :type string :read-only t)
  (healthy nil :type boolean :read-only t)
  (links '() :type list :read-only t))

(defun edges (id nodes)
  "Return an alist of those that ID is joined with and the least round trip that either side tells."
  (let ((edges '()))
    (flet ((join (other rtt)
             (let ((edge (assoc other edges :test #'string=)))
               (cond ((string= other id))
                     (edge (setf (cdr edge) (min rtt (cdr edge))))
                     (t (push (cons other rtt) edges))))))
      (dolist (node nodes edges)
        (if (string= (node-id node) id)
            (loop for (other . rtt) in (node-links node) do (join other rtt))
            (let ((link (assoc id (node-links node) :test #'string=)))
              (when link
                (join (node-id node) (cdr link)))))))))

(defun degree (id nodes)
  "Return with how many others ID is joined."
  (length (edges id nodes)))

(defun mean (edges)
  (if edges
      (floor (reduce #'+ edges :key #'cdr) (length edges))
      0))

(defun elect (nodes)
  "Return the id of the master among NODES, a list; NIL if none is healthy."
  (let ((best nil) (most 0) (least 0))
    (dolist (node nodes best)
      (when (node-healthy node)
        (let* ((id (node-id node))
               (edges (edges id nodes))
               (count (length edges))
               (mean (mean edges)))
          (when (or (null best)
                    (> count most)
                    (and (= count most)
                         (or (< mean least)
                             (and (= mean least) (string< id best)))))
            (setf best id
                  most count
                  least mean)))))))
