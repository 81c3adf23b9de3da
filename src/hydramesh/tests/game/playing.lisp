(defpackage #:hydramesh/tests/game/playing
  (:use #:cl #:hydramesh/game)
  (:import-from #:fiveam #:test #:is #:is-true #:is-false)
  (:import-from #:hydramesh/domain/definitions #:*definitions*)
  (:import-from #:hydramesh/domain/limits #:+reliable-bytes+)
  (:import-from #:hydramesh/domain/node #:*node* #:*service* #:node-add #:node-counters #:node-stop)
  (:import-from #:hydramesh/domain/packing #:packed)
  (:import-from #:hydramesh/domain/payloads #:write-game-event #:write-position)
  (:import-from #:hydramesh/domain/types #:+audio+ #:+game-event+ #:+position+ #:+reliable+ #:+state-sync+)
  (:import-from #:hydramesh/game/definition #:game-channels #:game-input)
  (:import-from #:hydramesh/game/guest #:guest)
  (:import-from #:hydramesh/game/limits #:+banned-for+ #:+inputs-sent+ #:+strikes+)
  (:import-from #:hydramesh/game/messages
                #:game-id #:game-shape #:write-event #:write-inputs #:write-join #:write-lobby
                #:write-ready #:write-snapshot #:write-welcome)
  (:import-from #:hydramesh/tests/domain/network
                #:add-node #:inject #:network-cut #:network-now #:network-sent #:new-network #:pass-time #:place-address
                #:place-network
                #:place-node)
  (:import-from #:hydramesh/tests/suite)
  (:shadowing-import-from #:hydramesh/tests/domain/network #:restart)
  (:documentation "A host and players over bad links: what they see, and what those can do who do not keep to
the rules."))
(in-package #:hydramesh/tests/game/playing)

(fiveam:def-suite playing-games :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite playing-games)

(defparameter +speed+ 5 "Units a second.")

(defvar *told* nil "What handlers tell, (who what …), the newest first.")
(defvar *truth* nil "The state at the host by tick and player.")

(defun tell (&rest what)
  (push (cons (if (typep *service* 'guest) (me) :host) what) *told*))

(defun told (who what)
  "Return what WHO told of WHAT, the oldest first."
  (loop for (of kind . more) in (reverse *told*)
        when (and (eql of who) (eq kind what)) collect more))

(defparameter +games+
  (let ((*definitions* '()))
    (defgame arena
      (:players 2 4)
      (:state (x (real -100 100 0.01)) (vx (real -10 10 0.01)) (hits (whole 0 255)) (title (text 8)))
      (:input (dx (whole -1 1)) (fire truth) (mark (whole 0 1000)))
      (:reckon (x vx))
      (:channel chat :reliable (text (text 100)))
      (:channel hit :reliable (number (whole 0 10000)))
      (:channel wave :unreliable (number (whole 0 10000)))
      (:host begin () (tell :begin))
      (:host join (player) (tell :join player))
      (:host leave (player) (tell :leave player))
      (:host input (player input)
        (setf (player-field player 'vx) (* +speed+ (input-field input 'dx)))
        (when (plusp (input-field input 'mark))
          (tell :mark player (input-field input 'mark)))
        (when (input-field input 'fire)
          (incf (player-field player 'hits))))
      (:host tick (tick)
        (dolist (player (players))
          (incf (player-field player 'x) (/ (player-field player 'vx) 60))
          (setf (gethash (cons tick player) *truth*) (player-field player 'x))))
      (:host chat (player text) (tell :chat player text) (emit-as player 'chat text))
      (:host hit (player number) (tell :hit player number) (emit-as player 'hit number))
      (:host wave (player number) (tell :wave player number) (emit-as player 'wave number))
      (:host position (peer x y z) (tell :position peer x y z))
      (:host game-event (peer kind text) (tell :game-event peer kind text))
      (:player welcome () (tell :welcome))
      (:player begin () (tell :begin))
      (:player join (player) (tell :join player))
      (:player leave (player) (tell :leave player))
      (:player refused (reason) (tell :refused reason))
      (:player lost () (tell :lost))
      (:player chat (player text) (tell :chat player text))
      (:player hit (player number) (tell :hit player number))
      (:player wave (player number) (tell :wave player number)))
    (defgame lobby
      (:players 2) (:ready :when-told)
      (:state (x truth)))
    *definitions*))

(defparameter +arena+ (third (find "arena" +games+ :key #'second :test #'string=)))
(defparameter +lobby+ (third (find "lobby" +games+ :key #'second :test #'string=)))

(defmacro as ((running place) &body body)
  "Do BODY as a handler of RUNNING at PLACE does."
  `(let ((*service* ,running) (*node* (place-node ,place)))
     ,@body))

(defmacro with-game-on ((network host-place host (&rest guests) &rest options) &body body)
  "Do BODY with a NETWORK, made with OPTIONS, on which HOST runs the arena at HOST-PLACE; GUESTS are (place
guest)."
  `(let* ((*told* '()) (*truth* (make-hash-table :test 'equal))
          (,network (new-network ,@options))
          (,host-place (add-node ,network))
          (,host (node-add (place-node ,host-place) +arena+))
          ,@(loop for (place guest) in guests
                  append `((,place (add-node ,network :peers (list (place-address ,host-place))))
                           (,guest (node-add (place-node ,place) +arena+)))))
     (declare (ignorable ,host ,@(loop for (place guest) in guests append (list place guest))))
     ,@body))

;;; What players see

(defun truth-at (tick player)
  "Return where PLAYER was at TICK, a rational number, by the host."
  (multiple-value-bind (before share) (floor tick)
    (let ((one (gethash (cons before player) *truth*)) (other (gethash (cons (1+ before) player) *truth*)))
      (and one other (+ one (* share (- other one)))))))

(test positions-are-kept-within-the-stated-error-over-a-bad-link
  (with-game-on (network place host ((one-place one) (other-place other))
                         :seed 4 :loss 0.05d0 :delay 30000 :jitter 10000 :duplicates 0.02d0)
    (let ((errors '()) (lags '()) (random (sb-ext:seed-random-state 8)))
      (pass-time network 2)
      (dotimes (round 200)
        (when (zerop (mod round 5))
          (as (one one-place) (set-input 'dx (- (random 3 random) 1)))
          (as (other other-place) (set-input 'dx (- (random 3 random) 1))))
        (pass-time network 0.1d0)
        (loop for (at guest) in (list (list one-place one) (list other-place other))
              do (as (guest at)
                   (let ((tick (game-tick)))
                     (push (- (as (host place) (game-tick)) tick) lags)
                     (dolist (player '(0 1))
                       (let ((seen (player-field player 'x)) (truth (truth-at tick player)))
                         (when truth
                           (push (abs (- seen truth)) errors))))))))
      (is (> (length errors) 700))
      ;; Where a snapshot is lost, a turn within a tenth of a second is seen as the straight line.
      (is (< (reduce #'max errors) (* +speed+ 0.1)))
      (is (< (/ (reduce #'+ errors) (length errors)) 0.03))
      ;; The view is late by the way, the interpolation, and no more than the jitter beside.
      (is (<= (/ 120 1000) (/ (reduce #'min lags) 60)))
      (is (<= (/ (reduce #'max lags) 60) (/ 200 1000))))))

(test a-player-reckons-on-while-nothing-comes
  (with-game-on (network place host ((one-place one) (other-place other)) :delay 10000)
    (pass-time network 1)
    (as (one one-place) (set-input 'dx 1))
    (pass-time network 2)
    (setf (network-cut network) (list (list (place-address place) (place-address other-place))))
    (let ((before (as (other other-place) (player-field 0 'x))))
      (pass-time network 0.25d0)
      (let ((later (as (other other-place) (player-field 0 'x))))
        (is (< (abs (- (- later before) (* +speed+ 0.25))) 0.1)))
      (pass-time network 1.5d0)
      (let ((much-later (as (other other-place) (player-field 0 'x))))
        (is (< (- much-later before) (* +speed+ 0.5)) "it does not reckon for ever")))))

(test inputs-count-once-and-in-their-tick-over-a-bad-link
  (with-game-on (network place host ((one-place one) (other-place other))
                         :seed 5 :loss 0.05d0 :delay 30000 :jitter 10000 :duplicates 0.05d0)
    (pass-time network 2)
    (loop for mark from 1 to 200
          do (as (one one-place) (set-input 'mark mark))
             (pass-time network 1/60))
    (as (one one-place) (set-input 'mark 0))
    (pass-time network 1)
    ;; One that is late has the one before it taken again.
    (let ((marks (loop with last = nil
                       for (nil mark) in (told :host :mark)
                       unless (eql mark last) collect (setf last mark))))
      (is (equal (loop for mark from 1 to 200 collect mark) marks)))))

(test no-event-is-lost-doubled-or-out-of-order-over-a-bad-link
  (with-game-on (network place host ((one-place one) (other-place other))
                         :seed 6 :loss 0.05d0 :delay 30000 :jitter 10000 :duplicates 0.05d0)
    (pass-time network 2)
    (dotimes (number 200)
      (as (one one-place) (is-true (emit 'hit number)))
      (when (zerop (mod number 7))
        (as (other other-place) (emit 'chat (format nil "Grüße ~D" number))))
      (as (one one-place) (emit 'wave number))
      (pass-time network 0.04d0))
    (pass-time network 20)
    (let ((numbers (loop for number below 200 collect (list 0 number)))
          (texts (loop for number from 0 below 200 by 7 collect (list 1 (format nil "Grüße ~D" number)))))
      (dolist (who '(:host 0 1))
        (is (equal numbers (told who :hit)))
        (is (equal texts (told who :chat)))
        (let ((waves (mapcar #'second (told who :wave))))
          (is (> (length waves) 150))
          (is (apply #'< waves) "what passes is newest or not told"))))))

(test players-come-and-go-and-the-game-begins-when-enough-are-there
  (with-game-on (network place host ((one-place one)) :delay 5000)
    (pass-time network 2)
    (is (equal '((0)) (told :host :join)))
    (is (eq :lobby (as (host place) (game-phase))))
    (is (equal '(()) (told 0 :welcome)))
    (let* ((other-place (add-node network :peers (list (place-address place))))
           (other (node-add (place-node other-place) +arena+)))
      (pass-time network 1)
      (is (eq :playing (as (other other-place) (game-phase))))
      (is (equal '(0 1) (as (one one-place) (players))))
      (is (string= "player" (as (one one-place) (player-name 1))))
      (is (equal '(()) (told 1 :begin)))
      (as (other other-place) (leave-game))
      (pass-time network 1)
      (is (equal '((1)) (told :host :leave)))
      (is (equal '((1)) (told 0 :leave)))
      (is (eq :left (as (other other-place) (game-phase)))))))

(test a-game-that-waits-for-players-waits-until-they-are-ready
  (let* ((*told* '()) (network (new-network)) (place (add-node network))
         (host (node-add (place-node place) +lobby+))
         (guests (loop repeat 2
                       collect (let ((at (add-node network :peers (list (place-address place)))))
                                 (cons at (node-add (place-node at) +lobby+))))))
    (pass-time network 1)
    (is (eq :lobby (as (host place) (game-phase))))
    (destructuring-bind ((at . guest) (other-at . other)) guests
      (as (guest at) (ready))
      (pass-time network 1)
      (let ((number (as (guest at) (me))))
        (is-true (as (other other-at) (player-ready-p number)))
        (is-false (as (host place) (player-ready-p (- 1 number)))))
      (is (eq :lobby (as (host place) (game-phase))))
      (as (other other-at) (ready)))
    (pass-time network 1)
    (is (eq :playing (as (host place) (game-phase))))))

(test a-player-that-is-silent-leaves-and-one-whose-host-restarts-joins-again
  (with-game-on (network place host ((one-place one) (other-place other)) :delay 5000)
    (pass-time network 1)
    (let ((cut (list (list (place-address other-place) (place-address place))
                     (list (place-address place) (place-address other-place)))))
      (setf (network-cut network) cut)
      (pass-time network 25)
      (is (equal '((1)) (told :host :leave)))
      (is (plusp (length (told nil :lost))) "a player that is not in has no number")
      (setf (network-cut network) '())
      (pass-time network 5)
      (is (equal '(0 1) (as (host place) (players))))
      (is (eq :playing (as (other other-place) (game-phase)))))
    (restart place)
    (let ((again (node-add (place-node place) +arena+)))
      (pass-time network 20)
      (is (equal '(0 1) (as (again place) (players))))
      (is (eq :playing (as (one one-place) (game-phase)))))))

;;; Who does not keep to the rules

(defparameter +id+ (game-id +arena+))
(defparameter +stranger+ 99999)

(defun channel-named (name)
  (find name (game-channels +arena+) :key #'hydramesh/game/definition:channel-name :test #'string=))

(defun counted (place name)
  (or (cdr (assoc name (node-counters (place-node place)) :test #'string=)) 0))

(defun as-reliable (channel number body)
  (packed (:u8 channel) (:u8 0) (:u64 1) (:u32 number) (:octets body)))

(test who-is-no-player-changes-nothing
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 1)
    (let ((before (length *told*)))
      (inject place +stranger+ +state-sync+
              (write-inputs +id+ 5 (list '((dx . 1) (fire . t) (mark . 0))) (game-input +arena+)))
      (inject place +stranger+ +state-sync+ (write-event +id+ (channel-named 'wave) 0 '(7)))
      (inject place +stranger+ +reliable+
              (as-reliable #x11 0 (write-event +id+ (channel-named 'chat) 0 '("I am 0"))))
      (inject place +stranger+ +reliable+ (as-reliable #x10 0 (hydramesh/game/messages:write-leave +id+)))
      (pass-time network 1)
      (is (= before (length *told*)))
      (is (= 4 (counted place "from no player")))
      (is (equal '(0 1) (as (host place) (players)))))))

(test a-player-speaks-only-for-itself
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 1)
    (inject place (place-address other-place) +state-sync+ (write-event +id+ (channel-named 'wave) 0 '(7)))
    (pass-time network 1)
    (is (equal '((1 7)) (told :host :wave)) "whoever it says it is")))

(test players-believe-only-their-host
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 2)
    (let ((before (as (one one-place) (player-field 1 'x))))
      (inject one-place (place-address other-place) +state-sync+
              (write-snapshot +id+ 100000 0 '((1 (x . 50) (vx . 0) (hits . 0) (title . ""))) 
                              (hydramesh/game/definition:game-state +arena+)))
      (inject one-place (place-address other-place) +reliable+
              (as-reliable #x10 0 (write-lobby +id+ nil '())))
      (pass-time network 1)
      (is (= before (as (one one-place) (player-field 1 'x))))
      (is (equal '(0 1) (as (one one-place) (players)))))))

(test positions-out-of-range-cannot-be-said-or-set
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 1)
    (as (one one-place) (set-input 'dx 1))
    (pass-time network 60)
    (is (= 100 (as (host place) (player-field 0 'x))) "the range ends there")
    (is (<= 99 (as (other other-place) (player-field 0 'x)) 100))
    ;; An input that no honest player can write.
    (let ((before (counted place "strikes")))
      (inject place (place-address one-place) +state-sync+
              (packed (:u8 2) (:u32 +id+) (:u32 9) (:u8 1) (:u16 #b1100000000000000)))
      (is (= (1+ before) (counted place "strikes"))))))

(test an-input-far-ahead-or-too-fast-gains-nothing
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 1)
    (flet ((inputs (tick)
             (write-inputs +id+ tick
                           (loop repeat +inputs-sent+ collect '((dx . 0) (fire . t) (mark . 0)))
                           (game-input +arena+))))
      (inject place (place-address one-place) +state-sync+ (inputs #xfffffff0))
      (is (= 1 (counted place "strikes")))
      ;; Ten times as many inputs as ticks: no more of them count than there are ticks.
      (let ((tick 60))
        (dotimes (round 60)
          (dotimes (more 10)
            (inject place (place-address one-place) +state-sync+ (inputs (incf tick))))
          (pass-time network 1/60)))
      (is (<= (as (host place) (player-field 0 'hits)) 75)))))

(test a-flood-of-events-is-bounded-and-who-goes-on-is-banned
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 1)
    (dotimes (number 80)
      (inject place (place-address one-place) +state-sync+
              (write-event +id+ (channel-named 'wave) 0 (list number))))
    (is (= hydramesh/game/limits:+events+ (length (told :host :wave))))
    (dotimes (number +strikes+)
      (inject place (place-address one-place) +state-sync+
              (write-event +id+ (channel-named 'wave) 0 (list number))))
    (pass-time network 2)
    (is (equal '((0)) (told :host :leave)))
    (is (eq :refused (as (one one-place) (game-phase))))
    (inject place (place-address one-place) +reliable+
            (as-reliable #x10 77 (write-join +id+ (game-shape +arena+) "again")))
    (pass-time network 1)
    (is (equal '(1) (as (host place) (players))) "for a while")))

(test who-was-refused-as-the-host-stopped-plays-again-when-it-is-back
  (with-game-on (network place host ((one-place one)))
    (pass-time network 1)
    (node-stop (place-node place))
    (pass-time network 2)
    (is (eq :refused (as (one one-place) (game-phase))))
    (restart place)
    (node-add (place-node place) +arena+)
    (pass-time network 60)
    (is (eq :lobby (as (one one-place) (game-phase))))
    (is (= 1 (length (told nil :refused))))))

(test names-are-cut-and-cleaned-and-a-full-game-says-so
  (with-game-on (network place host ())
    (flet ((join (address name)
             (inject place address +reliable+
                     (as-reliable #x10 0 (write-join +id+ (game-shape +arena+) name)))))
      (join 1 (make-string 33 :initial-element #\x))
      (is (null (as (host place) (players))) "a name that is too long is none")
      (join 2 (coerce '(#\a #\Newline #\Esc #\[) 'string))
      (is (not (find #\Newline (as (host place) (player-name 0)))))
      (is (not (find #\Esc (as (host place) (player-name 0)))))
      (join 3 "")
      (is (string= "player 1" (as (host place) (player-name 1))))
      (loop for address from 4 to 40 do (join address "x"))
      (is (= 4 (length (as (host place) (players)))))
      (is (plusp (counted place "joins refused")) "and not all of them are answered"))))

;; It is of Unicode's tags, which nobody can see and each of which is ten characters where it is shown.
(defparameter +unseen-name+ (make-string 32 :initial-element (code-char #xe0001)))

(test no-name-keeps-others-from-knowing-who-is-there
  (with-game-on (network place host ((one-place one)))
    (pass-time network 1)
    (inject place +stranger+ +reliable+ (as-reliable #x10 0 (write-join +id+ (game-shape +arena+) +unseen-name+)))
    (pass-time network 1)
    (is (equal '(0 1) (as (one one-place) (players))))
    (is (equal '(()) (told 0 :begin)))))

(test a-lobby-of-the-longest-names-fits-a-message
  (with-game-on (network place host ())
    (inject place 1 +reliable+
            (as-reliable #x10 0 (write-join +id+ (game-shape +arena+)
                                            (make-string 32 :initial-element (code-char #x1f600)))))
    (let ((name (as (host place) (player-name 0))))
      (is (plusp (length name)))
      (is (<= (length (write-lobby +id+ t (loop repeat 255 collect (list 0 t name)))) +reliable-bytes+)))))

(test who-waits-in-the-lobby-stays-in-it
  (with-game-on (network place host ((one-place one)))
    (pass-time network 60)
    (is (equal '((0)) (told :host :join)))
    (is (null (told :host :leave)))))

(test who-asks-to-join-again-and-again-keeps-nobody-out
  (with-game-on (network place host ((one-place one) (other-place other)))
    (loop for number from 0
          repeat 500
          for member = (evenp number)
          do (inject place (if member (place-address one-place) +stranger+) +reliable+
                     (as-reliable #x10 (+ 50 number) (write-join +id+ 12345 "x")))
             (when (zerop (mod number 100))
               (pass-time network 0.01d0)))
    (pass-time network 4)
    (is (member 1 (as (host place) (players))) "the other player is in")))

(test who-is-ready-and-not-ready-by-turns-fills-nobody-elses-queue
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 1)
    (let ((before (network-sent network)))
      (dotimes (number 1000)
        (inject place (place-address one-place) +reliable+
                (as-reliable #x10 (+ 50 number) (write-ready +id+ (oddp number)))))
      (is (< (- (network-sent network) before) 300)))
    (as (host place) (emit 'chat "all hear this"))
    (pass-time network 1)
    (is (equal '((nil "all hear this")) (told 1 :chat)))))

(test another-version-of-the-game-is-told-so
  (with-game-on (network place host ())
    (let ((*definitions* '()) (other-place (add-node network :peers (list (place-address place)))))
      (eval '(defgame arena (:players 2) (:state (y truth))
              (:player refused (reason) (tell :refused reason))))
      (node-add (place-node other-place) (third (first *definitions*)))
      (pass-time network 2)
      (is (equal '(("this is another version of the game")) (told nil :refused))))))

(test any-octets-end-nothing
  (with-game-on (network place host ((one-place one) (other-place other)))
    (pass-time network 1)
    (let ((random (sb-ext:seed-random-state 9)) (*error-output* (make-broadcast-stream)))
      (dotimes (round 3000)
        (let* ((size (random 40 random))
               (noise (make-array size :element-type '(unsigned-byte 8)))
               (head (packed (:u8 (random 24 random)) (:u32 +id+)
                             (:octets (map-into noise (lambda () (random 256 random)))))))
          (dolist (at (list place one-place))
            (inject at (if (eq at place) +stranger+ (place-address place)) (+ 1 (random 4 random)) head)
            (inject at (+ 500 (random 50 random)) +reliable+
                    (as-reliable (+ #x10 (random 5 random)) 0 head)))))
      (pass-time network 1)
      (is (equal '(0 1) (as (host place) (players))))
      (is (zerop (counted place "faults")))
      (is (zerop (counted one-place "faults"))))))

(test dcf-nodes-are-heard-by-the-host
  (with-game-on (network place host ())
    (inject place +stranger+ +position+ (write-position 1.5 -2 3))
    (inject place +stranger+ +game-event+ (write-game-event 4 "goal"))
    (inject place +stranger+ +audio+ (write-position 1 2 3))
    (inject place +stranger+ +position+ (write-game-event 4 "goal"))
    (is (equal `((,+stranger+ 1.5 -2.0 3.0)) (told :host :position)))
    (is (equal `((,+stranger+ 4 "goal")) (told :host :game-event)))
    (is (= 1 (counted place "malformed")))
    (is (= 1 (counted place "unclaimed")))))
