(defpackage #:hydramesh/domain/limits
  (:use #:cl)
  (:export #:+bare-bytes+ #:+reliable-bytes+ #:+reliable-window+ #:+reliable-window-bytes+
           #:+reliable-waiting+
           #:+early-bytes+ #:+early-peer-bytes+ #:+skip-after+ #:+memory+ #:+peer-memory+ #:+peers+ #:+datagrams+
           #:+timers+ #:+calls+ #:+prompt-bytes+ #:+answer-bytes+ #:+kept-bytes+ #:+kept-pending+)
  (:documentation "The bounds of what programs send, are sent, and keep, whatever happens. docs/operations.md
says what happens at each."))
(in-package #:hydramesh/domain/limits)

(defconstant +bare-bytes+ 1143 "Bytes of a message that goes once: a datagram of 1200, with header and seal.")
(defconstant +reliable-bytes+ (ash 16 10) "Bytes of a RELIABLE message's body.")
(defconstant +reliable-window+ 256 "RELIABLE messages begun since the oldest that is not acknowledged.")
(defconstant +reliable-window-bytes+ (ash 256 10) "Bytes of those.")
(defconstant +reliable-waiting+ 1024 "RELIABLE messages on a channel that wait until others are there.")
(defconstant +early-bytes+ (ash 64 20) "Bytes of RELIABLE messages, of all peers, that are early.")
(defconstant +early-peer-bytes+ (ash 1 20) "The same of one peer, so that none uses up what others need.")
(defconstant +skip-after+ 10 "Seconds for which those wait; an earlier one is repeated for 8.")
(defconstant +memory+ (ash 64 20) "Bytes of messages being reassembled or not yet acknowledged, all peers.")
(defconstant +peer-memory+ (ash 1 20) "The same of one peer, each way.")
(defconstant +peers+ 4096 "Addresses that are known at a time.")
(defconstant +datagrams+ 2000 "Datagrams a second from one address.")
(defconstant +timers+ 65536 "Timers that are set.")
(defconstant +calls+ 64 "Tasks that a program has given to the cluster and that are not answered yet.")
(defconstant +prompt-bytes+ (ash 16 20) "Bytes of a task.")
(defconstant +answer-bytes+ (ash 64 20) "Bytes of an answer.")
(defconstant +kept-bytes+ (ash 64 10) "Bytes of a chunk that a program keeps.")
(defconstant +kept-pending+ 4096 "Chunks that are to be kept and not written yet.")
