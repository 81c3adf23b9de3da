(defpackage #:hydramesh/sync/limits
  (:use #:cl)
  (:import-from #:hydramesh/events #:seconds)
  (:export #:+message+ #:+heads+ #:+addresses+ #:+links+ #:+workers+ #:+forgotten+ #:+incarnations+
           #:+left+ #:+id+
           #:+intake+ #:+burst+ #:+greetings+ #:+pace+ #:+rest+ #:+lost+ #:+retry+ #:+longest-rtt+
           #:+first-probe+ #:+longest-probe+ #:+known-probe+ #:+known+)
  (:documentation "The bounds of what heads tell each other. docs/operations.md says what happens at each."))
(in-package #:hydramesh/sync/limits)

(defconstant +message+ 1143 "Bytes of a SYNC: what one sealed datagram of 1200 bytes has room for.")
(defconstant +heads+ 16 "Heads whose state is kept.")
(defconstant +addresses+ 64 "Addresses at which there may be one.")
(defconstant +links+ 16 "Heads that another one hears, as it tells.")
(defconstant +workers+ 1024 "Workers of which another one tells something.")
(defconstant +forgotten+ 256 "Facts that no longer hold and that others are still told of; of more they get
all anew.")
(defconstant +incarnations+ 8 "Earlier starts of a head that are remembered.")
(defconstant +left+ 64 "Heads that said that they stop and are remembered.")
(defconstant +id+ 256 "Characters of a worker's or a head's id.")
(defconstant +intake+ 512 "SYNCs that are read in a second.")
(defconstant +burst+ 16 "SYNCs that a head is sent at a time.")

(defconstant +greetings+ 4 "Addresses that are greeted at a time.")

;; Times are in microseconds.
(defparameter +pace+ (seconds 1/4) "Between two times that a head is told something.")
(defparameter +rest+ (seconds 2) "The same while there is nothing new.")
(defparameter +lost+ (seconds 10) "Silence after which a head counts as lost.")
(defparameter +retry+ (seconds 1) "Until what a head has not acknowledged is sent again, at the least.")
(defparameter +longest-rtt+ (seconds 10) "A longer round trip was not measured, but made up.")
(defparameter +first-probe+ (seconds 2) "Until an address that did not answer is tried again; then twice as
long each time.")
(defparameter +longest-probe+ (seconds 64) "The longest that this gets.")
(defparameter +known-probe+ (seconds 8) "The longest where a head was heard in the last hour.")
(defparameter +known+ (seconds 3600) "For how long that counts.")
