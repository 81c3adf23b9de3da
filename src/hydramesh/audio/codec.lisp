(defpackage #:hydramesh/audio/codec
  (:use #:cl)
  (:import-from #:hydramesh/audio/concealment #:make-memory #:memory-keep #:memory-conceal)
  (:import-from #:hydramesh/audio/packet #:+opus+ #:+packet-header+ #:+pcm+)
  (:import-from #:hydramesh/audio/samples #:samples)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/foreign/opus
                #:load-opus #:opus-decode #:opus-decoder-free #:opus-decoder-new #:opus-encode
                #:opus-encoder-free #:opus-encoder-new #:opus-expect-loss
                #:opus-packet-samples #:opus-restores-p)
  (:export #:make-encoder #:encode #:expect-loss #:close-encoder
           #:make-decoder #:decode #:conceal #:recover #:close-decoder #:block-p #:codec-number)
  (:documentation "How blocks of sound become bytes and are made of them again: as Opus, or as they are.

What is made must be closed. An encoder is for one speaker's sound from its beginning to its end, and so is
a decoder."))
(in-package #:hydramesh/audio/codec)

(defgeneric encode (encoder samples octets)
  (:documentation "Write SAMPLES, a block, to OCTETS from +PACKET-HEADER+ on, with as few as have room there; return how
many are then filled."))

(defgeneric expect-loss (encoder percent)
  (:documentation "Have ENCODER make something of it that PERCENT of the blocks get lost.")
  (:method (encoder percent)
    (declare (ignore encoder percent))))

(defgeneric close-encoder (encoder)
  (:documentation "Free what ENCODER has; it must not be used again.")
  (:method (encoder)
    (declare (ignore encoder))))

(defgeneric block-p (decoder payload count)
  (:documentation "Return whether PAYLOAD, octets from anybody, holds a block of COUNT samples from
+PACKET-HEADER+ on, as far as that shows without decoding it."))

(defgeneric decode (decoder payload samples)
  (:documentation "Fill SAMPLES with the block in PAYLOAD. Return whether that was possible."))

(defgeneric conceal (decoder samples)
  (:documentation "Fill SAMPLES with what may have been in the block that is missing now."))

(defgeneric recover (decoder payload samples)
  (:documentation "Fill SAMPLES with the block before the one in PAYLOAD, if that tells. Return whether it does.")
  (:method (decoder payload samples)
    (declare (ignore decoder payload samples))
    nil))

(defgeneric close-decoder (decoder)
  (:documentation "Free what DECODER has; it must not be used again.")
  (:method (decoder)
    (declare (ignore decoder))))

(defun codec-number (codec)
  "Return what stands for CODEC, :OPUS or :PCM, in packets."
  (ecase codec (:opus +opus+) (:pcm +pcm+)))

(defun make-encoder (codec rate signal bitrate)
  "Return an encoder of CODEC, :OPUS or :PCM, for RATE samples a second. Opus takes SIGNAL, :VOICE or :MUSIC,
and BITRATE in bits a second. Signal OPUS-MISSING where it is asked for and not installed."
  (ecase codec
    (:pcm (make-instance 'pcm-encoder))
    (:opus (load-opus)
           (make-instance 'opus-encoder :state (opus-encoder-new rate signal bitrate)))))

(defun make-decoder (codec rate count)
  "Return a decoder of CODEC, :OPUS or :PCM, for blocks of COUNT samples, RATE a second. Signal OPUS-MISSING
as above."
  (ecase codec
    (:pcm (make-instance 'pcm-decoder :memory (make-memory rate count)))
    (:opus (load-opus)
           (make-instance 'opus-decoder :rate rate :state (opus-decoder-new rate)))))

;;; Samples of 16 bits

(defclass pcm-encoder () ())

(defmethod encode ((encoder pcm-encoder) samples octets)
  (declare (type samples samples) (type octets octets) (optimize speed))
  (loop for sample of-type (signed-byte 16) across samples
        for at of-type fixnum from +packet-header+ by 2
        do (setf (aref octets at) (ldb (byte 8 8) sample)
                 (aref octets (1+ at)) (ldb (byte 8 0) sample))
        finally (return (+ +packet-header+ (* 2 (length samples))))))

(defclass pcm-decoder ()
  ((memory :initarg :memory)))

(defmethod block-p ((decoder pcm-decoder) payload count)
  (= (length payload) (+ +packet-header+ (* 2 count))))

(defmethod decode ((decoder pcm-decoder) payload samples)
  (declare (type samples samples) (type octets payload) (optimize speed))
  (when (block-p decoder payload (length samples))
    (dotimes (index (length samples))
      (let* ((at (+ +packet-header+ (* 2 index)))
             (number (logior (ash (aref payload at) 8) (aref payload (1+ at)))))
        (setf (aref samples index) (if (logbitp 15 number) (- number 65536) number))))
    (memory-keep (slot-value decoder 'memory) samples)
    t))

(defmethod conceal ((decoder pcm-decoder) samples)
  (memory-conceal (slot-value decoder 'memory) samples))

;;; Opus

(defclass opus-encoder ()
  ((state :initarg :state)))

(defmethod encode ((encoder opus-encoder) samples octets)
  (+ +packet-header+
     (opus-encode (slot-value encoder 'state) samples octets +packet-header+ (length octets))))

(defmethod expect-loss ((encoder opus-encoder) percent)
  (opus-expect-loss (slot-value encoder 'state) percent))

(defmethod close-encoder ((encoder opus-encoder))
  (opus-encoder-free (slot-value encoder 'state)))

(defclass opus-decoder ()
  ((state :initarg :state)
   (rate :initarg :rate)))

(defmethod block-p ((decoder opus-decoder) payload count)
  (= count (opus-packet-samples payload +packet-header+ (slot-value decoder 'rate))))

(defmethod decode ((decoder opus-decoder) payload samples)
  (opus-decode (slot-value decoder 'state) payload +packet-header+ samples))

(defmethod conceal ((decoder opus-decoder) samples)
  (opus-decode (slot-value decoder 'state) nil 0 samples))

(defmethod recover ((decoder opus-decoder) payload samples)
  (and (opus-restores-p payload +packet-header+)
       (opus-decode (slot-value decoder 'state) payload +packet-header+ samples :lost t)))

(defmethod close-decoder ((decoder opus-decoder))
  (opus-decoder-free (slot-value decoder 'state)))
