(defpackage #:hydramesh/audio/limits
  (:use #:cl)
  (:export #:+speakers+ #:+speakers-per-peer+ #:+buffered+ #:+delay+ #:+burst+ #:+concealed+ #:+silence+
           #:+utterance+ #:+wav+ #:+wav-chunks+ #:+listeners+ #:+queued+ #:+filters+)
  (:documentation "The bounds within which sound is heard, whatever others send. docs/operations.md says what
happens at each."))
(in-package #:hydramesh/audio/limits)

(defconstant +speakers+ 64 "That a stream may be declared for; 8 if it is not said.")
(defconstant +speakers-per-peer+ 4 "Of a stream, from one address.")
(defconstant +buffered+ 64 "Blocks of a speaker that wait for their time.")
(defconstant +delay+ 400 "Milliseconds that a block waits at most so that others are not late.")
(defconstant +burst+ 16 "Blocks of a speaker that may come at once; over time, two for each that is played.")
(defconstant +concealed+ 5 "Blocks in a row that are made up; then there is silence.")
(defconstant +silence+ 10 "Seconds after which a speaker who says nothing makes room for another.")
(defconstant +utterance+ 30 "Seconds after which what is said without a pause is handed on.")
(defconstant +listeners+ 64 "To whom a stream is sent.")
(defconstant +queued+ 3600 "Seconds of sound that wait to be said.")
(defconstant +filters+ 16 "That a sound goes through.")
(defconstant +wav+ (ash 128 20) "Bytes of a file that is read.")
(defconstant +wav-chunks+ 256 "Of a file, before the one with the sound.")
