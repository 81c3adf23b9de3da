(defpackage #:hydramesh/domain/node
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/domain/service #:service-name #:start-service #:stop-service)
  (:import-from #:hydramesh/domain/timers #:make-timers)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/head/link #:link-trust)
  (:import-from #:hydramesh/service/logs #:log-fault)
  (:export #:node #:make-node #:*node* #:*acting* #:*service* #:node-calls #:node-now #:node-peers
           #:node-address #:node-random #:node-store #:node-client #:node-counters #:node-add #:node-stop
           #:node-services #:count-one #:acting #:node-early-bytes #:node-epoch #:node-gaps #:node-known
           #:node-link #:node-look-at #:node-timers #:peer-early-bytes #:peer-of #:peer-receivers
           #:peer-senders)
  (:documentation "A node of DCF: services, their timers, and the order of their messages. It does no I/O:
events and the time come in (hydramesh/domain/receiving, hydramesh/domain/due), messages go out
through a link (hydramesh/domain/sending).

Whatever a service does is done inside of `node-take`, `node-act`, `node-add` or `node-stop`, with *NODE*
bound, and an error in it is logged and ends nothing else."))
(in-package #:hydramesh/domain/node)

(defparameter +between-faults+ (seconds 5) "Between two reports of faults in the same service.")

(defvar *node* nil "The node whose service is doing something.")

(defvar *acting* "a service" "The name of that service.")

(defvar *service* nil "What START-SERVICE returned for it; NIL while it starts, unless that binds it.")

(defstruct peer
  "What is known of an address: SENDERS and RECEIVERS by channel, alists. EARLY-BYTES is what its messages
take that wait for earlier ones."
  (senders '() :type list)
  (receivers '() :type list)
  (early-bytes 0 :type fixnum))

(defstruct (node (:constructor %make-node))
  "PEERS are addresses that the settings name, ADDRESS its own, or NIL without a network, as LINK then is.
KNOWN are peers by address; CALLS counts tasks that are not answered; GAPS has (address . channel) of
receivers whose messages wait for earlier ones. COUNTERS is a hash table."
  (link nil)
  (now 0 :type microseconds)
  (peers '() :type list)
  (address nil :type (or null address))
  (random nil :type random-state)
  (store nil)
  (client nil)
  (calls 0 :type fixnum)
  (services '() :type list)
  (timers (make-timers))
  (known (make-hash-table) :type hash-table)
  (gaps (make-hash-table :test 'eq) :type hash-table)
  (look-at 0 :type microseconds)
  (epoch 0 :type (unsigned-byte 64))
  (early-bytes 0 :type fixnum)
  (counts (make-hash-table :test 'equal) :type hash-table)
  (faults '() :type list))

(defun make-node (link now &key (peers '()) address (random (make-random-state t)) store client)
  "Return a node that sends through LINK, or NIL to send nothing; NOW is the time. CLIENT is what tasks are
given to."
  (let ((node (%make-node :link link :now now :peers peers :address address :random random
                          :store store :client client)))
    (when link
      (dolist (peer peers)
        (link-trust link peer)))
    node))

(defun peer-of (node address)
  "Return the peer at ADDRESS, a new one if nothing is known of it."
  (or (gethash address (node-known node))
      (setf (gethash address (node-known node)) (make-peer))))

(defun count-one (node what)
  "Count something by the name WHAT, a string."
  (incf (gethash what (node-counts node) 0)))

(defun node-counters (node)
  "Return an alist of what has been counted, by name."
  (sort (loop for name being the hash-keys of (node-counts node) using (hash-value count)
              collect (cons name count))
        #'string< :key #'car))

;;; Services

(defmacro acting ((node name &optional (service '*service*)) &body body)
  "Do BODY for SERVICE, which is called NAME; return its values; NIL if it fails, which is logged;
and T if a payload is malformed, which is counted."
  `(call-acting ,node ,name ,service (lambda () ,@body)))

(defun call-acting (node name service function)
  "Call FUNCTION as ACTING says."
  (let ((*node* node) (*acting* name) (*service* service))
    (block acting
      (handler-bind ((malformed-payload (lambda (condition)
                                          (declare (ignore condition))
                                          (count-one node "malformed")
                                          (return-from acting t)))
                     (serious-condition (lambda (condition)
                                          (note-fault node name condition)
                                          (return-from acting nil))))
        (funcall function)))))

(defun note-fault (node name condition)
  (count-one node "faults")
  (let ((last (assoc name (node-faults node) :test #'equal)))
    (when (or (null last) (>= (node-now node) (+ (cdr last) +between-faults+)))
      (if last
          (setf (cdr last) (node-now node))
          (push (cons name (node-now node)) (node-faults node)))
      (log-fault (format nil "a handler of ~A failed, and was left" name) condition))))

(defun node-add (node definition)
  "Start DEFINITION on NODE; return what runs. What it signals is not caught."
  (let* ((*node* node)
         (*acting* (service-name definition))
         (running (start-service definition node)))
    (setf (node-services node) (append (node-services node) (list (cons *acting* running))))
    running))

(defun node-stop (node)
  "Stop all services."
  (loop for (name . running) in (node-services node)
        do (acting (node name running) (stop-service running))))
