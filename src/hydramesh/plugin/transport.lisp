(defpackage #:hydramesh/plugin/transport
  (:use #:cl)
  (:export #:transport-descriptors #:transport-receive #:transport-send #:transport-next-timeout
           #:transport-close #:transport-counters)
  (:documentation "Another way for datagrams than the head's UDP socket: what a plugin's :transport returns.

All of it is called by the head's thread, with the mesh that the transport is for. A turn of the loop waits
until a descriptor can be read or the time has come, has every transport receive, does the head's work, and has
every transport send. What a transport does not send goes through the socket. If one of these functions signals an
error, the transport is closed and its plugin disabled."))
(in-package #:hydramesh/plugin/transport)

(defgeneric transport-descriptors (transport)
  (:documentation "Return a list of file descriptors that have something to receive when they can be read,
eight at most. It may be another one from turn to turn, but should not be made anew each time.")
  (:method (transport)
    (declare (ignore transport))
    '()))

(defgeneric transport-receive (transport mesh)
  (:documentation "Give MESH's endpoint what has arrived, a bounded amount, without waiting.
Called every turn.")
  (:method (transport mesh)
    (declare (ignore transport mesh))))

(defgeneric transport-send (transport mesh)
  (:documentation "Take what goes this way from MESH's endpoint, which was flushed, and send it, without
waiting. Called every turn before the socket sends.")
  (:method (transport mesh)
    (declare (ignore transport mesh))))

(defgeneric transport-next-timeout (transport)
  (:documentation "Return the MESH-NOW at which there should be a turn, whatever comes, or NIL.")
  (:method (transport)
    (declare (ignore transport))
    nil))

(defgeneric transport-counters (transport)
  (:documentation "Return what has been counted, as MESH-COUNTERS does: a list of (name help value).")
  (:method (transport)
    (declare (ignore transport))
    '()))

(defgeneric transport-close (transport mesh)
  (:documentation "Let go of what the transport has, and leave all peers to MESH's socket. Called once.")
  (:method (transport mesh)
    (declare (ignore transport mesh))))
