(defpackage #:hydramesh/head/turns
  (:use #:cl)
  (:import-from #:hydramesh/head/shares #:share #:share-served)
  (:export #:turns #:make-turns #:turns-empty-p #:turns-put #:turns-drop #:turns-next #:turns-standings
           #:standing #:standing-share #:standing-member)
  (:documentation "What each of several shares has waiting; the one that was served least is next.

A share is only ever served more, so what the heap knows of it is too low when it is out of date, and
is put right when it comes to the top."))
(in-package #:hydramesh/head/turns)

(defconstant +stale+ 64)

(defstruct (standing (:copier nil))
  "What SHARE has waiting: its MEMBER, NIL once it has left. SERVED is what the heap goes by; of
those served alike, the least NUMBER is first."
  (share nil :type share :read-only t)
  (member nil)
  (number 0 :type fixnum :read-only t)
  (served 0d0 :type double-float))

(defstruct (turns (:copier nil))
  "A heap: the first COUNT of STANDINGS, of which MEMBERS have not left."
  (heap (make-array 4 :initial-element nil) :type simple-vector)
  (count 0 :type fixnum)
  (members 0 :type fixnum))

(defun turns-empty-p (turns)
  "Return whether nobody has anything waiting."
  (zerop (turns-members turns)))

(defun turns-standings (turns)
  "Return a list of all standings, in no order."
  (loop for place below (turns-count turns)
        for standing = (svref (turns-heap turns) place)
        when (standing-member standing) collect standing))

(declaim (inline before-p))
(defun before-p (one other)
  (declare (type standing one other))
  (or (< (standing-served one) (standing-served other))
      (and (= (standing-served one) (standing-served other))
           (< (standing-number one) (standing-number other)))))

(defun rise (heap place standing)
  "Put STANDING where it belongs on the way from PLACE, which is free, to the top."
  (declare (type simple-vector heap) (type fixnum place))
  (loop while (plusp place)
        do (let ((above (ash (1- place) -1)))
             (unless (before-p standing (svref heap above))
               (return))
             (setf (svref heap place) (svref heap above)
                   place above)))
  (setf (svref heap place) standing))

(defun sink (heap count place standing)
  "Put STANDING where it belongs on the way down from PLACE, which is free."
  (declare (type simple-vector heap) (type fixnum count place))
  (loop for below of-type fixnum = (1+ (* 2 place))
        while (< below count)
        do (when (and (< (1+ below) count)
                      (before-p (svref heap (1+ below)) (svref heap below)))
             (incf below))
           (unless (before-p (svref heap below) standing)
             (return))
           (setf (svref heap place) (svref heap below)
                 place below))
  (setf (svref heap place) standing))

(defun turns-put (turns share member number)
  "Let SHARE, which has MEMBER waiting, take turns; return its standing."
  (let ((standing (make-standing :share share :member member :number number
                                 :served (share-served share))))
    (incf (turns-members turns))
    (when (>= (turns-count turns) (+ (* 2 (turns-members turns)) +stale+))
      (clean turns))
    (let ((place (turns-count turns)))
      (when (= place (length (turns-heap turns)))
        (setf (turns-heap turns)
              (replace (make-array (* 2 place) :initial-element nil) (turns-heap turns))))
      (setf (turns-count turns) (1+ place))
      (rise (turns-heap turns) place standing))
    standing))

(defun turns-drop (turns standing)
  "Let the share of STANDING, which has nothing left, take no more turns."
  (setf (standing-member standing) nil)
  (decf (turns-members turns)))

(defun clean (turns)
  "Forget those that have left."
  (let ((heap (turns-heap turns))
        (kept (turns-standings turns)))
    (fill heap nil)
    (setf (turns-count turns) 0)
    (dolist (standing kept)
      (setf (standing-served standing) (share-served (standing-share standing)))
      (rise heap (turns-count turns) standing)
      (incf (turns-count turns)))))

(defun turns-next (turns)
  "Return the standing whose turn it is; its SERVED is up to date. Somebody must have something."
  (let ((heap (turns-heap turns)))
    (loop
      (let* ((standing (svref heap 0))
             (served (share-served (standing-share standing))))
        (declare (type standing standing))
        (cond ((null (standing-member standing))
               (let ((count (decf (turns-count turns))))
                 (sink heap count 0 (svref heap count))
                 (setf (svref heap count) nil)))
              ((/= (standing-served standing) served)
               (setf (standing-served standing) served)
               (sink heap (turns-count turns) 0 standing))
              (t
               (return standing)))))))
