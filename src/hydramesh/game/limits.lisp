(defpackage #:hydramesh/game/limits
  (:use #:cl)
  (:export #:+name+ #:+name-bytes+ #:+state-text+ #:+channel-text+ #:+fields+ #:+channels+ #:+inputs-sent+ #:+inputs-ahead+
           #:+inputs-kept+
           #:+input-repeated+ #:+silence+ #:+joins+ #:+events+ #:+strikes+ #:+banned+ #:+banned-for+
           #:+snapshots+
           #:+reckoned+)
  (:documentation "The bounds of a game, whatever its players and those who are none send. docs/operations.md
says what happens at each."))
(in-package #:hydramesh/game/limits)

(defconstant +name+ 32 "Characters of a player's name.")
(defconstant +name-bytes+ 60 "Bytes of it, as others are told it: those of 255 players fit a RELIABLE message.")
(defconstant +state-text+ 32 "Characters of a text in the state.")
(defconstant +channel-text+ 1000 "Characters of a text on a channel.")
(defconstant +fields+ 64 "Fields of a state, an input or a channel.")
(defconstant +channels+ 15 "Channels of a game.")
(defconstant +inputs-sent+ 8 "Inputs in a message: of its tick, and of those before, as messages get lost.")
(defconstant +inputs-ahead+ 64 "Ticks by which an input may be ahead of the last that was applied.")
(defconstant +inputs-kept+ 12 "Inputs of a player that wait for their tick.")
(defconstant +input-repeated+ 15 "Ticks for which the last input is taken for one that has not come.")
(defconstant +silence+ 10 "Seconds after which a player who sends nothing has left.")
(defconstant +joins+ 20 "Addresses whose requests to join are answered in a second, one each.")
(defconstant +events+ 60 "Events of a player on all channels in a second.")
(defconstant +strikes+ 100 "Messages beyond a bound, or malformed, in ten seconds until a player is banned.")
(defconstant +banned+ 256 "Addresses that are banned at a time.")
(defconstant +banned-for+ 60 "Seconds for which they are.")
(defconstant +snapshots+ 64 "Snapshots that a player keeps.")
(defconstant +reckoned+ 250 "Milliseconds for which a player reckons on without a snapshot.")
