(defpackage #:hydramesh/game/messages
  (:use #:cl)
  (:import-from #:hydramesh/domain/packing
                #:done #:malformed-payload #:packed #:rest-octets #:take #:with-unpacking)
  (:import-from #:hydramesh/game/bits
                #:bits-done #:bits-written #:make-bit-reader #:make-bit-writer #:read-bits #:write-bits)
  (:import-from #:hydramesh/game/definition
                #:channel-fields #:channel-index #:channel-name #:channel-reliable #:game-channels
                #:game-input
                #:game-most-players #:game-name #:game-state #:game-tick-rate)
  (:import-from #:hydramesh/game/fields #:field-name #:fitted #:read-field #:shape-of #:write-field)
  (:import-from #:hydramesh/game/limits #:+inputs-sent+ #:+name+)
  (:import-from #:hydramesh/sha256 #:sha256-hex)
  (:export #:game-id #:game-shape #:kind-of-message #:+snapshot+ #:+input+ #:+passing+ #:+join+ #:+welcome+
           #:+refused+
           #:+lobby+ #:+ready+ #:+leave+ #:+event+
           #:write-snapshot #:read-snapshot #:write-inputs #:read-inputs #:write-event #:read-event
           #:write-join #:read-join #:write-welcome #:read-welcome #:write-refused #:read-refused
           #:write-lobby #:read-lobby #:write-ready #:read-ready #:write-leave)
  (:documentation "What games send: SNAPSHOT, INPUT and PASSING as STATE_SYNC, which goes once; all others as
RELIABLE.

Each begins with its kind, a byte, and the game's id, a u32, so that one program can have several games.
Values are by name, alists in which fields that a message has are in the order of their declaration."))
(in-package #:hydramesh/game/messages)

(defconstant +snapshot+ 1)
(defconstant +input+ 2)
(defconstant +passing+ 3 "An event on a channel that is not reliable.")
(defconstant +join+ 16)
(defconstant +welcome+ 17)
(defconstant +refused+ 18)
(defconstant +lobby+ 19)
(defconstant +ready+ 20)
(defconstant +leave+ 21)
(defconstant +event+ 22 "An event on a channel that is reliable.")

(defconstant +nobody+ 255)

(defun number-of (text)
  "Return 32 bits that are others for another TEXT."
  (parse-integer (sha256-hex (sb-ext:string-to-octets text :external-format :utf-8)) :end 8 :radix 16))

(defun game-id (game)
  "Return the number by which messages are GAME's."
  (number-of (format nil "game ~A" (game-name game))))

(defun game-shape (game)
  "Return a number that is the same for games whose messages are packed alike."
  (number-of (format nil "~D ~A / ~A / ~{~A~^ | ~}" (game-tick-rate game) (shape-of (game-state game))
                     (shape-of (game-input game))
                     (loop for channel in (game-channels game)
                           collect (format nil "~(~A~) ~A ~A" (channel-name channel)
                                           (channel-reliable channel)
                                           (shape-of (channel-fields channel)))))))

(defun kind-of-message (payload id)
  "Return the kind of the message PAYLOAD if it is of the game with that ID, else NIL."
  (and (>= (length payload) 5)
       (with-unpacking (payload)
         (let ((kind (take :u8)))
           (and (= id (take :u32)) kind)))))

(defmacro body-of ((payload) &body body)
  "Do BODY as in WITH-UNPACKING, after kind and id of PAYLOAD."
  `(with-unpacking (,payload)
     (take :u8)
     (take :u32)
     ,@body))

;;; Fields

(defun write-fields (writer fields values)
  (dolist (field fields)
    (write-field writer field (cdr (assoc (field-name field) values)))))

(defun read-fields (reader fields)
  (loop for field in fields collect (cons (field-name field) (read-field reader field))))

;;; State and inputs

(defun write-snapshot (id tick applied players fields)
  "Return a SNAPSHOT: at TICK, the state of PLAYERS is (player . values) each; of who gets it, the input of
the tick APPLIED was the last that counted."
  (let ((writer (make-bit-writer)))
    (loop for (player . values) in players
          do (write-bits writer player 8)
             (write-fields writer fields values))
    (packed (:u8 +snapshot+) (:u32 id) (:u32 tick) (:u32 applied) (:u8 (length players))
            (:octets (bits-written writer)))))

(defun read-snapshot (payload game)
  "Return tick, applied and an alist of players and their values. Signal MALFORMED-PAYLOAD."
  (body-of (payload)
    (let* ((tick (take :u32)) (applied (take :u32)) (count (take :u8))
           (reader (make-bit-reader (rest-octets)))
           (players (progn
                      (when (> count (game-most-players game))
                        (error 'malformed-payload))
                      (loop repeat count
                            collect (cons (read-bits reader 8) (read-fields reader (game-state game)))))))
      (bits-done reader)
      (unless (= count (length (remove-duplicates players :key #'car)))
        (error 'malformed-payload))
      (values tick applied players))))

(defun write-inputs (id tick inputs fields)
  "Return an INPUT: of TICK and of those before it, INPUTS are their values, the newest first."
  (let ((writer (make-bit-writer)))
    (dolist (values inputs)
      (write-fields writer fields values))
    (packed (:u8 +input+) (:u32 id) (:u32 tick) (:u8 (length inputs)) (:octets (bits-written writer)))))

(defun read-inputs (payload game)
  "Return an alist of ticks and inputs, the oldest first. Signal MALFORMED-PAYLOAD."
  (body-of (payload)
    (let ((tick (take :u32)) (count (take :u8)) (reader (make-bit-reader (rest-octets))))
      (unless (<= 1 count (min +inputs-sent+ (1+ tick)))
        (error 'malformed-payload))
      (let ((inputs (loop repeat count
                          for of downfrom tick
                          collect (cons of (read-fields reader (game-input game))))))
        (bits-done reader)
        (nreverse inputs)))))

;;; Events

(defun write-event (id channel player values)
  "Return an event on CHANNEL that PLAYER, or NIL, makes, with VALUES in the order of its fields. Signal
TYPE-ERROR."
  (let ((writer (make-bit-writer)))
    (loop for field in (channel-fields channel)
          for value in values
          do (write-field writer field (fitted field value)))
    (packed (:u8 (if (channel-reliable channel) +event+ +passing+)) (:u32 id) (:u8 (channel-index channel))
            (:u8 (or player +nobody+)) (:octets (bits-written writer)))))

(defun read-event (payload game)
  "Return the channel, the player or NIL, and the values. Signal MALFORMED-PAYLOAD."
  (with-unpacking (payload)
    (let* ((kind (take :u8)) (id (take :u32)) (index (take :u8)) (player (take :u8))
           (channel (nth index (game-channels game))) (reader (make-bit-reader (rest-octets))))
      (declare (ignore id))
      (unless (and channel (eq (channel-reliable channel) (= kind +event+)))
        (error 'malformed-payload))
      (let ((values (mapcar #'cdr (read-fields reader (channel-fields channel)))))
        (bits-done reader)
        (values channel (if (= player +nobody+) nil player) values)))))

;;; Coming and going

(defun write-join (id shape name)
  (packed (:u8 +join+) (:u32 id) (:u32 shape) (:text name)))

(defun read-join (payload)
  "Return the shape and the name of who wants to join. Signal MALFORMED-PAYLOAD."
  (body-of (payload)
    (multiple-value-prog1 (values (take :u32) (take :text +name+))
      (done))))

(defun write-welcome (id player)
  (packed (:u8 +welcome+) (:u32 id) (:u8 player)))

(defun read-welcome (payload)
  "Return which player this is. Signal MALFORMED-PAYLOAD."
  (body-of (payload)
    (prog1 (take :u8)
      (done))))

(defun write-refused (id reason)
  (packed (:u8 +refused+) (:u32 id) (:text reason)))

(defun read-refused (payload)
  "Return why. Signal MALFORMED-PAYLOAD."
  (body-of (payload)
    (prog1 (take :text 200)
      (done))))

(defun write-lobby (id playing players)
  "Return a LOBBY: whether the game has begun, and PLAYERS as (number ready name)."
  (let ((parts (loop for (number ready name) in players
                     collect (packed (:u8 number) (:u8 (if ready 1 0)) (:text name)))))
    (packed (:u8 +lobby+) (:u32 id) (:u8 (if playing 1 0)) (:u8 (length players))
            (:octets (apply #'concatenate '(vector (unsigned-byte 8)) parts)))))

(defun read-lobby (payload game)
  "Return whether the game has begun, and the players as (number ready name). Signal MALFORMED-PAYLOAD."
  (body-of (payload)
    (let ((playing (take :u8)) (count (take :u8)))
      (when (> count (game-most-players game))
        (error 'malformed-payload))
      (let ((players (loop repeat count
                           collect (list (take :u8) (= 1 (take :u8)) (take :text +name+)))))
        (done)
        (values (= playing 1) players)))))

(defun write-ready (id ready)
  (packed (:u8 +ready+) (:u32 id) (:u8 (if ready 1 0))))

(defun read-ready (payload)
  "Return whether who sent it is ready. Signal MALFORMED-PAYLOAD."
  (body-of (payload)
    (prog1 (= 1 (take :u8))
      (done))))

(defun write-leave (id)
  (packed (:u8 +leave+) (:u32 id)))
