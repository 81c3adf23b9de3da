(defpackage #:hydramesh/game/host
  (:use #:cl)
  (:shadow #:member)
  (:import-from #:hydramesh/address #:address #:format-address)
  (:import-from #:hydramesh/events
                #:message-payload #:message-peer #:message-sequence #:microseconds #:seconds)
  (:import-from #:hydramesh/domain/node #:*acting* #:*service* #:acting #:count-one #:node-now)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/domain/types #:+game-channel+ #:+state-sync+ #:newer-p)
  (:import-from #:hydramesh/game/definition
                #:channel-index #:channel-name #:channel-reliable #:find-channel #:game #:game-input
                #:game-channels
                #:game-least-players #:game-most-players #:game-name #:game-ready #:game-snapshot-rate
                #:game-state
                #:game-tick-rate #:handler-of)
  (:import-from #:hydramesh/game/fields #:field-initial #:field-name #:fitted)
  (:import-from #:hydramesh/game/limits
                #:+banned+ #:+banned-for+ #:+events+ #:+input-repeated+ #:+inputs-ahead+ #:+inputs-kept+
                #:+joins+ #:+name+ #:+name-bytes+
                #:+silence+ #:+strikes+)
  (:import-from #:hydramesh/game/messages
                #:+event+ #:+input+ #:+join+ #:+leave+ #:+passing+ #:+ready+ #:game-id #:game-shape
                #:read-event
                #:read-inputs #:read-join #:read-ready #:write-event #:write-lobby #:write-refused
                #:write-snapshot
                #:write-welcome)
  (:import-from #:hydramesh/game/lateness #:make-lateness #:note-lateness)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:import-from #:hydramesh/protobuf/text #:text-size)
  (:import-from #:hydramesh/shown #:printable)
  (:import-from #:hydramesh/domain/calling #:call-every #:stop-timer)
  (:import-from #:hydramesh/domain/receiving #:forget)
  (:import-from #:hydramesh/domain/sending #:send-bare #:send-reliable)
  (:export #:host #:open-host #:host-take #:host-lose #:host-stop #:host-tick #:host-members #:host-playing
           #:host-lateness
           #:host-field #:host-set-field #:host-name-of #:host-ready-p #:host-emit #:host-kick #:host-game
           #:host-id
           #:member-number)
  (:documentation "The host of a game: it alone says what the state is. Players say who they are by the
address that they send from, and nothing that they say of others counts."))
(in-package #:hydramesh/game/host)

(defstruct member
  "A player. VALUES is its state, an alist; INPUTS are (tick . values) that wait, the oldest first. APPLIED
is the tick of the last input that counted, LAST its values, and REPEATED for how many ticks they have been
taken again. EVENTS are left of this second's; STRIKES are counted until STRIKES-UNTIL."
  (number 0 :type (unsigned-byte 8))
  (address 0 :type address)
  (name "" :type string)
  (ready nil)
  (values '() :type list)
  (inputs '() :type list)
  (applied 0 :type (unsigned-byte 32))
  (last nil :type list)
  (repeated 0 :type fixnum)
  (heard-at 0 :type microseconds)
  (events 0 :type fixnum)
  (strikes 0 :type fixnum)
  (strikes-until 0 :type microseconds)
  (newest '() :type list))

(defstruct host
  "A game on NODE. MEMBERS are in the order of their numbers; BANNED is an alist of addresses and until when.
JOINS are the addresses that have asked to join in this second."
  (game nil :type game)
  node
  (id 0 :type (unsigned-byte 32))
  (shape 0 :type (unsigned-byte 32))
  (tick 0 :type (unsigned-byte 32))
  (playing nil)
  (members '() :type list)
  (banned '() :type list)
  (joins '() :type list)
  (second-at 0 :type microseconds)
  (timer nil)
  (lateness (make-lateness)))

(defun open-host (game node)
  "Begin GAME on NODE, with nobody in it."
  (let* ((host (make-host :game game :node node :id (game-id game) :shape (game-shape game)))
         (*service* host))
    (setf (host-timer host)
          (call-every node (/ 1000000 (game-tick-rate game))
                      (lambda (tick late)
                        (declare (ignore tick))
                        (note-lateness (host-lateness host) late)
                        (turn host))))
    host))

(defun call-handler (host event &rest arguments)
  "Call the handler of EVENT, if there is one; a fault in it ends nothing else."
  (let ((handler (handler-of (host-game host) :host event)))
    (when handler
      (acting ((host-node host) *acting* host)
        (apply handler arguments)))))

(defun numbered (host number)
  "Return the member with NUMBER. Signal an error if there is none."
  (or (find number (host-members host) :key #'member-number)
      (error "there is no player ~A" number)))

(defun at-address (host address)
  (find address (host-members host) :key #'member-address))

;;; The lobby

(defun control (host address payload)
  (send-reliable (host-node host) address +game-channel+ payload))

(defun tell-lobby (host &optional (members (host-members host)))
  "Tell MEMBERS who is there, and whether the game has begun."
  (let ((payload (write-lobby (host-id host) (host-playing host)
                              (loop for member in (host-members host)
                                    collect (list (member-number member) (member-ready member)
                                                  (member-name member))))))
    (dolist (member members)
      (control host (member-address member) payload))))

(defun welcome (host member)
  (control host (member-address member) (write-welcome (host-id host) (member-number member))))

(defun refuse (host address reason)
  (control host address (write-refused (host-id host) reason)))

(defun banned-p (host address)
  (let ((ban (assoc address (host-banned host))))
    (and ban (< (node-now (host-node host)) (cdr ban)))))

(defun may-ask-p (host address)
  "Count a request to join. Each address has one a second, so that none uses up those of the others."
  (let ((asked (host-joins host)))
    (unless (or (banned-p host address) (find address asked) (>= (length asked) +joins+))
      (push address (host-joins host)))))

(defun take-join (host member address payload)
  (multiple-value-bind (shape name) (read-join payload)
    (cond ((not (if member (may-say-p host member) (may-ask-p host address)))
           (count-one (host-node host) "joins refused"))
          ((/= shape (host-shape host))
           (refuse host address "this is another version of the game"))
          (member
           (welcome host member)
           (tell-lobby host (list member)))
          ((>= (length (host-members host)) (game-most-players (host-game host)))
           (refuse host address "the game is full"))
          (t (admit host address (name-for-all name))))))

(defun name-for-all (name)
  "Return what is shown of NAME, which anybody may have chosen: a lobby full of such names fits a message."
  (let ((shown (printable name)))
    (loop for end downfrom (min +name+ (length shown))
          for cut = (subseq shown 0 end)
          when (<= (text-size cut) +name-bytes+)
            return cut)))

(defun admit (host address name)
  (let* ((game (host-game host))
         (number (loop for number from 0
                       while (find number (host-members host) :key #'member-number)
                       finally (return number)))
         (member (make-member :number number :address address
                              :name (if (string= name "") (format nil "player ~D" number) name)
                              :ready (eq (game-ready game) :at-once)
                              :values (initial game)
                              :heard-at (node-now (host-node host))
                              :events +events+)))
    (setf (host-members host) (merge 'list (host-members host) (list member) #'< :key #'member-number))
    (log-info "a player has joined" :game (game-name game) :player number :name (member-name member)
                                    :address (format-address address))
    (welcome host member)
    (call-handler host :join number)
    (tell-lobby host)
    (begin-if-ready host)))

(defun initial (game)
  (loop for field in (game-state game) collect (cons (field-name field) (field-initial field))))

(defun begin-if-ready (host)
  (let ((members (host-members host)))
    (when (and (not (host-playing host))
               (>= (length members) (game-least-players (host-game host)))
               (every #'member-ready members))
      (setf (host-playing host) t)
      (log-info "the game begins" :game (game-name (host-game host)) :players (length members))
      (call-handler host :begin)
      (tell-lobby host))))

(defun remove-member (host member reason)
  (setf (host-members host) (remove member (host-members host)))
  (log-info "a player has left" :game (game-name (host-game host)) :player (member-number member)
                                :reason reason)
  (call-handler host :leave (member-number member))
  (when (null (host-members host))
    (setf (host-playing host) nil))
  (tell-lobby host)
  (begin-if-ready host))

(defun host-kick (host number reason)
  "Have the player NUMBER leave, and not come back for a minute. REASON is what it is told."
  (let* ((member (numbered host number)) (address (member-address member)))
    (refuse host address (subseq reason 0 (min 200 (length reason))))
    (let ((bans (cons (cons address (+ (node-now (host-node host)) (seconds +banned-for+)))
                      (remove address (host-banned host) :key #'car))))
      (setf (host-banned host) (subseq bans 0 (min +banned+ (length bans)))))
    (remove-member host member "kicked")))

(defun host-lose (host address)
  "Know that nobody is at ADDRESS any more."
  (let ((member (at-address host address)))
    (when member
      (remove-member host member "lost"))))

;;; What players send

(defun strike (host member)
  "Count something that no honest player does."
  (let ((now (node-now (host-node host))))
    (when (>= now (member-strikes-until member))
      (setf (member-strikes member) 0
            (member-strikes-until member) (+ now (seconds 10))))
    (count-one (host-node host) "strikes")
    (when (>= (incf (member-strikes member)) +strikes+)
      (log-warning "a player breaks the rules, and is banned for a while" :game (game-name (host-game host))
                                                                         :player (member-number member)
                                                                         :name (member-name member))
      (host-kick host (member-number member) "too much that no honest player sends"))))

(defun host-take (host kind message)
  "Act on MESSAGE, of this game and of KIND."
  (let* ((address (message-peer message))
         (payload (message-payload message))
         (member (at-address host address)))
    (when member
      (setf (member-heard-at member) (node-now (host-node host))))
    (cond ((= kind +join+) (take-join host member address payload))
          ((null member) (count-one (host-node host) "from no player"))
          (t
           (handler-case
               (cond ((= kind +input+) (take-inputs host member (read-inputs payload (host-game host))))
                     ((= kind +event+) (take-event host member payload))
                     ((= kind +passing+) (take-passing host member message))
                     ((= kind +ready+) (take-ready host member (read-ready payload)))
                     ((= kind +leave+) (remove-member host member "it said so"))
                     (t (strike host member)))
             (malformed-payload () (strike host member)))))))

(defun take-inputs (host member inputs)
  "Keep those of INPUTS that are new, for their ticks."
  (loop for (tick . values) in inputs
        do (cond ((or (<= tick (member-applied member)) (assoc tick (member-inputs member))))
                 ((> tick (+ (member-applied member) +inputs-ahead+))
                  ;; After a pause, a player's clock is ahead by as long.
                  (if (and (null (member-inputs member)) (>= (member-repeated member) +input-repeated+))
                      (push (cons tick values) (member-inputs member))
                      (return (strike host member))))
                 (t
                  (setf (member-inputs member)
                        (merge 'list (member-inputs member) (list (cons tick values)) #'< :key #'car)))))
  ;; Who sends faster than time goes loses what is oldest.
  (loop while (> (length (member-inputs member)) +inputs-kept+)
        do (setf (member-applied member) (car (pop (member-inputs member))))
           (count-one (host-node host) "inputs left out")))

(defun may-say-p (host member)
  (if (plusp (member-events member))
      (decf (member-events member))
      (progn (strike host member) nil)))

(defun take-ready (host member ready)
  ;; All are told, so this is bounded as events are.
  (when (and (may-say-p host member) (not (eq ready (member-ready member))))
    (setf (member-ready member) ready)
    (tell-lobby host)
    (begin-if-ready host)))

(defun take-event (host member payload)
  (multiple-value-bind (channel player values) (read-event payload (host-game host))
    (declare (ignore player)) ; whoever it says it is
    (when (may-say-p host member)
      (apply #'call-handler host (channel-name channel) (member-number member) values))))

(defun take-passing (host member message)
  (let* ((channel (read-event (message-payload message) (host-game host)))
         (seen (assoc (channel-index channel) (member-newest member)))
         (sequence (message-sequence message)))
    (when (or (null seen) (newer-p sequence (cdr seen)))
      (if seen
          (setf (cdr seen) sequence)
          (push (cons (channel-index channel) sequence) (member-newest member)))
      (take-event host member (message-payload message)))))

;;; Ticks

(defun turn (host)
  "Do a tick."
  (let ((now (node-now (host-node host))))
    (when (>= now (host-second-at host))
      (setf (host-second-at host) (+ now (seconds 1))
            (host-joins host) '())
      (dolist (member (copy-list (host-members host)))
        (setf (member-events member) +events+)
        (when (> (- now (member-heard-at member)) (seconds +silence+))
          (remove-member host member "silent")))))
  (when (host-playing host)
    (incf (host-tick host))
    (dolist (member (copy-list (host-members host)))
      (apply-input host member))
    (call-handler host :tick (host-tick host))
    (send-snapshots host)))

(defun apply-input (host member)
  (let ((next (pop (member-inputs member))))
    (cond (next
           (setf (member-applied member) (car next)
                 (member-last member) (cdr next)
                 (member-repeated member) 0))
          ((< (member-repeated member) +input-repeated+)
           (incf (member-repeated member)))
          (t
           (setf (member-last member) nil)))
    (when (member-last member)
      (call-handler host :input (member-number member) (member-last member)))))

(defun send-snapshots (host)
  (let* ((game (host-game host)) (tick (host-tick host))
         (rate (game-snapshot-rate game)) (ticks (game-tick-rate game)))
    (unless (= (floor (* tick rate) ticks) (floor (* (1- tick) rate) ticks))
      (let ((players (loop for member in (host-members host)
                           collect (cons (member-number member) (member-values member)))))
        (dolist (member (host-members host))
          (send-bare (host-node host) (member-address member) +state-sync+
                     (write-snapshot (host-id host) tick (member-applied member) players
                                     (game-state game))))))))

;;; For handlers

(defun field-of (host name)
  (or (find name (game-state (host-game host)) :key #'field-name)
      (error "the state has no field ~(~A~)" name)))

(defun host-field (host number name)
  "Return the field NAME of the player NUMBER."
  (cdr (assoc (field-name (field-of host name)) (member-values (numbered host number)))))

(defun host-set-field (host number name value)
  "Make VALUE, or what is nearest to it in its range, the field NAME of the player NUMBER. Signal TYPE-ERROR."
  (setf (cdr (assoc name (member-values (numbered host number)))) (fitted (field-of host name) value)))

(defun host-name-of (host number)
  "Return the name of the player NUMBER."
  (member-name (numbered host number)))

(defun host-ready-p (host number)
  "Return whether the player NUMBER is ready for the game to begin."
  (member-ready (numbered host number)))

(defun host-emit (host channel-name values &key from to)
  "Send VALUES on a channel to all players, or only to the player TO, in the name of the player FROM."
  (let* ((channel (or (find-channel (host-game host) channel-name)
                      (error "the game has no channel ~(~A~)" channel-name)))
         (payload (write-event (host-id host) channel from values)))
    (dolist (member (if to (list (numbered host to)) (host-members host)))
      (if (channel-reliable channel)
          (unless (send-reliable (host-node host) (member-address member)
                                 (+ 1 +game-channel+ (channel-index channel)) payload)
            (count-one (host-node host) "events without room"))
          (send-bare (host-node host) (member-address member) +state-sync+ payload)))))

(defun host-stop (host)
  "Tell the players that it is over."
  (stop-timer (host-node host) (host-timer host))
  (dolist (member (host-members host))
    (refuse host (member-address member) "the host has ended the game")))
