(defpackage #:hydramesh/domain/due
  (:use #:cl)
  (:import-from #:hydramesh/domain/node
                #:node-gaps #:node-known #:node-look-at #:node-now #:node-timers #:peer-senders)
  (:import-from #:hydramesh/domain/receiving #:skip-gap)
  (:import-from #:hydramesh/domain/sending #:send-waiting)
  (:import-from #:hydramesh/domain/timers #:timers-next #:timers-take)
  (:import-from #:hydramesh/events #:seconds)
  (:export #:node-act #:node-due)
  (:documentation "When a node has something to do, and what it does then."))
(in-package #:hydramesh/domain/due)

(defparameter +look+ (seconds 1) "Between two looks for messages that will not come.")

(defun node-due (node)
  "Return when `node-act` is to be called, NIL for never."
  (let ((next (timers-next (node-timers node))) (look (and (busy-p node) (node-look-at node))))
    (if (and next look) (min next look) (or next look))))

(defun busy-p (node)
  (plusp (hash-table-count (node-known node))))

(defun node-act (node now)
  "Do what is due at NOW."
  (setf (node-now node) (max now (node-now node)))
  (loop for (timer function) = (multiple-value-list (timers-take (node-timers node) (node-now node)))
        while timer
        do (funcall function))
  (when (>= (node-now node) (node-look-at node))
    (setf (node-look-at node) (+ (node-now node) +look+))
    (look node)))

(defun look (node)
  "Go on where messages wait for one that does not come, or for room."
  (loop for receiver in (loop for receiver being the hash-keys of (node-gaps node) collect receiver)
        for (address . channel) = (gethash receiver (node-gaps node))
        ;; What a handler does may have dropped a peer meanwhile.
        do (when address
             (skip-gap node address channel receiver)))
  (loop for address being the hash-keys of (node-known node) using (hash-value peer)
        do (loop for (nil . sender) in (peer-senders peer)
                 do (send-waiting node address sender))))
