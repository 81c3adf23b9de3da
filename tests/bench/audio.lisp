;;;; Sound over a bad link, and what a stream takes of a processor; tests/bench/audio.py runs it.

(asdf:load-system "hydramesh/tests/audio/link")
(asdf:load-system "hydramesh/audio")

(defpackage #:hydramesh/bench/audio
  (:use #:cl)
  (:import-from #:hydramesh/audio/mixing #:make-mixer #:mixer-add #:mixer-clear #:mixer-total)
  (:import-from #:hydramesh/audio/packet #:read-packet)
  (:import-from #:hydramesh/audio/reception #:reception-count #:reception-lost)
  (:import-from #:hydramesh/audio/samples #:make-samples #:sample-count)
  (:import-from #:hydramesh/audio/speaker
                #:close-speaker #:make-speaker #:speaker-block #:speaker-hear #:speaker-play #:speaker-reception)
  (:import-from #:hydramesh/audio/talker #:close-talker #:make-talker #:talker-add #:talker-next)
  (:import-from #:hydramesh/tests/audio/link #:+codecs+ #:heard-over-link)
  (:import-from #:hydramesh/tests/audio/signals #:aligned-snr #:sweep))
(in-package #:hydramesh/bench/audio)

(defparameter +seconds+ 20)

(defun measure-link ()
  (loop for (codec rate milliseconds . options) in +codecs+
        for said = (sweep rate +seconds+)
        do (dolist (loss '(0 0.05 0.2))
             (multiple-value-bind (heard speaker bytes)
                 (apply #'heard-over-link said codec rate milliseconds :loss loss options)
               (multiple-value-bind (snr lag) (aligned-snr said heard rate (sample-count rate milliseconds))
                 (let ((reception (speaker-reception speaker)))
                   (format t "link ~(~A~)~@[-~(~A~)~] ~D ~A ~A ~,1F ~,1F ~,1F ~D ~D ~D~%"
                           codec (getf options :signal) rate milliseconds loss snr (/ lag rate 0.001)
                           (/ (* 8 bytes) +seconds+ 1000.0) (reception-lost reception)
                           (reception-count reception :recovered) (reception-count reception :late))))))))

(defmacro spent (&body body)
  "Do BODY; return the processor time it took in microseconds, and how many bytes were allocated."
  `(let ((bytes (sb-ext:get-bytes-consed)) (start (get-internal-run-time)))
     ,@body
     (list (/ (- (get-internal-run-time) start) (/ internal-time-units-per-second 1000000))
           (- (sb-ext:get-bytes-consed) bytes))))

(defun measure-work ()
  (loop for (codec rate milliseconds . options) in +codecs+
        for count = (sample-count rate milliseconds)
        for blocks = (floor (* 1000 +seconds+) milliseconds)
        for talker = (make-talker codec rate count (getf options :signal :voice) (getf options :bitrate 32000)
                                  '((:high-pass 80) (:gate -60)) 0 1 0)
        for speaker = (make-speaker 0 1 codec rate count 0)
        for mixer = (make-mixer count)
        for mix = (make-samples count)
        for block = (* 1000 milliseconds)
        do (talker-add talker (sweep rate +seconds+))
           (let* ((packets '())
                  (said (spent (dotimes (time blocks)
                                 (push (talker-next talker time) packets))))
                  (in-order (coerce (reverse packets) 'vector))
                  (heard (spent (dotimes (time blocks)
                                  (speaker-hear speaker (read-packet (svref in-order time)) (* time block))
                                  (mixer-clear mixer)
                                  (when (speaker-play speaker (* time block))
                                    (mixer-add mixer (speaker-block speaker)))
                                  (mixer-total mixer mix)))))
             (flet ((each (what) (list (/ (first what) blocks 1.0) (round (second what) blocks)
                                       (/ (first what) (* +seconds+ 10000.0)))))
               (format t "work ~(~A~)~@[-~(~A~)~] ~D ~A ~{~,1F ~D ~,2F~} ~{~,1F ~D ~,2F~}~%"
                       codec (getf options :signal) rate milliseconds (each said) (each heard))))
           (close-talker talker)
           (close-speaker speaker)))

(sb-int:with-float-traps-masked (:invalid :divide-by-zero :overflow :inexact)
  (measure-link)
  (measure-work))
