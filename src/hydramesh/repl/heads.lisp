(defpackage #:hydramesh/repl/heads
  (:use #:cl)
  (:import-from #:hydramesh/head/core #:core-heads)
  (:import-from #:hydramesh/head/heads #:heads-statuses #:heads-views)
  (:import-from #:hydramesh/repl/console #:look)
  (:import-from #:hydramesh/repl/tables #:print-rows #:seconds-text)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:word)
  (:import-from #:hydramesh/sync/state #:view-aside #:view-assigned #:view-group)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:heads)
  (:documentation "What a session of the REPL can ask about the other heads."))
(in-package #:hydramesh/repl/heads)

(defun heads (&optional id)
  "Print this head and all that it hears; with the ID of one, the workers as that one sees them."
  (if id (print-views id) (print-heads)))

(defun print-heads ()
  (print-rows
   '("HEAD" "STATE" "MASTER" "WORKERS" "ON WORKERS" "WAITING" "RTT" "HEARD" "ADDRESS")
   (loop for status in (look (lambda (core now) (heads-statuses (core-heads core) now)))
         for other = (string/= "" (pb:head-status-address status))
         collect (list (pb:head-status-id status)
                       (word 'pb:worker-state (pb:head-status-state status))
                       (if (pb:head-status-master status) "master" "")
                       (pb:head-status-workers status)
                       (pb:head-status-in-flight status)
                       (pb:head-status-queued status)
                       (if other (format nil "~,1F ms" (pb:head-status-rtt-ms status)) "")
                       (if other
                           (format nil "~A ago" (seconds-text (* 1000 (pb:head-status-age-ms status))))
                           "this one")
                       (pb:head-status-address status)))
   "heads"))

(defun print-views (id)
  (check-type id string)
  (print-rows
   '("WORKER" "ITS TASKS" "GROUP" "")
   (loop for (worker . view) in (look (lambda (core now)
                                        (declare (ignore now))
                                        (heads-views (core-heads core) id)))
         collect (list worker
                       (view-assigned view)
                       (or (view-group view) "")
                       (if (view-aside view) "set aside" "")))
   "workers of which it tells anything"))
