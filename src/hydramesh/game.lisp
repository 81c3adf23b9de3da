(uiop:define-package #:hydramesh/game
  (:use)
  (:import-from #:hydramesh/game/definition #:defgame)
  (:import-from #:hydramesh/game/play
                #:players #:me #:player-field #:player-name #:player-ready-p #:input-field #:set-input #:emit #:emit-as
                #:emit-to
                #:game-tick #:game-phase #:ready #:kick #:leave-game #:with-game #:send-position
                #:send-game-event)
  (:export #:defgame
           #:players #:me #:player-field #:player-name #:player-ready-p #:input-field #:set-input #:emit #:emit-as #:emit-to
           #:game-tick #:game-phase #:ready #:kick #:leave-game #:with-game #:send-position #:send-game-event)
  (:documentation "Games: a host that says what the state is, players who say what they do, and events
between them. docs/hydramesh.md teaches it; `defgame` says what a game is made of."))
