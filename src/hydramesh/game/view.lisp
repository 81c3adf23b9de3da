(defpackage #:hydramesh/game/view
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds #:seconds)
  (:import-from #:hydramesh/game/definition
                #:game #:game-interpolation #:game-reckoned #:game-state #:game-tick-rate)
  (:import-from #:hydramesh/game/fields #:between #:field-name #:fitted)
  (:import-from #:hydramesh/game/limits #:+reckoned+ #:+snapshots+)
  (:export #:view #:make-view #:view-add #:view-time #:view-values #:view-players #:view-newest)
  (:documentation "What a player sees of the state: snapshots come in any order, late, or not at all, and the
view moves evenly all the same.

It shows the host's time of a while ago, between the snapshots before and after it; where none after it has
come yet, it reckons on from the last. How the host's clock goes is told by the snapshots that were
fastest."))
(in-package #:hydramesh/game/view)

(defparameter +window+ (seconds 3) "Of the snapshots within so long the fastest tells the host's time.")

(defstruct (view (:constructor make-view (game)))
  "SNAPSHOTS are (time . players), of the host's time in microseconds, the newest first; SAMPLES are (now .
difference) of the clock here to the host's, the newest first."
  (game nil :type game)
  (snapshots '() :type list)
  (samples '() :type list))

(defun time-of (view tick)
  (round (* tick 1000000) (game-tick-rate (view-game view))))

(defun view-add (view tick players now)
  "Add the state of TICK, PLAYERS as READ-SNAPSHOT returns them, which has come NOW; return whether it is the
newest."
  (let* ((time (time-of view tick)) (snapshots (view-snapshots view)) (newest (first (first snapshots))))
    (push (cons now (- now time)) (view-samples view))
    (setf (view-samples view)
          (loop for sample in (view-samples view)
                repeat 256
                while (<= (- now (car sample)) +window+)
                collect sample))
    (unless (assoc time snapshots)
      (setf (view-snapshots view)
            (let ((all (merge 'list (list (cons time players)) snapshots #'> :key #'car)))
              (subseq all 0 (min (length all) +snapshots+)))))
    (or (null newest) (> time newest))))

(defun view-time (view now)
  "Return the host's time that is shown NOW, in microseconds; NIL if nothing is known of it."
  (let ((samples (view-samples view)))
    (and samples
         (- now (reduce #'min samples :key #'cdr)
            (round (* 1000000 (game-interpolation (view-game view))))))))

(defun around (view time)
  "Return the snapshots before and after TIME, either of which may be NIL."
  (loop with after = nil
        for snapshot in (view-snapshots view)
        do (if (<= (car snapshot) time)
               (return (values snapshot after))
               (setf after snapshot))
        finally (return (values nil after))))

(defun view-newest (view)
  "Return the newest state, an alist of players and values."
  (rest (first (view-snapshots view))))

(defun view-players (view)
  "Return the players that the newest state has."
  (mapcar #'first (view-newest view)))

(defun reckoned (view values field span)
  "Return what FIELD of VALUES will be SPAN microseconds later."
  (let* ((name (field-name field)) (value (cdr (assoc name values)))
         (rate (cdr (assoc name (game-reckoned (view-game view))))))
    (if rate
        (fitted field (+ value (* (cdr (assoc rate values)) (/ (min span (* 1000 +reckoned+)) 1d6))))
        value)))

(defun view-values (view player name now)
  "Return what the field NAME of PLAYER is seen as NOW, NIL if that is not known."
  (let ((time (view-time view now)) (field (find name (game-state (view-game view)) :key #'field-name)))
    (unless field
      (error "the state has no field ~(~A~)" name))
    (when time
      (multiple-value-bind (before after) (around view time)
        (let ((one (cdr (assoc player (rest before)))) (other (cdr (assoc player (rest after)))))
          (flet ((value (values) (cdr (assoc name values))))
            (cond ((and one other)
                   (between field (value one) (value other)
                            (/ (coerce (- time (car before)) 'double-float) (- (car after) (car before)))))
                  (one (reckoned view one field (- time (car before))))
                  (other (value other)))))))))
