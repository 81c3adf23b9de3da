(defpackage #:hydramesh/head/presence
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/address #:loopback-p #:numeric)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-heads-told)
  (:import-from #:hydramesh/head/worker #:worker-address #:worker-heartbeat)
  (:import-from #:hydramesh/version #:+version+)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:presence #:named-heads)
  (:documentation "What a head answers a client that asks: its state, and which heads its workers report to.

Workers report to all heads, and say so, so a client that knows one learns of the others."))
(in-package #:hydramesh/head/presence)

(defun presence (workers closed asker)
  "Return this head's answer to the client at the address ASKER, which has
these WORKERS; once CLOSED it takes no tasks."
  (pb:make-presence :version +version+
                    :state (if closed pb:+draining+ pb:+ready+)
                    :heads (named-heads workers (loopback-p asker)
                                        (head-limits-heads-told +limits+))))

(defstruct (named (:copier nil))
  "A HEAD, in workers' words, that TOTAL workers name, of which LOCAL are on this machine. LAST is the
last of them; NUMBER orders heads by who was named first."
  (head "" :type string :read-only t)
  (number 0 :type fixnum :read-only t)
  (total 0 :type fixnum)
  (local 0 :type fixnum)
  (last nil))

(defun named-heads (workers local most)
  "Return the heads that most WORKERS name, MOST at most, of those that are of use to somebody.
LOCAL: that is on this machine."
  (let* ((found (loop for named in (all-named workers)
                      for times = (times-of-use named local)
                      when (plusp times) collect (cons times named)))
         (sorted (sort found (lambda (one other)
                               (or (> (car one) (car other))
                                   (and (= (car one) (car other))
                                        (< (named-number (cdr one)) (named-number (cdr other)))))))))
    (loop for (nil . named) in sorted
          repeat most
          collect (named-head named))))

(defun all-named (workers)
  "Return a list of all that workers name, each once."
  (let ((table (make-hash-table :test 'equal)))
    (dolist (worker workers)
      (let ((local (loopback-p (worker-address worker))))
        (dolist (head (pb:heartbeat-heads (worker-heartbeat worker)))
          (let ((named (or (gethash head table)
                           (setf (gethash head table)
                                 (make-named :head head :number (hash-table-count table))))))
            (unless (eq (named-last named) worker)
              (setf (named-last named) worker)
              (incf (named-total named))
              (when local
                (incf (named-local named))))))))
    (loop for named being the hash-values of table collect named)))

(defun times-of-use (named local)
  "Return how many workers name a head that is of use to somebody, who may be LOCAL: on this machine."
  (let ((address (numeric (named-head named))))
    (cond ((null address) 0)
          ((not (loopback-p address)) (named-total named))
          ;; On another machine, a loopback address means that machine's own head.
          (local (named-local named))
          (t 0))))
