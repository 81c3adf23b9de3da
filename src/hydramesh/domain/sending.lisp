(defpackage #:hydramesh/domain/sending
  (:use #:cl)
  (:import-from #:hydramesh/domain/in-order #:make-sender #:sender-next #:sender-put #:sender-sent)
  (:import-from #:hydramesh/domain/limits #:+bare-bytes+ #:+reliable-bytes+)
  (:import-from #:hydramesh/domain/node #:node-epoch #:node-link #:peer-of #:peer-senders)
  (:import-from #:hydramesh/domain/types #:bare-type-p #:+reliable+)
  (:import-from #:hydramesh/events #:octets #:wall-clock)
  (:import-from #:hydramesh/head/link #:link-send #:link-trust)
  (:export #:send-bare #:send-reliable #:trust #:send-waiting)
  (:documentation "What services of a node send: once, or until it is acknowledged and in order."))
(in-package #:hydramesh/domain/sending)

(defun send-bare (node to type octets)
  "Send OCTETS to the address TO once, as TYPE says; return its number, or NIL without a network, or if too
much waits."
  (declare (type octets octets))
  (assert (bare-type-p type) (type) "~A is not a type that goes once" type)
  (when (> (length octets) +bare-bytes+)
    (error "a message that goes once may have ~D bytes, and this has ~D: send it with send-reliable, or in ~
            parts" +bare-bytes+ (length octets)))
  (and (node-link node)
       (link-send (node-link node) to type octets)))

(defun new-epoch (node)
  (setf (node-epoch node) (max (wall-clock) (1+ (node-epoch node)))))

(defun send-reliable (node to channel octets)
  "Send OCTETS to the address TO until they are acknowledged, after all that was sent on CHANNEL before.
Return whether that is to be: there may be no network, or too many that wait."
  (declare (type octets octets))
  (when (> (length octets) +reliable-bytes+)
    (error "a RELIABLE message may have ~D bytes, and this has ~D: send it in parts"
           +reliable-bytes+ (length octets)))
  (when (node-link node)
    (let* ((peer (peer-of node to))
           (sender (or (cdr (assoc channel (peer-senders peer)))
                       (open-sender node peer channel))))
      (when (sender-put sender octets)
        (send-waiting node to sender)
        t))))

(defun open-sender (node peer channel)
  (let ((sender (make-sender channel (new-epoch node))))
    (push (cons channel sender) (peer-senders peer))
    sender))

(defun send-waiting (node to sender)
  "Send to the address TO what SENDER has ready, as long as there is room."
  (loop for payload = (sender-next sender)
        while payload
        do (let ((sequence (link-send (node-link node) to +reliable+ payload)))
             ;; Without room it is tried again when something has been acknowledged, or at the next look.
             (unless sequence
               (return))
             (sender-sent sender sequence))))

(defun trust (node peer)
  "Send to the address PEER without reserve: there is reason to expect somebody there."
  (when (node-link node)
    (link-trust (node-link node) peer)))
