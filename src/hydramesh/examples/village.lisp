;;;; A village whose innkeeper answers what players say, in words of a language model.
;;;;
;;;;   hydramesh run village.lisp --domain-listen 127.0.0.1:7720 --heads 127.0.0.1:7717
;;;;   SAY="A room?" hydramesh run village.lisp --domain-listen 127.0.0.1:0 --domain-peers 127.0.0.1:7720
;;;;
;;;; The first is the host, the second a player who says something as it comes in. It needs a worker with a
;;;; model that chats.

(defvar *model* "daiic-tiny-chat")

(defparameter *who-i-am* "You are the keeper of an inn in a small village. Answer in one short sentence.")

(defvar *thinking* (make-hash-table) "The task about what a player has said, by player.")

(defun answer (player text)
  "Have all players hear the innkeeper say TEXT to PLAYER."
  (remhash player *thinking*)
  (emit-as player 'innkeeper (string-trim '(#\Space #\Newline) text)))

(defun think (player text)
  "Have the model answer what PLAYER says, one thing at a time."
  (unless (gethash player *thinking*)
    (setf (gethash player *thinking*)
          (ask *model* text
               :system *who-i-am*
               :max-tokens 40
               :temperature 0
               :deadline 30
               :then (lambda (words) (answer player words))
               :else (lambda (error)
                       (log-warning "the innkeeper has no words" :reason (princ-to-string error))
                       (answer player "Hm? Come back later."))))))

(defgame village
  (:players 16)
  (:tick-rate 20)
  (:state (x (real 0 100 0.1) :initial 50) (y (real 0 100 0.1) :initial 50))
  (:input (dx (whole -1 1)) (dy (whole -1 1)))
  (:channel say :reliable (text (text 200)))
  (:channel innkeeper :reliable (text (text 1000)))

  (:host input (player input)
    (incf (player-field player 'x) (* 0.2 (input-field input 'dx)))
    (incf (player-field player 'y) (* 0.2 (input-field input 'dy))))
  (:host say (player text)
    (emit-as player 'say text)
    (think player text))
  (:host leave (player)
    ;; Whoever comes next under this number must not hear the answer.
    (let ((call (gethash player *thinking*)))
      (when call
        (remhash player *thinking*)
        (cancel-call call))))

  (:player welcome ()
    (let ((words (uiop:getenvp "SAY")))
      (when words
        (emit 'say words))))
  (:player say (player text)
    (log-info "somebody says" :player player :text text))
  (:player innkeeper (player text)
    (log-info "the innkeeper says" :to player :text text)))
