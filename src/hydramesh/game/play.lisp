(defpackage #:hydramesh/game/play
  (:use #:cl)
  (:import-from #:hydramesh/events #:message-payload #:message-peer #:message-type)
  (:import-from #:hydramesh/domain/node #:*node* #:*service* #:node-peers #:node-services)
  (:import-from #:hydramesh/domain/payloads
                #:read-game-event #:read-position #:write-game-event #:write-position)
  (:import-from #:hydramesh/domain/sending #:send-bare)
  (:import-from #:hydramesh/domain/service
                #:lose-peer #:service-kind #:service-name #:service-needs-network-p #:start-service
                #:stop-service
                #:take-message)
  (:import-from #:hydramesh/domain/types
                #:+game-channel+ #:+game-event+ #:+position+ #:+reliable+ #:+state-sync+ #:message-channel)
  (:import-from #:hydramesh/game/definition #:channel-index #:game #:game-channels #:game-name #:handler-of)
  (:import-from #:hydramesh/game/guest
                #:guest #:guest-emit #:guest-field #:guest-game #:guest-id #:guest-lateness #:guest-leave
                #:guest-lobby
                #:guest-lose #:guest-name-of #:guest-ready-p #:guest-number #:guest-phase #:guest-players
                #:guest-ready
                #:guest-set-input
                #:guest-stop #:guest-take #:guest-tick #:guest-view-tick #:open-guest)
  (:import-from #:hydramesh/game/host
                #:host #:host-emit #:host-field #:host-game #:host-id #:host-kick #:host-lateness #:host-lose
                #:host-members #:host-name-of #:host-ready-p #:host-playing #:host-set-field #:host-stop
                #:host-take
                #:host-tick
                #:member-number #:open-host)
  (:import-from #:hydramesh/game/lateness #:lateness-figures)
  (:import-from #:hydramesh/game/messages
                #:+event+ #:+input+ #:+passing+ #:+snapshot+ #:kind-of-message)
  (:import-from #:hydramesh/service/logs #:log-info)
  (:export #:players #:me #:player-field #:player-name #:player-ready-p #:input-field #:set-input #:emit
           #:emit-as #:emit-to
           #:game-tick
           #:game-phase #:ready #:kick #:leave-game #:with-game #:send-position #:send-game-event)
  (:documentation "Games as services of a node, and what their handlers can do."))
(in-package #:hydramesh/game/play)

;;; A service

(defmethod service-kind ((game game)) :game)
(defmethod service-name ((game game)) (game-name game))
(defmethod service-needs-network-p ((game game)) t)

(defmethod start-service ((game game) node)
  (let ((host (first (node-peers node))))
    (if host
        (open-guest game node host)
        (open-host game node))))

(defun game-message-p (message id channels)
  "Return the kind of MESSAGE if it is of the game with that ID, and came as its kind does; else NIL."
  (let ((kind (kind-of-message (message-payload message) id)))
    (and kind
         (if (= (message-type message) +reliable+)
             (let ((channel (- (message-channel message) +game-channel+)))
               (if (= kind +event+)
                   ;; An event's order is that of its own channel.
                   (and (<= 1 channel (length channels))
                        (= (1- channel) (or (event-index message) -1)))
                   (and (zerop channel) (>= kind 16))))
             (and (= (message-type message) +state-sync+)
                  (member kind (list +snapshot+ +input+ +passing+))))
         kind)))

(defun event-index (message)
  (let ((payload (message-payload message)))
    (and (> (length payload) 5) (aref payload 5))))

(defmethod take-message ((host host) message)
  (let ((kind (game-message-p message (host-id host) (game-channels (host-game host)))))
    (cond (kind
           (host-take host kind message)
           t)
          (t (take-dcf host message)))))

(defun take-dcf (host message)
  "Tell the host's handlers of a POSITION or GAME_EVENT that some DCF node sends; return whether there is
one."
  (flet ((handler (event) (handler-of (host-game host) :host event)))
    (let ((type (message-type message)) (peer (message-peer message)) (payload (message-payload message)))
      (cond ((and (= type +position+) (handler :position))
             (multiple-value-call (handler :position) peer (read-position payload))
             t)
            ((and (= type +game-event+) (handler :game-event))
             (multiple-value-call (handler :game-event) peer (read-game-event payload))
             t)))))

(defmethod take-message ((guest guest) message)
  (let ((kind (game-message-p message (guest-id guest) (game-channels (guest-game guest)))))
    (and kind (guest-take guest kind message))))

(defmethod lose-peer ((host host) peer)
  (host-lose host peer))

(defmethod lose-peer ((guest guest) peer)
  (guest-lose guest peer))

(defun tell-lateness (game lateness)
  (multiple-value-bind (count half most-of-them all) (lateness-figures lateness)
    (log-info "ticks, and by how many microseconds they were late"
              :game (game-name game) :ticks count :p50 half :p99 most-of-them :most all)))

(defmethod stop-service ((host host))
  (tell-lateness (host-game host) (host-lateness host))
  (host-stop host))

(defmethod stop-service ((guest guest))
  (tell-lateness (guest-game guest) (guest-lateness guest))
  (guest-stop guest))

;;; For handlers

(defun running ()
  "Return the game whose handler this is."
  (if (typep *service* '(or host guest))
      *service*
      (error "this is for the handlers of a game, or inside of (with-game (name) …)")))

(defmacro with-game ((name) &body body)
  "Do BODY as a handler of the game NAME, a symbol, does: for the handlers of other programs."
  `(let ((*service* (find-game ,(string-downcase name))))
     ,@body))

(defun find-game (name)
  (or (loop for (nil . running) in (and *node* (node-services *node*))
            when (and (typep running '(or host guest))
                      (string= name (game-name (if (typep running 'host)
                                                   (host-game running)
                                                   (guest-game running)))))
              return running)
      (error "no game called ~A runs" name)))

(defun need-host (what)
  (let ((running (running)))
    (if (typep running 'host)
        running
        (error "only the host can ~A" what))))

(defun need-guest (what)
  (let ((running (running)))
    (if (typep running 'guest)
        running
        (error "only a player can ~A" what))))

(defun players ()
  "Return the numbers of all players, the least first."
  (let ((running (running)))
    (if (typep running 'host)
        (mapcar #'member-number (host-members running))
        (sort (copy-list (guest-players running)) #'<))))

(defun me ()
  "Return the number of this player; NIL at the host, and before it has joined."
  (let ((running (running)))
    (and (typep running 'guest) (guest-number running))))

(defun player-field (player name)
  "Return the field NAME of PLAYER's state; at a player as it is seen now, NIL if nothing is known of it yet.
The host can set it; what is beyond the field's range becomes its end."
  (let ((running (running)))
    (if (typep running 'host)
        (host-field running player name)
        (guest-field running player name))))

(defun (setf player-field) (value player name)
  (host-set-field (need-host "set the state") player name value))

(defun player-name (player)
  "Return what PLAYER is called: text of another program, without control characters."
  (let ((running (running)))
    (if (typep running 'host)
        (host-name-of running player)
        (guest-name-of running player))))

(defun player-ready-p (player)
  "Return whether PLAYER is ready for the game to begin."
  (let ((running (running)))
    (if (typep running 'host)
        (host-ready-p running player)
        (guest-ready-p running player))))

(defun input-field (input name)
  "Return the field NAME of INPUT, as the handler of inputs gets it."
  (let ((entry (assoc name input)))
    (unless entry
      (error "the input has no field ~(~A~)" name))
    (cdr entry)))

(defun set-input (name value)
  "Have this player's input field NAME be VALUE from the next tick on."
  (guest-set-input (need-guest "have an input") name value))

(defun emit (channel &rest values)
  "Send an event on CHANNEL: as the host to all players, as a player to the host."
  (let ((running (running)))
    (if (typep running 'host)
        (host-emit running channel values)
        (guest-emit running channel values))))

(defun emit-as (player channel &rest values)
  "As the host, send an event on CHANNEL to all players in the name of PLAYER."
  (host-emit (need-host "speak for a player") channel values :from player))

(defun emit-to (player channel &rest values)
  "As the host, send an event on CHANNEL to PLAYER only."
  (host-emit (need-host "speak to one player") channel values :to player))

(defun game-tick ()
  "Return the host's tick; at a player the one that is seen now, a rational number, or NIL if none is."
  (let ((running (running)))
    (if (typep running 'host)
        (host-tick running)
        (guest-view-tick running))))

(defun game-phase ()
  "Return :LOBBY or :PLAYING; at a player also :JOINING, :REFUSED and :LEFT."
  (let ((running (running)))
    (if (typep running 'host)
        (if (host-playing running) :playing :lobby)
        (guest-phase running))))

(defun ready (&optional (ready t))
  "Say as a player whether the game may begin."
  (guest-ready (need-guest "be ready") ready))

(defun kick (player &optional (reason "the host has removed you"))
  "As the host, have PLAYER leave, and not come back for a minute."
  (host-kick (need-host "have a player leave") player reason))

(defun leave-game ()
  "Leave the game, as a player."
  (guest-leave (need-guest "leave")))

(defun send-position (peer x y z)
  "Send a POSITION of DCF to the address PEER, once."
  (send-bare *node* peer +position+ (write-position x y z)))

(defun send-game-event (peer kind text)
  "Send a GAME_EVENT of DCF to the address PEER, once."
  (send-bare *node* peer +game-event+ (write-game-event kind text)))
