(defpackage #:hydramesh/tests/domain/network
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/domain/node #:make-node)
  (:import-from #:hydramesh/domain/types #:+reliable+)
  (:import-from #:hydramesh/events #:make-delivered #:make-message #:make-unreachable #:seconds)
  (:import-from #:hydramesh/head/link #:link-send #:link-forget #:link-trust)
  (:import-from #:hydramesh/domain/due #:node-act #:node-due)
  (:import-from #:hydramesh/domain/receiving #:node-take)
  (:shadow #:restart)
  (:export #:network #:new-network #:network-now #:network-loss #:network-delay #:network-jitter
           #:network-duplicates
           #:network-cut #:network-bytes #:network-sent #:add-node #:place #:place-node #:place-address
           #:pass-time
           #:restart #:inject)
  (:documentation "Nodes of domain traffic over a network that loses, delays, doubles and overtakes, in a
time that passes when told to. RELIABLE messages are repeated as the transport does it."))
(in-package #:hydramesh/tests/domain/network)

(defparameter +repeat+ (seconds 1/5) "Until a RELIABLE message that is not acknowledged goes again.")
(defparameter +give-up+ (seconds 8))

(defstruct network
  "LOSS and DUPLICATES are shares of what is sent; it takes DELAY ± JITTER microseconds. CUT are pairs of
addresses between which nothing passes. UNDER-WAY is a list of (time order function)."
  (now (seconds 1000))
  (random (sb-ext:seed-random-state 1))
  (places '())
  (under-way '())
  (order 0)
  (loss 0)
  (duplicates 0)
  (delay 1000)
  (jitter 0)
  (cut '())
  (bytes 0)
  (sent 0))

(defstruct place
  "A node at ADDRESS, and what its transport remembers: messages that are repeated, and those that came, by
sender and sequence."
  network
  address
  (node nil)
  (options '())
  (sequence 0)
  (open (make-hash-table :test 'equal))
  (seen (make-hash-table :test 'equal)))

(defmethod print-object ((place place) stream)
  (print-unreadable-object (place stream)
    (format stream "place ~D" (place-address place))))

(defun new-network (&rest options &key (seed 1) &allow-other-keys)
  "Return a network with OPTIONS as slots; SEED makes all of its chances."
  (remf options :seed)
  (apply #'make-network :random (sb-ext:seed-random-state seed) options))

(defun add-node (network &rest options)
  "Return a new place on NETWORK, whose node is made with OPTIONS."
  (let ((place (make-place :network network :options options
                           :address (ipv4 #xc0000201 (+ 7000 (length (network-places network)))))))
    (push place (network-places network))
    (start place)
    place))

(defun start (place)
  (setf (place-node place)
        (apply #'make-node place (network-now (place-network place))
               :address (place-address place)
               :random (sb-ext:seed-random-state (place-address place))
               (place-options place))))

(defun restart (place)
  "Have another program begin at PLACE, as after kill -9."
  (clrhash (place-open place))
  (clrhash (place-seen place))
  (incf (place-sequence place) 100000)
  (start place))

;;; What is under way

(defun chance-p (network share)
  (and (plusp share) (< (random 1d0 (network-random network)) share)))

(defun later (network delay function)
  (setf (network-under-way network)
        (merge 'list
               (network-under-way network)
               (list (list (+ (network-now network) delay) (incf (network-order network)) function))
               (lambda (one other)
                 (or (< (first one) (first other))
                     (and (= (first one) (first other)) (< (second one) (second other))))))))

(defun pass (from to function)
  "Have FUNCTION called with the place at TO, if the datagram that stands for it arrives there."
  (let ((network (place-network from)))
    (loop repeat (if (chance-p network (network-duplicates network)) 2 1)
          unless (or (chance-p network (network-loss network))
                     (member (list (place-address from) to) (network-cut network) :test #'equal))
            do (let ((jitter (network-jitter network)))
                 (later network
                        (+ (network-delay network)
                           (if (plusp jitter) (- (random (* 2 jitter) (network-random network)) jitter) 0))
                        (lambda ()
                          (let ((place (find to (network-places network) :key #'place-address)))
                            (when place
                              (funcall function place)))))))))

(defun arrive (place from type sequence payload)
  (node-take (place-node place)
             (make-message :peer from :type type :sequence sequence :payload payload)
             (network-now (place-network place))))

(defmethod link-send ((place place) to type payload)
  (let ((network (place-network place)) (sequence (incf (place-sequence place))))
    (incf (network-sent network))
    (incf (network-bytes network) (length payload))
    (if (= type +reliable+)
        (let ((key (list to sequence)))
          (setf (gethash key (place-open place)) (network-now network))
          (send-again place to sequence payload))
        (pass place to (lambda (reader)
                         (arrive reader (place-address place) type sequence payload))))
    sequence))

(defun send-again (place to sequence payload)
  (let* ((network (place-network place)) (key (list to sequence)) (begun (gethash key (place-open place))))
    (cond ((null begun))
          ((> (- (network-now network) begun) +give-up+)
           (loop for key being the hash-keys of (place-open place)
                 when (eql (first key) to) collect key into keys
                 finally (dolist (key keys) (remhash key (place-open place))))
           (node-take (place-node place) (make-unreachable :peer to) (network-now network)))
          (t
           (pass place to (lambda (reader) (take-reliable reader place sequence payload)))
           (later network +repeat+ (lambda () (send-again place to sequence payload)))))))

(defun take-reliable (reader place sequence payload)
  (let ((from (place-address place)))
    (pass reader from (lambda (place)
                        (let ((key (list (place-address reader) sequence)))
                          (when (remhash key (place-open place))
                            (node-take (place-node place)
                                       (make-delivered :peer (place-address reader) :sequence sequence)
                                       (network-now (place-network place)))))))
    (unless (gethash (list from sequence) (place-seen reader))
      (setf (gethash (list from sequence) (place-seen reader)) t)
      (arrive reader from +reliable+ sequence payload))))

(defmethod link-forget ((place place) peer)
  (declare (ignore peer)))

(defmethod link-trust ((place place) peer)
  (declare (ignore peer)))

(defun inject (place from type payload &optional (sequence (incf (place-sequence place))))
  "Have PLACE get a message that anybody at the address FROM has made up."
  (arrive place from type sequence payload))

;;; Time

(defun soonest (network)
  (let ((times (nconc (let ((first (first (network-under-way network))))
                        (and first (list (first first))))
                      (loop for place in (network-places network)
                            for due = (node-due (place-node place))
                            when due collect due))))
    (and times (reduce #'min times))))

(defun pass-time (network seconds)
  "Let SECONDS pass; what is due is done in its time."
  (let ((end (+ (network-now network) (seconds seconds))))
    (loop
      (let ((next (soonest network)))
        (when (or (null next) (> next end))
          (setf (network-now network) end)
          (return))
        (setf (network-now network) (max next (network-now network)))
        (loop for entry = (first (network-under-way network))
              while (and entry (<= (first entry) (network-now network)))
              do (pop (network-under-way network))
                 (funcall (third entry)))
        (dolist (place (network-places network))
          (node-act (place-node place) (network-now network)))))))
