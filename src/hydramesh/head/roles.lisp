(defpackage #:hydramesh/head/roles
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/head/proximity #:proximity-health)
  (:import-from #:hydramesh/head/registry #:registry #:registry-get #:registry-workers)
  (:import-from #:hydramesh/head/worker
                #:worker-number #:worker-offer #:worker-proximity #:worker-rtt)
  (:import-from #:hydramesh/topology/control #:make-neighbour #:make-report)
  (:import-from #:hydramesh/topology/election #:elect)
  (:import-from #:hydramesh/topology/graph #:joined)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:worker-roles)
  (:documentation "How workers stand in the mesh that they make with this head, by the rules of DCF's.

The head reaches each, and workers tell how far it is to those with which they may share models. So a
relay is a worker that reaches others too."))
(in-package #:hydramesh/head/roles)

(defconstant +head+ 0 "The head's own number; workers' begin at 1.")

(defun worker-roles (registry)
  "Return a hash table of the role of each worker, by its number."
  (let* ((workers (registry-workers registry))
         (head (make-report :node +head+
                            :neighbours (mapcar #'head-reaches (remove nil workers :key #'worker-rtt)))))
    (flet ((report (worker)
             (make-report :node (worker-number worker) :neighbours (linked worker registry))))
      (nth-value 1 (elect (joined +head+ (cons head (mapcar #'report workers))))))))

(defun health-of (worker)
  (proximity-health (worker-proximity worker)))

(defun head-reaches (worker)
  (make-neighbour :node (worker-number worker)
                  :health (health-of worker)
                  :rtt (floor (worker-rtt worker) 1000)))

(defun linked (worker registry)
  "Return whom WORKER tells of as its neighbours; with who cannot be reached, nobody has to do."
  (loop with offer = (worker-offer worker)
        for link in (and offer (pb:shard-offer-links offer))
        for other = (registry-get registry (pb:shard-link-worker-id link))
        when other
          collect (make-neighbour :node (worker-number other)
                                  :health (max (health-of worker) (health-of other))
                                  :rtt (floor (pb:shard-link-rtt-ms link)))))
