(defpackage #:hydramesh/game/definition
  (:use #:cl)
  (:import-from #:hydramesh/domain/definitions
                #:add-definition #:clause #:clauses-in #:mistake #:name-in #:number-within #:one-of #:printed
                #:whole-number #:with-definition)
  (:import-from #:hydramesh/domain/limits #:+bare-bytes+ #:+reliable-bytes+)
  (:import-from #:hydramesh/game/fields #:field-kind #:field-most-bits #:field-name #:fields-in)
  (:import-from #:hydramesh/game/limits #:+channel-text+ #:+channels+ #:+inputs-sent+ #:+name+ #:+state-text+)
  (:export #:defgame #:game #:game-name #:game-tick-rate #:game-least-players #:game-most-players #:game-state
           #:game-input #:game-reckoned #:game-snapshot-rate #:game-interpolation #:game-channels #:game-ready
           #:game-player-name #:handler-of #:channel #:channel-name #:channel-reliable #:channel-fields
           #:channel-index
           #:find-channel)
  (:documentation "`defgame`: what a game is, checked while it is compiled."))
(in-package #:hydramesh/game/definition)

(defstruct channel
  "Events by NAME, with FIELDS; RELIABLE ones come once and in order, others once or twice or not at all."
  (name nil :type symbol)
  (index 0 :type fixnum)
  (reliable nil)
  (fields '() :type list))

(defmethod make-load-form ((channel channel) &optional environment)
  (make-load-form-saving-slots channel :environment environment))

(defstruct game
  "TICK-RATE and SNAPSHOT-RATE are in a second, INTERPOLATION in seconds. RECKONED is an alist of fields of
the STATE and those that say how much they change in a second. HANDLERS are functions by (side . event)."
  (name "" :type string)
  (tick-rate 60 :type fixnum)
  (snapshot-rate 20 :type fixnum)
  (interpolation 0.1d0 :type double-float)
  (least-players 1 :type fixnum)
  (most-players 8 :type fixnum)
  (ready :at-once)
  (player-name "player" :type string)
  (state '() :type list)
  (input '() :type list)
  (reckoned '() :type list)
  (channels '() :type list)
  (handlers '() :type list))

(defun find-channel (game name)
  "Return GAME's channel called NAME, a symbol; NIL if it has none."
  (find name (game-channels game) :key #'channel-name))

(defun handler-of (game side event)
  "Return what GAME does at EVENT, a symbol, on SIDE, :HOST or :PLAYER; NIL if that is nothing."
  (cdr (assoc (cons side event) (game-handlers game) :test #'equal)))

;;; Clauses

(defparameter +clauses+
  '(:tick-rate :players :state :input :reckon :snapshot-rate :interpolation :ready :name :channel :host
    :player))

(defparameter +events+
  '((:host (:begin) (:join player) (:leave player) (:input player input) (:tick tick) (:position peer x y z)
     (:game-event peer kind text))
    (:player (:welcome) (:begin) (:join player) (:leave player) (:tick tick) (:refused reason) (:lost)))
  "What can happen on either side beside the game's own channels, and what its handler gets.")

(defun value-in (name forms default)
  "Return what the clause NAME of FORMS says, DEFAULT without it."
  (let ((clause (clause name forms)))
    (cond ((null clause) default)
          ((/= 2 (length clause)) (mistake name "it takes one value, as (~(~S~) ~A)" name (printed default)))
          (t (second clause)))))

(defun players-in (forms)
  (let ((clause (clause :players forms :required "(:players 8), or (:players 2 8) for at least two")))
    (case (length clause)
      (2 (list 1 (whole-number :players (second clause) 1 255)))
      (3 (let ((most (whole-number :players (third clause) 1 255)))
           (list (whole-number :players (second clause) 1 most) most)))
      (t (mistake :players "it takes one number or two; write (:players 8) or (:players 2 8)")))))

(defun reckoned-in (forms state)
  (loop for pair in (rest (clause :reckon forms))
        collect (progn
                  (unless (and (consp pair) (ignore-errors (list-length pair)) (= 2 (length pair)))
                    (mistake :reckon "~A is no pair; write (x vx): x changes by vx in a second"
                             (printed pair)))
                  (dolist (name pair)
                    (let ((field (find name state :key #'field-name)))
                      (unless field
                        (one-of :reckon name (mapcar #'field-name state)))
                      (unless (string= (field-kind field) "REAL")
                        (mistake :reckon "~A is no real; reckon with fields that are (real low high step)"
                                 (printed name)))))
                  (cons (first pair) (second pair)))))

(defun channels-in (forms)
  (let ((clauses (remove :channel forms :key #'first :test-not #'eq)))
    (when (> (length clauses) +channels+)
      (mistake :channel "there are ~D; leave ~D at most" (length clauses) +channels+))
    (loop with names = '()
          for clause in clauses
          for index from 0
          collect (destructuring-bind (&optional name kind &rest fields) (rest clause)
                    (name-in :channel name)
                    (when (or (member name names)
                              (assoc name (append (rest (first +events+)) (rest (second +events+)))
                                     :test #'string=))
                      (mistake :channel "there is another event called ~A; give it another name"
                               (printed name)))
                    (push name names)
                    (one-of :channel kind '(:reliable :unreliable))
                    (let* ((fields (fields-in name fields +channel-text+))
                           (bytes (+ 8 (ceiling (reduce #'+ fields :key #'field-most-bits) 8)))
                           (most (if (eq kind :reliable) +reliable-bytes+ +bare-bytes+)))
                      (when (> bytes most)
                        (mistake name "an event of it may take ~D bytes; make its texts shorter, ~D at most"
                                 bytes most))
                      (make-channel :name name :index index :reliable (eq kind :reliable) :fields fields))))))

(defun check-sizes (most state input)
  (flet ((bytes (fields) (ceiling (reduce #'+ fields :key #'field-most-bits) 8)))
    (let ((snapshot (+ 16 (* most (1+ (bytes state))))) (inputs (+ 16 (* +inputs-sent+ (bytes input)))))
      (when (> snapshot +bare-bytes+)
        (mistake :state "the state of ~D players takes ~D bytes, and a datagram has ~D; use fewer players, ~
                         fewer fields or larger steps" most snapshot +bare-bytes+))
      (when (> inputs +bare-bytes+)
        (mistake :input "~D inputs take ~D bytes, and a datagram has ~D; use fewer fields"
                 +inputs-sent+ inputs +bare-bytes+)))))

;;; Handlers

(defun events-of (side channels)
  "Return an alist of what can happen on SIDE and what a handler gets."
  (append (rest (assoc side +events+))
          (loop for channel in channels
                collect (list* (channel-name channel) 'player
                               (mapcar #'field-name (channel-fields channel))))))

(defun event-in (side word channels)
  "Return the name of the event that WORD is, a channel's or a keyword."
  (let ((events (mapcar #'first (events-of side channels))))
    (or (and (symbolp word) word (find word events :test #'string=))
        ;; As a program writes them.
        (one-of side word (mapcar (lambda (event) (make-symbol (string event))) events)))))

(defun handler-in (clause channels)
  "Return the key of the handler that CLAUSE has, and the form that makes it."
  (let ((side (first clause)))
    (unless (>= (length clause) 3)
      (mistake side "write what is to be done, as (~(~S~) tick (tick) …)" side))
    (destructuring-bind (word parameters &rest body) (rest clause)
      (let* ((event (event-in side word channels))
             (expected (rest (assoc event (events-of side channels)))))
        (unless (and (listp parameters) (ignore-errors (list-length parameters))
                     (every (lambda (name)
                              (and name (symbolp name) (not (keywordp name)) (not (constantp name))))
                            parameters)
                     (null (intersection parameters lambda-list-keywords)))
          (mistake side "~A is no list of names; write (~(~A ~A~) …)" (printed parameters) event expected))
        (unless (= (length parameters) (length expected))
          (mistake side "~A gets ~:[nothing~;~:*~{~(~A~)~^, ~}~], and ~A names ~D; write ~(~A~)"
                   (printed word) expected (printed parameters) (length parameters) (or expected "()")))
        (list (cons side event) `(lambda ,parameters (declare (ignorable ,@parameters)) ,@body))))))

(defun handlers-in (forms channels)
  (let ((handlers (loop for clause in forms
                        when (member (first clause) '(:host :player))
                          collect (handler-in clause channels))))
    (loop for (handler . others) on handlers
          do (when (find (first handler) others :key #'first :test #'equal)
               (mistake (car (first handler)) "there are two handlers of ~A; leave one"
                        (printed (cdr (first handler))))))
    handlers))

(defun checked-name (text)
  (unless (and (stringp text) (<= 1 (length text) +name+) (every #'graphic-char-p text))
    (mistake :name "~A is no name of a player; write a string of ~D characters at most"
             (printed text) +name+))
  text)

(defmacro defgame (name &body clauses)
  "Define the game NAME, which `hydramesh run` runs: as the host that others join, or, where domain_peers
names that, as a player. CLAUSES are, in any order:

  (:players 2 8)                    how many play: at least, and at most; (:players 8) begins with one
  (:state (x (real -9 9 0.01)) …)   what each player is, as fields
  (:input (dx (whole -1 1)) …)      what a player does in a tick, as fields
  (:tick-rate 60)                   ticks in a second
  (:snapshot-rate 20)               how often players are told the state, in a second
  (:interpolation 0.1)              seconds by which players see it late, so that it moves evenly
  (:reckon (x vx) …)                a field changes by another one in a second, where nothing newer is known
  (:ready :when-told)               players say themselves when they are ready; else they are :at-once
  (:name \"Ann\")                     what this player is called
  (:channel chat :reliable (text (text 200)))
                                    events with fields; or :unreliable, for what only counts while it is new
  (:host EVENT (…) form…)           what the host does: at begin, join, leave, input, tick, position,
                                    game-event, or an event on a channel
  (:player EVENT (…) form…)         the same of a player: welcome, begin, join, leave, tick, refused, lost,
                                    or a channel

Fields are (NAME TYPE [:INITIAL VALUE]); hydramesh/game/fields has the types. What is wrong is signalled as
BAD-DEFINITION while this is compiled."
  (with-definition ("defgame" name)
    (name-in nil name)
    (let* ((clauses (clauses-in clauses +clauses+))
           (players (players-in clauses))
           (state (fields-in :state
                             (rest (clause :state clauses :required "(:state (x (real -100 100 0.01)) …)"))
                             +state-text+))
           (input (fields-in :input (rest (clause :input clauses)) +state-text+))
           (channels (channels-in clauses))
           (tick-rate (whole-number :tick-rate (value-in :tick-rate clauses 60) 1 240)))
      (check-sizes (second players) state input)
      `(progn
         (add-definition
          :game ,(string-downcase name)
          (make-game :name ,(string-downcase name)
                     :tick-rate ,tick-rate
                     :snapshot-rate ,(whole-number :snapshot-rate
                                                   (value-in :snapshot-rate clauses (min 20 tick-rate))
                                                   1 tick-rate)
                     :interpolation ,(coerce (number-within :interpolation
                                                            (value-in :interpolation clauses 0.1) 0 2)
                                             'double-float)
                     :least-players ,(first players)
                     :most-players ,(second players)
                     :ready ,(one-of :ready (value-in :ready clauses :at-once) '(:at-once :when-told))
                     :player-name ,(checked-name (value-in :name clauses "player"))
                     :state ',state
                     :input ',input
                     :reckoned ',(reckoned-in clauses state)
                     :channels ',channels
                     :handlers (list ,@(loop for (key function) in (handlers-in clauses channels)
                                             collect `(cons ',key ,function)))))
         ',name))))
