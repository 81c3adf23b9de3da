(defpackage #:hydramesh/tests/head/late-task
  (:use #:cl)
  (:import-from #:hydramesh/head/hedging #:make-hedging)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:answer #:ask #:new-cluster #:pass-time #:results #:task)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:have-measured #:late-task #:model #:part #:text-of)
  (:documentation "A head with two workers, and a task that is late on the first of them."))
(in-package #:hydramesh/tests/head/late-task)

(defun model (&optional (weights "same") (rate 100d0))
  "Return what a worker says of the model that all tasks here are for."
  (pb:make-model-status :name "m" :state pb:+loaded+ :rate rate
                        :identity (pb:make-model-identity :weights weights)))

(defun have-measured (cluster client worker &key (times 40))
  "Let WORKER, the only one, answer that many tasks in a tenth of a second each."
  (loop repeat times
        do (ask client :stream t)
           (let ((task (task worker)))
             (pass-time cluster 0.1d0)
             (answer worker task))
           (results client)))

(defun late-task (&rest arguments &key (share 1d0) (second "same") (times 40) &allow-other-keys)
  "Return a head's client with a task that is late on the first of two workers, and these workers: the client,
the first worker, its task, the second worker, the cluster. ARGUMENTS are of the task."
  (dolist (key '(:share :second :times))
    (remf arguments key))
  (let* ((cluster (new-cluster :hedging (make-hedging :share share)))
         (client (add-client cluster))
         (first (add-worker cluster :id "first" :models (list (model)))))
    (have-measured cluster client first :times times)
    (let ((id (apply #'ask client :stream t arguments))
          (second (add-worker cluster :id "second" :models (list (model second 1d0)))))
      (values client first (task first) second cluster id))))

(defun text-of (results)
  "Return the text of an answer of which RESULTs came."
  (format nil "~{~a~}" (mapcar #'pb:result-text results)))

(defun part (worker task index &rest fields)
  "Let WORKER send the part INDEX of its answer to TASK, the last one unless FIELDS say otherwise."
  (apply #'answer worker task
         :index index
         :text (format nil "~d " index)
         :tokens (make-array 1 :element-type '(unsigned-byte 32) :initial-element index)
         (if (zerop index)
             (list* :model (pb:make-model-identity :weights "same") fields)
             fields)))
