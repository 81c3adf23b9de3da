(defpackage #:hydramesh/tests/game/defining
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:is-true #:signals)
  (:import-from #:hydramesh/domain/definitions #:bad-definition)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/game #:defgame)
  (:import-from #:hydramesh/game/bits
                #:bits-done #:bits-written #:make-bit-reader #:make-bit-writer #:read-bits #:write-bits)
  (:import-from #:hydramesh/game/fields #:field-most-bits #:fields-in #:fitted #:read-field #:write-field)
  (:import-from #:hydramesh/game/lateness #:lateness-figures #:make-lateness #:note-lateness)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "What a game may be, what is said of one that is none, and how its fields are packed."))
(in-package #:hydramesh/tests/game/defining)

(fiveam:def-suite defining-games :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite defining-games)

(defun said (form)
  "Return what is said of FORM when it is expanded, NIL if nothing is wrong."
  (handler-case (progn (macroexpand-1 form) nil)
    (bad-definition (condition) (princ-to-string condition))))

(test a-game-may-say-what-it-is
  (is (null (said '(defgame pong "Two bats and a ball." (:players 2) (:state (x truth)))))))

(defparameter +mistakes+
  '(((defgame "pong" (:players 2)) "defgame \"pong\": \"pong\" is not a name")
    ((defgame pong) "defgame pong, :players: it is missing; write (:players 8)")
    ((defgame pong (:players 0)) ":players: 0 is not valid; write a whole number from 1 to 255")
    ((defgame pong (:players 4 2)) ":players: 4 is not valid; write a whole number from 1 to 2")
    ((defgame pong (:players 2) (:players 3)) ":players: it is written twice; leave one")
    ((defgame pong (:playrs 2)) ":playrs is not known; did you mean :players?")
    ((defgame pong (:players 2) :state) ":state is not a clause; write (:tick-rate …)")
    ((defgame pong (:players 2)) ":state: it is missing; write (:state (x (real -100 100 0.01)) …)")
    ((defgame pong (:players 2) (:state x)) ":state: x is no field; write (name type)")
    ((defgame pong (:players 2) (:state (x rael))) "x: rael is not known; did you mean real?")
    ((defgame pong (:players 2) (:state (x (real 1 0 0.1)))) "x: its low end 1 is not below its high end 0")
    ((defgame pong (:players 2) (:state (x (real 0 1 2)))) "x: the step 2 is not between 0 and its range")
    ((defgame pong (:players 2) (:state (x (real 0 1e9 1e-9)))) "x: it takes 60 bits")
    ((defgame pong (:players 2) (:state (x (real 0 ten 1)))) "x: ten is no number; write one")
    ((defgame pong (:players 2) (:state (x (whole 0 9)) (x truth))) ":state: the field x is there twice")
    ((defgame pong (:players 2) (:state (x (whole 0 9) :initial "a"))) "x: \"a\" is not valid as :initial")
    ((defgame pong (:players 255) (:state (x (text 32)))) ":state: the state of 255 players takes")
    ((defgame pong (:players 2) (:state (x truth)) (:tick-rate 1000))
     ":tick-rate: 1000 is not valid; write a whole number from 1 to 240")
    ((defgame pong (:players 2) (:state (x truth)) (:snapshot-rate 90))
     ":snapshot-rate: 90 is not valid; write a whole number from 1 to 60")
    ((defgame pong (:players 2) (:state (x truth)) (:reckon (x y))) ":reckon: x is no real")
    ((defgame pong (:players 2) (:state (x (real 0 1 1/2))) (:reckon (x vx)))
     ":reckon: vx is not known; did you mean x?")
    ((defgame pong (:players 2) (:state (x truth)) (:channel tick :reliable))
     ":channel: there is another event called tick")
    ((defgame pong (:players 2) (:state (x truth)) (:channel chat :relible))
     ":channel: :relible is not known; did you mean :reliable?")
    ((defgame pong (:players 2) (:state (x truth)) (:host tock (n) n))
     ":host: tock is not known; did you mean tick?")
    ((defgame pong (:players 2) (:state (x truth)) (:host tick () 1))
     ":host: tick gets tick, and nil names 0; write (tick)")
    ((defgame pong (:players 2) (:state (x truth)) (:host tick (&rest n) n))
     "is no list of names; write (tick (tick) …)")
    ((defgame pong (:players 2) (:state (x truth)) (:host tick (n) n) (:host tick (n) n))
     ":host: there are two handlers of :tick")
    ((defgame pong (:players 2) (:state (x truth)) (:name "")) ":name: \"\" is no name of a player"))
  "Definitions that are none, and part of what is said of each.")

(test a-mistake-is-told-when-it-is-compiled-with-what-would-be-right
  (loop for (form part) in +mistakes+
        for said = (said form)
        do (is (and said (search part said)) "~S: ~A" form said)))

(test what-is-no-list-is-told-too
  (dolist (form '((defgame pong . 3) (defgame pong (:players . 3)) (defgame pong (:players 2) (:state . x))
                  (defgame pong (:players 2) (:state (x . y))) (defgame nil (:players 2))
                  (defgame pong (:players 2) (:state (x truth)) (:host . tick))))
    (let ((said (handler-case (said form) (error () t))))
      (is-true said "~S" form))))

(test a-game-that-is-one-is-taken
  (is (null (said '(defgame pong
                    (:players 2 4)
                    (:tick-rate 30) (:snapshot-rate 15) (:interpolation 0.2) (:ready :when-told) (:name "Ann")
                    (:state (x (real -9 9 0.01) :initial 1) (vx (real -1 1 0.1)) (turn (angle 8))
                     (score (whole 0 99))
                     (alive truth :initial t) (team (text 8)) (target player))
                    (:input (dx (whole -1 1)))
                    (:reckon (x vx))
                    (:channel chat :reliable (text (text 200)))
                    (:channel wave :unreliable)
                    (:host chat (player text) (list player text))
                    (:host tick (tick) tick)
                    (:player wave (player) player))))))

;;; Fields

(defun a-field (type)
  (first (hydramesh/domain/definitions:with-definition ("defgame" 'test)
           (fields-in :state (list (list 'x type)) 100))))

(defun through (field value)
  "Return VALUE as it is after it was written and read, and how many octets that took."
  (let ((writer (make-bit-writer)))
    (write-field writer field (fitted field value))
    (let* ((octets (bits-written writer)) (reader (make-bit-reader octets)))
      (values (prog1 (read-field reader field) (bits-done reader))
              (length octets)))))

(test values-come-through-within-a-step
  (loop with field = (a-field '(real -100 100 0.01))
        for value from -100 to 100 by 7/13
        do (is (<= (abs (- value (through field value))) 0.0051)))
  (is (= 100 (through (a-field '(real -100 100 0.03)) 1e9)))
  (is (= -100 (through (a-field '(real -100 100 0.03)) -1d300)))
  (loop with field = (a-field '(whole -3 4))
        for value from -3 to 4
        do (is (= value (through field value))))
  (is (= 4 (through (a-field '(whole -3 4)) 99)))
  (dolist (text '("" "a" "Grüße ☂" "0123456789"))
    (is (string= text (through (a-field '(text 10)) text))))
  (is (string= "0123456789" (through (a-field '(text 10)) "0123456789abc")))
  (is (eq t (through (a-field 'truth) 7)))
  (is (null (through (a-field 'player) nil)))
  (is (= 254 (through (a-field 'player) 254)))
  (let ((field (a-field '(angle 10))))
    (is (< (abs (- 1 (through field 1))) 0.01))
    (is (< (abs (- 1 (through field (+ 1 (* 2 pi))))) 0.01))
    (is (zerop (through field (- (* 2 pi) 1e-6))))))

(test fields-take-as-many-bits-as-declared
  (is (= 15 (field-most-bits (a-field '(real -100 100 0.01)))))
  (is (= 2 (field-most-bits (a-field '(whole -1 1)))))
  (is (= 1 (field-most-bits (a-field 'truth))))
  (is (= 0 (field-most-bits (a-field '(whole 5 5))))))

(test what-no-value-is-written-as-is-malformed
  (flet ((octets (&rest octets) (coerce octets 'hydramesh/events:octets)))
    (signals malformed-payload (read-field (make-bit-reader (octets #b11000000)) (a-field '(whole -1 1))))
    (signals malformed-payload (read-field (make-bit-reader (octets 255 255)) (a-field '(real 0 9 1/10))))
    (signals malformed-payload (read-field (make-bit-reader (octets 255 255)) (a-field '(text 10))))
    (signals malformed-payload
      (read-field (make-bit-reader (octets #b00011111 #b11110000)) (a-field '(text 3))))
    (signals malformed-payload (read-field (make-bit-reader (octets)) (a-field 'truth)))
    (signals malformed-payload (bits-done (make-bit-reader (octets 0))))
    (signals malformed-payload (let ((reader (make-bit-reader (octets 1))))
                                 (read-bits reader 4)
                                 (bits-done reader)))))

(test what-is-no-value-is-an-error
  (signals type-error (fitted (a-field '(real 0 1 0.1)) "x"))
  (signals type-error (fitted (a-field '(whole 0 1)) 0.5))
  (signals type-error (fitted (a-field '(text 3)) nil))
  (signals type-error (fitted (a-field 'player) 255))
  (sb-int:with-float-traps-masked (:invalid :divide-by-zero)
    (signals type-error (fitted (a-field '(real 0 1 0.1)) (- sb-ext:double-float-positive-infinity
                                                             sb-ext:double-float-positive-infinity)))))

(test bits-of-any-count-come-through
  (let ((writer (make-bit-writer)) (state (sb-ext:seed-random-state 2)) (written '()))
    (dotimes (round 300)
      (let* ((count (random 33 state)) (number (random (ash 1 count) state)))
        (push (cons number count) written)
        (write-bits writer number count)))
    (let ((reader (make-bit-reader (bits-written writer))))
      (loop for (number . count) in (reverse written)
            do (is (= number (read-bits reader count))))
      (bits-done reader))))

(test lateness-is-told-to-a-fifth
  (let ((lateness (make-lateness)))
    (loop for late from 1 to 1000 do (note-lateness lateness late))
    (multiple-value-bind (count half most-of-them all) (lateness-figures lateness)
      (is (= 1000 count))
      (is (<= 500 half 600))
      (is (<= 990 most-of-them 1000))
      (is (= 1000 all)))))
