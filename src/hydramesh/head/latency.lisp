(defpackage #:hydramesh/head/latency
  (:use #:cl)
  (:import-from #:hydramesh/work
                #:capability-set #:can-p #:work-kind-usual-rate #:+no-needs+)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:near-p)
  (:documentation "Which tasks are better off near: those that are over soon, and conversations.

Of these, the way to a worker and back is a part that somebody notices. Others go wherever they are done
first, so that they leave the near workers free."))
(in-package #:hydramesh/head/latency)

(defconstant +short+ 4d0
  "Seconds that a task may take on a worker of the usual rate to be short: of text, 200 tokens.")

(defconstant +conversation+ 30d0
  "The same for an answer in a conversation that is read while it is made: 1,500 tokens.")

(defun near-p (kind needs work streams-p)
  "Return whether the way counts for a task of KIND with NEEDS, which has a worker make so much WORK, in the
kind's unit, and whose parts are wanted as they come if STREAMS-P."
  (let ((seconds (/ work (work-kind-usual-rate kind))))
    (and (/= needs +no-needs+)          ; nobody talks to a model that is only loaded
         (<= seconds (if (and streams-p (can-p needs (capability-set pb:+chat+)))
                         +conversation+
                         +short+)))))
