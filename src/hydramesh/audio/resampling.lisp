(defpackage #:hydramesh/audio/resampling
  (:use #:cl)
  (:import-from #:hydramesh/audio/samples #:samples #:make-samples #:saturated)
  (:export #:resampled)
  (:documentation "Sound with another number of samples a second, by a windowed sinc (Blackman's window), as
J. O. Smith's Digital Audio Resampling describes it."))
(in-package #:hydramesh/audio/resampling)

(defconstant +zeros+ 16 "Zeros of the sinc on either side that count.")

(deftype weights () '(simple-array double-float (*)))

(defun sinc (x)
  "Return sin πX / πX."
  (if (zerop x) 1d0 (/ (sin (* pi x)) (* pi x))))

(defun window (x)
  "Return Blackman's window at X, from -1 to 1."
  (+ 0.42d0 (* 0.5d0 (cos (* pi x))) (* 0.08d0 (cos (* 2 pi x)))))

(defun weights (phase phases cutoff half)
  "Return what the samples around a place that is PHASE of PHASES between two count, HALF on either side.
CUTOFF is a share of the frequencies that there are."
  (let ((weights (make-array (* 2 half) :element-type 'double-float)))
    (dotimes (index (* 2 half))
      (let ((x (coerce (- (- index half -1) (/ phase phases)) 'double-float)))
        (setf (aref weights index)
              (if (< (abs x) half) (* cutoff (sinc (* cutoff x)) (window (/ x half))) 0d0))))
    ;; The weights' sum is made 1, so that what is constant stays so.
    (let ((sum (reduce #'+ weights)))
      (map-into weights (lambda (weight) (/ weight sum)) weights))))

(defun weigh (samples middle weights half)
  "Return the sample that WEIGHTS make of those around MIDDLE, HALF on either side."
  (declare (type samples samples) (type fixnum middle half) (type weights weights) (optimize speed))
  (let ((sum 0d0))
    (declare (type double-float sum))
    (dotimes (index (length weights))
      (let ((at (+ middle (- index half -1))))
        (when (< -1 at (length samples))
          (incf sum (* (aref weights index) (aref samples at))))))
    (saturated (round (the (double-float -1d9 1d9) sum)))))

(defun resampled (samples from to)
  "Return SAMPLES, FROM a second, as they are with TO a second, without the frequencies that these cannot hold."
  (declare (type samples samples))
  (if (= from to)
      samples
      (let* ((up (/ to (gcd from to)))
             (down (/ from (gcd from to)))
             (cutoff (* 0.95d0 (min 1d0 (/ (coerce to 'double-float) from))))
             (half (ceiling (/ +zeros+ cutoff)))
             (table (make-hash-table))
             (result (make-samples (floor (* (length samples) up) down))))
        (dotimes (index (length result) result)
          (multiple-value-bind (middle phase) (floor (* index down) up)
            (setf (aref result index)
                  (weigh samples middle
                         (or (gethash phase table)
                             (setf (gethash phase table) (weights phase up cutoff half)))
                         half)))))))
