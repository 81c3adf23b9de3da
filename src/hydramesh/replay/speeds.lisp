(defpackage #:hydramesh/replay/speeds
  (:use #:cl)
  (:import-from #:hydramesh/replay/service
                #:cached-share #:done-p #:make-profile #:predicted #:profile-spread #:to-make #:to-read)
  (:import-from #:hydramesh/storage/traffic
                #:passage-cold-p #:passage-first #:passage-moved #:passage-queued #:passage-ran
                #:passage-streamed-p)
  (:export #:timed-p #:read-time #:line #:profile-of #:times-as-long)
  (:documentation "How fast a worker reads and answers, told by the tasks that it had."))
(in-package #:hydramesh/replay/speeds)

(defconstant +enough+ 20 "Points through which a line is drawn.")
(defconstant +few+ 3 "Tasks from which it is told how long reading takes, and how long answering.")
(defconstant +spread+ 0.01d0 "Of the variance of what is on their one axis: with less no line is drawn.")

(defun timed-p (passage)
  "Return whether its worker has run all of PASSAGE, and nothing but that."
  (and (done-p passage)
       (plusp (passage-ran passage))
       (zerop (passage-moved passage))
       (not (passage-cold-p passage))))

(defun read-time (passage)
  "Return the microseconds until the first part of PASSAGE came from its worker; NIL if that is not known."
  (and (passage-streamed-p passage)
       (plusp (passage-first passage))
       (zerop (passage-moved passage))
       (min (passage-ran passage) (max 0 (- (passage-first passage) (passage-queued passage))))))

(defun line (points)
  "Return where the line through POINTS, conses of x and y, begins, and how steep it is, by least squares;
NIL if too few are known, or they are too close to each other."
  (let* ((count (length points))
         (x (/ (reduce #'+ points :key #'car) (max 1 count)))
         (y (/ (reduce #'+ points :key #'cdr) (max 1 count)))
         (variance (loop for (one) in points sum (expt (- one x) 2)))
         (shared (loop for (one . other) in points sum (* (- one x) (- other y)))))
    (if (or (< count +enough+) (< variance (* count +spread+)))
        nil
        (let ((each (/ shared variance)))
          (values (- y (* each x)) each)))))

(defun times-as-long (passage profile &optional (stretch 1d0))
  "Return how many times as long as by PROFILE the worker of PASSAGE took for it, but for STRETCH."
  (multiple-value-bind (read make) (predicted profile passage (cached-share passage))
    (/ (passage-ran passage) (* stretch (max 1d0 (+ read make))))))

(defun profile-of (passages stretched)
  "Return the PROFILE that PASSAGES of one model tell; each took STRETCHED of it times as long as alone."
  (let ((profile (or (in-parts (remove-if-not #'read-time passages) stretched)
                     (in-one passages stretched))))
    (setf (profile-spread profile)
          (map 'vector
               (lambda (passage) (times-as-long passage profile (funcall stretched passage)))
               passages))
    profile))

(defun in-one (passages stretched)
  "Return a profile of PASSAGES of which it is not known when they were read: as if that took as long for a
unit."
  (let ((each (/ (loop for passage in passages sum (/ (passage-ran passage) (funcall stretched passage)))
                 (loop for passage in passages
                       sum (+ (to-read passage (cached-share passage)) (to-make passage))))))
    (make-profile :read each :make each)))

(defun in-parts (passages stretched)
  "Return a profile of PASSAGES, which were answered in parts, of which the first has one unit; NIL if they
are too few, or there was but one part."
  (let ((further (loop for passage in passages sum (1- (to-make passage)))))
    (when (and (>= (length passages) +few+) (plusp further))
      (multiple-value-bind (base read)
          (reading (loop for passage in passages
                         collect (cons (to-read passage (cached-share passage))
                                       (/ (read-time passage) (funcall stretched passage)))))
        (make-profile :base (float base 1d0)
                      :read (float read 1d0)
                      :make (/ (loop for passage in passages
                                     sum (/ (- (passage-ran passage) (read-time passage))
                                            (funcall stretched passage)))
                               further)
                      :ahead 1)))))

(defun reading (points)
  "Return at the least how long reading takes, and how long for each unit, from POINTS, conses of units and
times."
  (multiple-value-bind (base each) (line points)
    (let ((x (reduce #'+ points :key #'car)) (y (reduce #'+ points :key #'cdr)))
      (cond ((and base (plusp base) (plusp each)) (values base each))
            ((and (plusp x) (or (null base) (plusp each))) (values 0d0 (/ y x)))
            (t (values (/ y (length points)) 0d0))))))

