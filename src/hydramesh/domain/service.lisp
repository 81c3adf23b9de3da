(defpackage #:hydramesh/domain/service
  (:use #:cl)
  (:export #:service-kind #:service-name #:service-needs-network-p #:start-service #:take-message #:lose-peer
           #:stop-service)
  (:documentation "What a definition is for `hydramesh run`: something that is started on a node, and then
gets messages.

None of these has to catch errors: what a handler signals is logged, and the node goes on."))
(in-package #:hydramesh/domain/service)

(defgeneric service-kind (definition)
  (:documentation "Return :GAME, :AUDIO or :IOT."))

(defgeneric service-name (definition)
  (:documentation "Return its name for people, a string."))

(defgeneric service-needs-network-p (definition)
  (:documentation "Return whether it can do nothing without a network.")
  (:method (definition) nil))

(defgeneric start-service (definition node)
  (:documentation "Start DEFINITION on NODE; return what runs, on which the others are methods."))

(defgeneric take-message (running message)
  (:documentation "Act on MESSAGE, of hydramesh/events; return whether it was meant for RUNNING, so that no
other gets it. Of a RELIABLE-MESSAGE the payload is its body. Signal MALFORMED-PAYLOAD if the payload is
none.")
  (:method (running message) nil))

(defgeneric lose-peer (running peer)
  (:documentation "Know that the address PEER acknowledges nothing any more; what was to be sent to it is
dropped.")
  (:method (running peer) nil))

(defgeneric stop-service (running)
  (:documentation "Say goodbye, and let go of what RUNNING has. What is sent has two seconds to be
acknowledged.")
  (:method (running) nil))
