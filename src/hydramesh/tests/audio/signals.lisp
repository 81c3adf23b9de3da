(defpackage #:hydramesh/tests/audio/signals
  (:use #:cl)
  (:import-from #:hydramesh/audio/samples #:samples #:make-samples)
  (:export #:sweep #:tone #:aligned-snr #:snr #:power-of)
  (:documentation "Sounds for tests, and how far what was heard is from what was said."))
(in-package #:hydramesh/tests/audio/signals)

(defun sweep (rate seconds &key (from 200) (to 3400) (amplitude 12000))
  "Return a tone that rises FROM one frequency TO another, in hertz, evenly in octaves."
  (let* ((count (round (* rate seconds)))
         (samples (make-samples count))
         (octaves (log (/ to from) 2d0))
         (phase 0d0))
    (dotimes (at count samples)
      (setf (aref samples at) (round (* amplitude (sin phase))))
      (incf phase (/ (* 2 pi from (expt 2d0 (/ (* octaves at) count))) rate)))))

(defun tone (rate count hertz amplitude)
  "Return COUNT samples of a tone."
  (let ((samples (make-samples count)))
    (dotimes (at count samples)
      (setf (aref samples at) (round (* amplitude (sin (/ (* 2 pi hertz at) rate))))))))

(defun power-of (samples)
  "Return the mean square."
  (/ (reduce #'+ (map 'vector (lambda (sample) (* sample sample)) samples)) (max 1 (length samples))))

(defun differences (said start heard at count)
  "Return the energy of COUNT samples of SAID from START, and of what differs in HEARD from AT."
  (declare (type samples said heard) (type (signed-byte 40) start at count) (optimize speed))
  (let ((energy 0) (noise 0))
    (declare (type (unsigned-byte 62) energy noise))
    (dotimes (index count)
      (let* ((sample (aref said (+ start index)))
             (difference (- sample (aref heard (+ at index)))))
        (incf energy (* sample sample))
        (incf noise (* difference difference))))
    (values energy noise)))

(defun snr (energy noise)
  "Return the signal-to-noise ratio in decibels."
  (* 10 (log (/ (max 1d0 energy) (max 1d0 noise)) 10)))

(defun least-noise (said heard start count lags)
  "Return the one of LAGS at which COUNT samples of SAID from START are most like HEARD, with energy and noise."
  (loop with best = nil and energy = 0 and least = nil
        for lag in lags
        when (<= 0 (+ start lag) (- (length heard) count))
          do (multiple-value-bind (all noise) (differences said start heard (+ start lag) count)
               (when (or (null least) (< noise least))
                 (setf best lag energy all least noise)))
        finally (return (values best energy least))))

(defun around (lag width)
  (loop for near from (- lag width) to (+ lag width) collect near))

(defun aligned-snr (said heard rate block)
  "Return the signal-to-noise ratio of HEARD in decibels, and by how many samples it is later than SAID, on average.
Both have RATE samples a second; what is heard may come a multiple of BLOCK samples later or sooner as it goes on,
and, as a filter shifts some frequencies more than others, by 2 ms."
  (let* ((window (floor rate 4))
         (middle (floor (length said) 2))
         (lag (least-noise said heard middle rate (loop for lag below (floor rate 4) collect lag)))
         (energy 0) (noise 0) (lags '()))
    (loop for start from 0 to (- (length said) window rate) by window
          do (let ((rough (least-noise said heard start window
                                       (loop for steps from -10 to 10 collect (+ lag (* steps block))))))
               (multiple-value-bind (best all wrong)
                   (least-noise said heard start window (around rough (floor rate 500)))
                 (incf energy all)
                 (incf noise wrong)
                 (push best lags))))
    (values (snr energy noise) (/ (reduce #'+ lags) (length lags)))))
