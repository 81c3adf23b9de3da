(defpackage #:hydramesh/tests/audio/link
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:skip #:test)
  (:import-from #:hydramesh/audio/codec
                #:close-encoder #:codec-number #:encode #:expect-loss #:make-encoder)
  (:import-from #:hydramesh/audio/packet #:read-packet #:write-packet-header)
  (:import-from #:hydramesh/audio/reception #:reception-count #:reception-lost)
  (:import-from #:hydramesh/audio/samples #:make-samples #:sample-count #:samples)
  (:import-from #:hydramesh/audio/speaker
                #:close-speaker #:make-speaker #:speaker-block #:speaker-hear #:speaker-play #:speaker-reception)
  (:import-from #:hydramesh/foreign/opus #:load-opus #:opus-missing)
  (:import-from #:hydramesh/tests/audio/signals #:aligned-snr #:power-of #:sweep)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:export #:opus-here-p #:heard-over-link #:+codecs+)
  (:documentation "A sweep over a bad link: 30 ± 10 ms, and a share of the packets lost."))
(in-package #:hydramesh/tests/audio/link)

(def-suite audio-link :in hydramesh)
(in-suite audio-link)

(defparameter +codecs+
  '((:pcm 24000 20) (:pcm 48000 10) (:opus 48000 20 :signal :voice :bitrate 32000)
    (:opus 48000 20 :signal :music :bitrate 64000))
  "Codec, samples a second, milliseconds of a block, and what Opus is told.")

(defun opus-here-p ()
  "Return whether libopus is installed."
  (handler-case (progn (load-opus) t)
    (opus-missing () nil)))

(defun packets (said codec rate count &key (signal :voice) (bitrate 32000) (loss 0))
  "Return the payloads in which SAID is sent, in blocks of COUNT samples."
  (let ((encoder (make-encoder codec rate signal bitrate))
        (octets (make-array 1143 :element-type '(unsigned-byte 8))))
    (expect-loss encoder (round (* 100 loss)))
    (unwind-protect
         (loop for start from 0 to (- (length said) count) by count
               for time from 0
               for end = (encode encoder (subseq said start (+ start count)) octets)
               do (write-packet-header octets (codec-number codec) (round (* 400 count) rate) rate 0 1 time time nil)
               collect (subseq octets 0 end))
      (close-encoder encoder))))

(defun sent (payloads block random loss delay jitter)
  "Return when each of PAYLOADS comes, (at . payload), those that do, the soonest first."
  (sort (loop for payload in payloads
              for made from block by block
              unless (< (random 1d0 random) loss)
                collect (cons (+ made delay (- (random (1+ (* 2 jitter)) random) jitter)) payload))
        #'< :key #'car))

(defun heard-over-link (said codec rate milliseconds &key (loss 0) (delay 30000) (jitter 10000) (seed 1)
                                                       (signal :voice) (bitrate 32000))
  "Return what is heard of SAID after a link that loses LOSS of the packets and takes DELAY ± JITTER microseconds;
the speaker, which is closed; and how many bytes were sent."
  (let* ((count (sample-count rate milliseconds))
         (block (round (* 1000 milliseconds)))
         (payloads (packets said codec rate count :signal signal :bitrate bitrate :loss loss))
         (way (sent payloads block (sb-ext:seed-random-state seed) loss delay jitter))
         (speaker (make-speaker 0 1 codec rate count 0))
         (out (make-samples (+ (length said) rate))))
    (loop for tick from 1 below (floor (length out) count)
          for now = (* tick block)
          do (loop while (and way (<= (car (first way)) now))
                   do (destructuring-bind (at . payload) (pop way)
                        (speaker-hear speaker (read-packet payload) at)))
             (when (speaker-play speaker now)
               (replace out (speaker-block speaker) :start1 (* tick count))))
    (close-speaker speaker)
    (values out speaker (reduce #'+ payloads :key #'length))))

(defmacro for-each-codec ((codec rate milliseconds options) &body body)
  `(loop for (,codec ,rate ,milliseconds . ,options) in +codecs+
         do (if (and (eq ,codec :opus) (not (opus-here-p)))
                (skip "libopus is not installed")
                (progn ,@body))))

(defun with-silence (reception)
  "Return the signal-to-noise ratio, at most 20 dB, if what was lost by RECEPTION were silent."
  (let ((received (reception-count reception :received)) (lost (reception-lost reception)))
    (if (zerop lost)
        20
        (* 10 (log (/ (+ received lost) lost) 10)))))

(test a-sweep-is-heard-in-spite-of-losses
  (for-each-codec (codec rate milliseconds options)
    (let ((said (sweep rate 8)))
      (loop for loss in '(0 0.05 0.2)
            do (multiple-value-bind (heard speaker)
                   (apply #'heard-over-link said codec rate milliseconds :loss loss options)
                 (multiple-value-bind (snr lag) (aligned-snr said heard rate (sample-count rate milliseconds))
                   (let ((silent (with-silence (speaker-reception speaker))))
                     (is (> snr (if (eq codec :pcm) silent (- silent 4)))
                         "~A at ~A of loss: ~,1F dB, and ~,1F with silence" codec loss snr silent))
                   ;; A block, the way, and what it takes for the late ones: 40 ms at least.
                   (is (< 0.05 (/ lag rate) 0.125) "~A: ~,3F s" codec (/ lag rate)))
                 (let ((reception (speaker-reception speaker)))
                   (is (= (floor (length said) (sample-count rate milliseconds))
                          (+ (reception-count reception :received) (reception-lost reception)))
                       "all that was sent came or is known to be lost, but for the last")))))))

(defun voice (rate seconds)
  "Return something like a voice: a hum of 120 Hz with overtones that come and go."
  (let ((samples (make-samples (* rate seconds))))
    (dotimes (at (length samples) samples)
      (let ((time (/ at rate 1d0)))
        (setf (aref samples at)
              (round (* 4000 (+ 1 (sin (* 2 pi 3 time)))
                        (loop for overtone from 1 to 8
                              sum (/ (sin (* 2 pi 120 overtone time)) overtone 2d0)))))))))

(test what-opus-sends-of-a-lost-block-with-the-next-is-used
  (if (not (opus-here-p))
      (skip "libopus is not installed")
      (let ((speaker (nth-value 1 (heard-over-link (voice 16000 8) :opus 16000 20 :loss 0.1 :bitrate 24000))))
        (is (plusp (reception-count (speaker-reception speaker) :recovered)))
        (is (plusp (reception-count (speaker-reception speaker) :lost))))))

(test what-is-made-up-becomes-silent
  (for-each-codec (codec rate milliseconds options)
    (let* ((count (sample-count rate milliseconds))
           (said (sweep rate 2))
           (heard (apply #'heard-over-link said codec rate milliseconds options)))
      (is (plusp (power-of (subseq heard rate (+ rate count)))))
      (is (zerop (power-of (subseq heard (- (length heard) (* 10 count)))))))))
