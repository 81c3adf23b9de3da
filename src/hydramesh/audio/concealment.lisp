(defpackage #:hydramesh/audio/concealment
  (:use #:cl)
  (:import-from #:hydramesh/audio/samples #:samples #:make-samples)
  (:export #:make-memory #:memory-keep #:memory-conceal)
  (:documentation "What stands for a block that is missing, where the codec makes nothing up: the last period of
the sound before it, again and again and ever softer; and how the next block follows on that without a click.

The idea is that of ITU-T's recommendation G.711, appendix I."))
(in-package #:hydramesh/audio/concealment)

(defconstant +fade+ 80 "Milliseconds after which nothing is left.")
(defconstant +seam+ 4 "Milliseconds in which the next block takes over.")
(defconstant +highest+ 400 "Periods a second that are looked for at most.")
(defconstant +lowest+ 66)
(defconstant +compared+ 10 "Milliseconds of sound by which a period is found.")

(defstruct (memory (:constructor %make-memory (rate count past lost)))
  "The PAST of a sound. LOST is a block to work in; DONE how many samples have been made up since there was
one that came, of a sound with PERIOD."
  (rate 0 :type (unsigned-byte 32))
  (count 0 :type (unsigned-byte 32))
  (past (make-samples 0) :type samples)
  (lost (make-samples 0) :type samples)
  (period 1 :type fixnum)
  (done 0 :type fixnum))

(defun make-memory (rate count)
  "Return the memory of a sound of RATE samples a second, in blocks of COUNT, of which nothing has come yet."
  (%make-memory rate count
                (make-samples (max count (+ (ceiling rate +lowest+) (ceiling (* rate +compared+) 1000))))
                (make-samples count)))

(defun alike (past lag count)
  "Return how much the last COUNT samples of PAST are like those LAG before them; the greater, the more."
  (declare (type samples past) (type fixnum lag count) (optimize speed))
  (let ((product 0) (energy 1))
    (declare (type (signed-byte 62) product energy))
    (loop for at of-type fixnum from (- (length past) count) below (length past)
          for before = (aref past (- at lag))
          do (incf product (* (aref past at) before))
             (incf energy (* before before)))
    (let ((product (coerce product 'double-float)))
      (/ (* product (abs product)) (coerce energy 'double-float)))))

(defun find-period (memory)
  "Return after how many samples the end of MEMORY's sound is most like itself."
  (let* ((rate (memory-rate memory))
         (past (memory-past memory))
         (count (floor (* rate +compared+) 1000))
         (best 0d0)
         (period (ceiling rate +lowest+)))
    (loop for lag from (floor rate +highest+) to (ceiling rate +lowest+)
          for likeness of-type double-float = (alike past lag count)
          when (> likeness best) do (setf best likeness
                                          period lag))
    period))

(defun continue-past (memory samples count)
  "Fill COUNT of SAMPLES with what may follow what has come and has been made up."
  (declare (type samples samples) (type fixnum count) (optimize speed))
  (let* ((past (memory-past memory))
         (period (memory-period memory))
         (done (memory-done memory))
         (start (- (length past) period))
         (fade (floor (* +fade+ (memory-rate memory)) 1000)))
    (declare (type (unsigned-byte 40) done fade period))
    (dotimes (at count)
      (let ((left (max 0 (- fade done at))))
        (declare (type (unsigned-byte 24) left))
        (setf (aref samples at)
              (values (truncate (* (aref past (+ start (mod (+ done at) period))) left) fade)))))))

(defun memory-conceal (memory samples)
  "Fill SAMPLES, a block, with what may have been in the block that is missing."
  (when (zerop (memory-done memory))
    (setf (memory-period memory) (find-period memory)))
  (continue-past memory samples (length samples))
  (incf (memory-done memory) (length samples)))

(defun join (memory samples)
  "Have SAMPLES follow what was made up before."
  (declare (type samples samples) (optimize speed))
  (let* ((lost (memory-lost memory))
         (count (min (length samples) (floor (* +seam+ (memory-rate memory)) 1000))))
    (declare (type (unsigned-byte 24) count))
    (continue-past memory lost count)
    (dotimes (at count)
      (setf (aref samples at)
            (values (truncate (+ (* (aref lost at) (- count at)) (* (aref samples at) at)) count))))))

(defun memory-keep (memory samples)
  "Note that SAMPLES, a block, have come. If others before them were missing, their beginning is changed so that
it follows what was made up."
  (declare (type samples samples))
  (when (plusp (memory-done memory))
    (join memory samples)
    (setf (memory-done memory) 0))
  (let* ((past (memory-past memory)) (more (length samples)))
    (replace past past :start2 more)
    (replace past samples :start1 (- (length past) more))))
