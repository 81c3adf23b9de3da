(defpackage #:hydramesh/audio/filters
  (:use #:cl)
  (:import-from #:hydramesh/audio/samples #:samples #:saturated)
  (:export #:filters #:make-filters #:apply-filters)
  (:documentation "What a speaker's sound goes through before it is sent: louder or softer, without what is too
low or too high, and not at all while it is quiet.

The coefficients are those of R. Bristow-Johnson's Audio EQ Cookbook, with Q = 1/√2."))
(in-package #:hydramesh/audio/filters)

(deftype wave () '(simple-array double-float (*)))

(defconstant +hold+ 300 "Milliseconds for which a gate stays open when it has become quiet.")

(defstruct (filters (:constructor %make-filters (list wave)))
  "The filters of one sound, functions that change a WAVE and return whether it is to be heard."
  (list '() :type list)
  (wave (make-array 0 :element-type 'double-float) :type wave))

(defun make-filters (wanted rate count)
  "Return what does to blocks of COUNT samples, RATE a second, what WANTED says: a list of (:GAIN decibels),
(:HIGH-PASS hertz), (:LOW-PASS hertz) and (:GATE decibels of the greatest possible), in their order."
  (%make-filters (loop for (kind value) in wanted
                       collect (ecase kind
                                 (:gain (gain value))
                                 (:high-pass (second-order (high-pass value rate)))
                                 (:low-pass (second-order (low-pass value rate)))
                                 (:gate (gate value (ceiling (* +hold+ rate) (* 1000 count))))))
                 (make-array count :element-type 'double-float)))

(defun apply-filters (filters samples)
  "Change SAMPLES, a block, as FILTERS do. Return whether they are to be heard."
  (declare (type samples samples) (optimize speed))
  (let ((list (filters-list filters)) (wave (filters-wave filters)) (heard t))
    (when list
      (dotimes (at (length samples))
        (setf (aref wave at) (coerce (aref samples at) 'double-float)))
      (dolist (filter list)
        (unless (funcall (the function filter) wave)
          (setf heard nil)))
      (dotimes (at (length samples))
        (setf (aref samples at)
              (saturated (round (the (double-float -1d9 1d9) (max -1d9 (min 1d9 (aref wave at)))))))))
    heard))

(defun gain (decibels)
  "Return a filter that makes a wave louder by DECIBELS."
  (let ((factor (expt 10d0 (/ decibels 20d0))))
    (declare (type double-float factor))
    (lambda (wave)
      (declare (type wave wave) (optimize speed))
      (dotimes (at (length wave) t)
        (setf (aref wave at) (* factor (aref wave at)))))))

(defun angle (hertz rate)
  "Return how far HERTZ turns, in radians, from one sample to the next."
  (/ (* 2 pi hertz) rate))

(defun coefficients (angle b0 b1)
  "Return (b0 b1 b2 a1 a2), of which the first three have the form that both kinds here have."
  (let* ((alpha (/ (sin angle) (sqrt 2d0)))
         (a0 (+ 1 alpha)))
    (mapcar (lambda (number) (coerce (/ number a0) 'double-float))
            (list b0 b1 b0 (* -2 (cos angle)) (- 1 alpha)))))

(defun high-pass (hertz rate)
  "Return the coefficients of what takes away what is below HERTZ."
  (let* ((angle (angle hertz rate)) (b (+ 1 (cos angle))))
    (coefficients angle (/ b 2) (- b))))

(defun low-pass (hertz rate)
  "Return the coefficients of what takes away what is above HERTZ."
  (let* ((angle (angle hertz rate)) (b (- 1 (cos angle))))
    (coefficients angle (/ b 2) b)))

(defun second-order (coefficients)
  "Return a filter with COEFFICIENTS, in the form known as direct form II transposed."
  (destructuring-bind (b0 b1 b2 a1 a2) coefficients
    (declare (type double-float b0 b1 b2 a1 a2))
    (let ((state (make-array 2 :element-type 'double-float :initial-element 0d0)))
      (lambda (wave)
        (declare (type wave wave) (optimize speed))
        (let ((s1 (aref state 0)) (s2 (aref state 1)))
          (declare (type double-float s1 s2))
          (dotimes (at (length wave))
            (let* ((in (aref wave at))
                   (out (+ s1 (* b0 in))))
              (setf s1 (+ s2 (- (* b1 in) (* a1 out)))
                    s2 (- (* b2 in) (* a2 out))
                    (aref wave at) out)))
          ;; What has become far too small to be heard would be slow to calculate with.
          (setf (aref state 0) (if (< (abs s1) 1d-20) 0d0 s1)
                (aref state 1) (if (< (abs s2) 1d-20) 0d0 s2))
          t)))))

(defun power (wave)
  "Return the mean square of WAVE."
  (declare (type wave wave) (optimize speed))
  (let ((sum 0d0))
    (declare (type double-float sum))
    (dotimes (at (length wave) (/ sum (length wave)))
      (incf sum (* (aref wave at) (aref wave at))))))

(defun ramp (wave from to)
  "Multiply WAVE by what goes FROM one factor TO another."
  (declare (type wave wave) (type double-float from to) (optimize speed))
  (let ((count (length wave)))
    (dotimes (at count)
      (setf (aref wave at) (* (aref wave at) (+ from (/ (* (- to from) at) count)))))))

(defun gate (decibels hold)
  "Return a filter that lets nothing through when HOLD blocks have been softer than DECIBELS. The first that is
louder is faded in, and the last faded out."
  (let ((least (* (expt 10d0 (/ decibels 10d0)) 32768 32768))
        (quiet hold))
    (declare (type double-float least) (type fixnum quiet hold))
    (lambda (wave)
      (let ((closed (>= quiet hold)))
        (setf quiet (if (>= (the double-float (power wave)) least) 0 (1+ quiet)))
        (cond ((and closed (zerop quiet)) (ramp wave 0d0 1d0) t)
              (closed (fill wave 0d0) nil)
              ((>= quiet hold) (ramp wave 1d0 0d0) t)
              (t t))))))
