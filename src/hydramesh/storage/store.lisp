(defpackage #:hydramesh/storage/store
  (:use #:cl)
  (:export #:+counters+ #:+rates+ #:+minutes+ #:+hours+ #:+traffic+ #:+workers+ #:+salt+ #:+kinds+ #:+schema-version+
           #:store-read #:store-list #:store-write #:store-check #:store-close #:store-pace
           #:store-traffic-chunks
           #:storage-failure #:storage-failure-reason #:storage-unavailable #:storage-damaged
           #:storage-newer #:storage-in-use)
  (:documentation "Where a head keeps what it should know again after a restart.

A store has chunks, each some bytes under a kind and a number below 2^48; what is in them is the archive's
affair. There are few of them, some thousand, and each has some ten KiB, so that a store may be anything
from a database to a file that is written anew. A store is for one thread."))
(in-package #:hydramesh/storage/store)

(defconstant +schema-version+ 1
  "Of what is in the chunks. A store that says a higher one is not touched.")

;; Kinds of chunks. Those that stay small under one number come first.
(defconstant +counters+ 1)
(defconstant +rates+ 2)
(defconstant +minutes+ 3)
(defconstant +hours+ 4)
(defconstant +traffic+ 5)
(defconstant +workers+ 6)
(defconstant +salt+ 7)
(defparameter +kinds+ (list +counters+ +rates+ +minutes+ +hours+ +traffic+ +workers+ +salt+))

(define-condition storage-failure (error)
  ((reason :initarg :reason :reader storage-failure-reason))
  (:documentation "A store cannot do what it should; REASON says why, for people.")
  (:report (lambda (condition stream)
             (write-string (storage-failure-reason condition) stream))))

(define-condition storage-unavailable (storage-failure) ()
  (:documentation "It may work later: the disk is full, say, or must not be written."))

(define-condition storage-damaged (storage-failure) ()
  (:documentation "What is there is not what was written, or was never a store."))

(define-condition storage-newer (storage-failure) ()
  (:documentation "A later version wrote it."))

(define-condition storage-in-use (storage-failure) ()
  (:documentation "Another head has it."))

(defgeneric store-read (store kind number)
  (:documentation "Return the chunk's content, octets, or NIL if there is none. Signal STORAGE-FAILURE."))

(defgeneric store-list (store kind)
  (:documentation "Return the numbers of KIND's chunks, the least first. Signal STORAGE-FAILURE."))

(defgeneric store-write (store changes)
  (:documentation "Make CHANGES, all or none: each a list of kind, number, and the octets that are now the
chunk's content, or NIL to remove it. Once it returns, neither the end of this process nor a power cut can
undo them. Signal STORAGE-FAILURE."))

(defgeneric store-check (store)
  (:documentation "Read everything, and signal STORAGE-DAMAGED if something does not fit together."))

(defgeneric store-close (store)
  (:documentation "Let go of what the store has open. It signals nothing."))

(defgeneric store-pace (store)
  (:documentation "Return how many seconds should lie between two STORE-WRITEs, unless there is a reason."))

(defgeneric store-traffic-chunks (store)
  (:documentation "Return how many chunks of traffic the store is made for."))
