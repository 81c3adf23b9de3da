(defpackage #:hydramesh/game/guest
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/events
                #:message-payload #:message-peer #:message-sequence #:microseconds #:seconds)
  (:import-from #:hydramesh/domain/node #:*acting* #:*service* #:acting #:count-one #:node-now)
  (:import-from #:hydramesh/domain/types #:+game-channel+ #:+state-sync+ #:newer-p)
  (:import-from #:hydramesh/game/definition
                #:channel-index #:channel-name #:channel-reliable #:find-channel #:game #:game-input
                #:game-name
                #:game-player-name #:game-tick-rate #:handler-of)
  (:import-from #:hydramesh/game/fields #:field-initial #:field-name #:fitted)
  (:import-from #:hydramesh/game/lateness #:make-lateness #:note-lateness)
  (:import-from #:hydramesh/game/limits #:+inputs-sent+)
  (:import-from #:hydramesh/game/messages
                #:+event+ #:+lobby+ #:+passing+ #:+refused+ #:+snapshot+ #:+welcome+ #:game-id #:game-shape
                #:read-event
                #:read-lobby #:read-refused #:read-snapshot #:read-welcome #:write-event #:write-inputs
                #:write-join
                #:write-leave #:write-ready)
  (:import-from #:hydramesh/game/view
                #:make-view #:view-add #:view-newest #:view-players #:view-time #:view-values)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:hydramesh/domain/calling #:call-every #:stop-timer)
  (:import-from #:hydramesh/domain/sending #:send-bare #:send-reliable)
  (:export #:guest #:guest-game #:guest-id #:open-guest #:guest-take #:guest-lose #:guest-stop #:guest-number
           #:guest-tick #:guest-phase
           #:guest-lobby #:guest-lateness #:guest-players #:guest-field #:guest-view-tick #:guest-name-of
           #:guest-ready-p
           #:guest-ready
           #:guest-set-input #:guest-emit #:guest-leave)
  (:documentation "A player of a game that a host runs: it says what it does in each tick, and sees what the
host tells."))
(in-package #:hydramesh/game/guest)

(defparameter +join-again+ (seconds 2) "Until the host is asked again to be let in.")
(defparameter +refused-again+ (seconds 30) "The same after it has refused: another may have left, or it was started again.")

(defstruct guest
  "A game on NODE, whose host is at HOST. PHASE is :JOINING, :LOBBY, :PLAYING, :REFUSED or :LEFT; LOBBY are
the players, as (number ready name). INPUT are the values of this tick's, INPUTS those of the last ones, the
newest first. NEWEST are the numbers of the newest messages that passed, by channel."
  (game nil :type game)
  node
  (host 0 :type address)
  (id 0 :type (unsigned-byte 32))
  (phase :joining)
  (number nil)
  (lobby '() :type list)
  (tick 0 :type (unsigned-byte 32))
  (input '() :type list)
  (inputs '() :type list)
  (view nil)
  (newest '() :type list)
  (heard-at 0 :type microseconds)
  (asked-at 0 :type microseconds)
  (timer nil)
  (lateness (make-lateness)))

(defun open-guest (game node host)
  "Join the GAME at the address HOST, through NODE."
  (let* ((guest (make-guest :game game :node node :host host :id (game-id game) :view (make-view game)
                            :input (loop for field in (game-input game)
                                         collect (cons (field-name field) (field-initial field)))))
         (*service* guest))
    (setf (guest-timer guest)
          (call-every node (/ 1000000 (game-tick-rate game))
                      (lambda (tick late)
                        (declare (ignore tick))
                        (note-lateness (guest-lateness guest) late)
                        (turn guest))))
    (join guest)
    guest))

(defun call-handler (guest event &rest arguments)
  "Call the handler of EVENT, if there is one; a fault in it ends nothing else."
  (let ((handler (handler-of (guest-game guest) :player event)))
    (when handler
      (acting ((guest-node guest) *acting* guest)
        (apply handler arguments)))))

(defun control (guest payload)
  (send-reliable (guest-node guest) (guest-host guest) +game-channel+ payload))

(defun join (guest)
  (setf (guest-asked-at guest) (node-now (guest-node guest)))
  (let ((game (guest-game guest)))
    (control guest (write-join (guest-id guest) (game-shape game) (game-player-name game)))))

;;; What the host sends

(defun guest-take (guest kind message)
  "Act on MESSAGE, of this game and of KIND; return whether it was the host's."
  (when (= (message-peer message) (guest-host guest))
    (let ((payload (message-payload message)) (now (node-now (guest-node guest))))
      (setf (guest-heard-at guest) now)
      (cond ((= kind +snapshot+)
             (multiple-value-bind (tick applied players) (read-snapshot payload (guest-game guest))
               (declare (ignore applied))
               (view-add (guest-view guest) tick players now)))
            ((= kind +event+) (take-event guest payload))
            ((= kind +passing+) (take-passing guest message))
            ((= kind +welcome+) (take-welcome guest (read-welcome payload)))
            ((= kind +lobby+)
             (multiple-value-call #'take-lobby guest (read-lobby payload (guest-game guest))))
            ((= kind +refused+) (take-refused guest (printable (read-refused payload))))
            (t (count-one (guest-node guest) "unknown")))
      t)))

(defun take-welcome (guest number)
  (when (member (guest-phase guest) '(:joining :refused))
    (setf (guest-number guest) number
          (guest-phase guest) :lobby
          (guest-view guest) (make-view (guest-game guest)))
    (log-info "joined" :game (game-name (guest-game guest)) :player number)
    (call-handler guest :welcome)))

(defun take-lobby (guest playing players)
  (let* ((known (mapcar #'first (guest-lobby guest)))
         (now (mapcar #'first players))
         (come (set-difference now known))
         (gone (set-difference known now)))
    (setf (guest-lobby guest)
          (loop for (number ready name) in players collect (list number ready (printable name))))
    (when (member (guest-phase guest) '(:lobby :playing))
      (dolist (number (sort come #'<)) (call-handler guest :join number))
      (dolist (number (sort gone #'<)) (call-handler guest :leave number))
      (when (and playing (eq (guest-phase guest) :lobby))
        (setf (guest-phase guest) :playing
              (guest-tick guest) 0
              (guest-inputs guest) '())
        (call-handler guest :begin))
      (when (and (not playing) (eq (guest-phase guest) :playing))
        (setf (guest-phase guest) :lobby)))))

(defun take-refused (guest reason)
  (unless (member (guest-phase guest) '(:refused :left))
    (setf (guest-phase guest) :refused
          (guest-number guest) nil
          (guest-lobby guest) '())
    (log-warning "the host refuses this player" :game (game-name (guest-game guest)) :reason reason)
    (call-handler guest :refused reason)))

(defun take-event (guest payload)
  (multiple-value-bind (channel player values) (read-event payload (guest-game guest))
    (apply #'call-handler guest (channel-name channel) player values)))

(defun take-passing (guest message)
  (let* ((channel (read-event (message-payload message) (guest-game guest)))
         (seen (assoc (channel-index channel) (guest-newest guest)))
         (sequence (message-sequence message)))
    (when (or (null seen) (newer-p sequence (cdr seen)))
      (if seen
          (setf (cdr seen) sequence)
          (push (cons (channel-index channel) sequence) (guest-newest guest)))
      (take-event guest (message-payload message)))))

(defun guest-lose (guest address)
  "Know that the host, if it is at ADDRESS, hears nothing any more."
  (when (and (= address (guest-host guest)) (not (member (guest-phase guest) '(:refused :left))))
    (rejoin guest)))

(defun rejoin (guest)
  (unless (eq (guest-phase guest) :joining)
    (setf (guest-phase guest) :joining
          (guest-number guest) nil)
    (log-warning "the host is lost; it is asked again" :game (game-name (guest-game guest)))
    (call-handler guest :lost))
  (join guest))

;;; Ticks

(defun turn (guest)
  (let ((now (node-now (guest-node guest))))
    (case (guest-phase guest)
      (:joining (when (>= now (+ (guest-asked-at guest) +join-again+))
                  (join guest)))
      (:lobby (when (>= now (+ (guest-asked-at guest) +join-again+))
                ;; A host that still knows this player says so again.
                (join guest)))
      (:refused (when (>= now (+ (guest-asked-at guest) +refused-again+))
                  (join guest)))
      (:playing
       (if (> (- now (guest-heard-at guest)) (* 2 +join-again+))
           (rejoin guest)
           (play guest))))))

(defun play (guest)
  "Say what is done in this tick."
  (incf (guest-tick guest))
  (let ((inputs (cons (copy-alist (guest-input guest)) (guest-inputs guest))))
    (setf (guest-inputs guest) (subseq inputs 0 (min +inputs-sent+ (length inputs)))))
  (send-bare (guest-node guest) (guest-host guest) +state-sync+
             (write-inputs (guest-id guest) (guest-tick guest) (guest-inputs guest)
                           (game-input (guest-game guest))))
  (call-handler guest :tick (guest-tick guest)))

;;; For handlers

(defun guest-players (guest)
  "Return the numbers of all players."
  (mapcar #'first (guest-lobby guest)))

(defun guest-field (guest number name)
  "Return what the field NAME of the player NUMBER is seen as; NIL if nothing is known of it yet."
  (view-values (guest-view guest) number name (node-now (guest-node guest))))

(defun guest-view-tick (guest)
  "Return the host's tick that is seen now, a rational number; NIL if none is."
  (let ((time (view-time (guest-view guest) (node-now (guest-node guest)))))
    (and time (* time (/ (game-tick-rate (guest-game guest)) 1000000)))))

(defun guest-name-of (guest number)
  "Return the name of the player NUMBER; NIL if there is none."
  (third (assoc number (guest-lobby guest))))

(defun guest-ready-p (guest number)
  "Return whether the player NUMBER is ready for the game to begin."
  (second (assoc number (guest-lobby guest))))

(defun guest-ready (guest ready)
  "Say whether this player is READY for the game to begin."
  (control guest (write-ready (guest-id guest) ready)))

(defun guest-set-input (guest name value)
  "Have VALUE, or what is nearest to it in its range, in the input's field NAME from the next tick on. Signal
TYPE-ERROR."
  (let ((field (or (find name (game-input (guest-game guest)) :key #'field-name)
                   (error "the input has no field ~(~A~)" name))))
    (setf (cdr (assoc name (guest-input guest))) (fitted field value))))

(defun guest-emit (guest channel-name values)
  "Send VALUES on a channel to the host; return whether that is to be."
  (let* ((channel (or (find-channel (guest-game guest) channel-name)
                      (error "the game has no channel ~(~A~)" channel-name)))
         (payload (write-event (guest-id guest) channel (guest-number guest) values)))
    (if (channel-reliable channel)
        (send-reliable (guest-node guest) (guest-host guest)
                       (+ 1 +game-channel+ (channel-index channel)) payload)
        (and (send-bare (guest-node guest) (guest-host guest) +state-sync+ payload) t))))

(defun guest-leave (guest)
  "Leave the game."
  (unless (eq (guest-phase guest) :left)
    (setf (guest-phase guest) :left)
    (control guest (write-leave (guest-id guest)))))

(defun guest-stop (guest)
  "Leave, as the process ends."
  (stop-timer (guest-node guest) (guest-timer guest))
  (guest-leave guest))
