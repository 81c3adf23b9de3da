(defpackage #:hydramesh/foreign/opus
  (:use #:cl)
  (:import-from #:cffi)
  (:import-from #:uiop)
  (:import-from #:hydramesh/audio/samples #:samples)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/foreign/float-traps #:in-library)
  (:export #:load-opus #:opus-missing
           #:opus-encoder-new #:opus-encoder-free #:opus-encode #:opus-expect-loss
           #:opus-decoder-new #:opus-decoder-free #:opus-decode #:opus-packet-samples #:opus-restores-p)
  (:documentation "The functions of libopus, the codec of RFC 6716, as opus.h of its version 1.3 describes them.

The library is loaded when it is asked for. Encoders and decoders are foreign memory that somebody has to
free, and each is for one thread at a time. Sound has one channel here."))
(in-package #:hydramesh/foreign/opus)

(define-condition opus-missing (error)
  ((reason :initarg :reason))
  (:documentation "There is no libopus, or something else has its name.")
  (:report (lambda (condition stream) (write-string (slot-value condition 'reason) stream))))

(defparameter +functions+
  '("opus_encoder_create" "opus_encoder_destroy" "opus_encoder_ctl" "opus_encode"
    "opus_decoder_create" "opus_decoder_destroy" "opus_decode" "opus_packet_get_nb_samples"))

(defmacro call (name &rest arguments)
  "Call the library's function NAME, which is looked up now: the library is not there while this is compiled."
  `(in-library (cffi:foreign-funcall-pointer (cffi:foreign-symbol-pointer ,name) () ,@arguments)))

(defun missing (control &rest arguments)
  "Signal OPUS-MISSING with the text that FORMAT makes of CONTROL and ARGUMENTS."
  (error 'opus-missing :reason (apply #'format nil control arguments)))

(defvar *loaded* nil "Whether this process has the library.")

(defun load-opus ()
  "Load the library that HYDRAMESH_LIBOPUS names, or the system's, unless it has been. Signal OPUS-MISSING."
  (unless *loaded*
    (let ((name (or (uiop:getenvp "HYDRAMESH_LIBOPUS") "libopus.so.0")))
      (handler-case (cffi:load-foreign-library name)
        (cffi:load-foreign-library-error ()
          (missing "the library ~A cannot be loaded: install libopus (Debian's package libopus0, nixpkgs' ~
                    libopus), set HYDRAMESH_LIBOPUS to it, or declare the stream with :codec :pcm" name)))
      (let ((lacks (find-if-not #'cffi:foreign-symbol-pointer +functions+)))
        (when lacks
          (missing "~A is not libopus: it has no ~A" name lacks))))
    (setf *loaded* t))
  nil)

;;; Encoders

;; Numbers of opus_defines.h.
(defconstant +voice+ 2048 "OPUS_APPLICATION_VOIP.")
(defconstant +music+ 2049 "OPUS_APPLICATION_AUDIO.")
(defconstant +set-bitrate+ 4002)
(defconstant +set-inband-fec+ 4012)
(defconstant +set-packet-loss+ 4014)

(defun set-control (encoder request value)
  "Set what REQUEST, a number of opus_defines.h, stands for to VALUE."
  (let ((result (call "opus_encoder_ctl" :pointer encoder :int request :int32 value :int)))
    (unless (zerop result)
      (error "libopus refuses the value ~D of its control ~D: ~D." value request result))))

(defun opus-encoder-new (rate signal bitrate)
  "Return an encoder of sound with RATE samples a second: 8000, 12000, 16000, 24000 or 48000.
SIGNAL is :VOICE or :MUSIC; BITRATE is in bits a second."
  (cffi:with-foreign-object (code :int)
    (let ((encoder (call "opus_encoder_create" :int32 rate :int 1
                                               :int (ecase signal (:voice +voice+) (:music +music+))
                                               :pointer code :pointer)))
      (unless (zerop (cffi:mem-ref code :int))
        (error "libopus makes no encoder for ~D Hz: ~D." rate (cffi:mem-ref code :int)))
      (set-control encoder +set-bitrate+ bitrate)
      encoder)))

(defun opus-encoder-free (encoder)
  "Free ENCODER; it must not be used again."
  (call "opus_encoder_destroy" :pointer encoder :void))

(defun opus-expect-loss (encoder percent)
  "Tell ENCODER that PERCENT of its packets may get lost. If any may, it adds what restores a lost one
from the next, where it codes as for voice."
  (set-control encoder +set-packet-loss+ percent)
  (set-control encoder +set-inband-fec+ (if (plusp percent) 1 0)))

(defun opus-encode (encoder samples packet start end)
  "Encode SAMPLES, a block of 2.5, 5, 10, 20, 40 or 60 ms, to the octets of PACKET from START to END, exclusive.
Return how many octets were needed."
  (declare (type samples samples) (type octets packet) (type fixnum start end))
  (let ((size (cffi:with-pointer-to-vector-data (sound samples)
                (cffi:with-pointer-to-vector-data (bytes packet)
                  (call "opus_encode" :pointer encoder :pointer sound :int (length samples)
                                      :pointer (cffi:inc-pointer bytes start) :int32 (- end start) :int32)))))
    (declare (type (signed-byte 32) size))
    (when (minusp size)
      (error "libopus does not encode ~D samples: ~D." (length samples) size))
    size))

;;; Decoders

(defun opus-decoder-new (rate)
  "Return a decoder that makes RATE samples a second, whatever the encoder was given."
  (cffi:with-foreign-object (code :int)
    (let ((decoder (call "opus_decoder_create" :int32 rate :int 1 :pointer code :pointer)))
      (unless (zerop (cffi:mem-ref code :int))
        (error "libopus makes no decoder for ~D Hz: ~D." rate (cffi:mem-ref code :int)))
      decoder)))

(defun opus-decoder-free (decoder)
  "Free DECODER; it must not be used again."
  (call "opus_decoder_destroy" :pointer decoder :void))

(defun opus-packet-samples (packet start rate)
  "Return how many samples at RATE the octets of PACKET from START stand for; below 1 if they are no packet."
  (declare (type octets packet) (type fixnum start))
  (cffi:with-pointer-to-vector-data (bytes packet)
    (call "opus_packet_get_nb_samples" :pointer (cffi:inc-pointer bytes start)
                                       :int32 (- (length packet) start) :int32 rate :int)))

(defun opus-restores-p (packet start)
  "Return whether the octets of PACKET from START, one frame, have what restores the block before: RFC 6716, 3.1 and
4.2.3."
  (declare (type octets packet) (type fixnum start))
  (when (> (length packet) (1+ start))
    (let* ((contents (aref packet start))
           (configuration (ash contents -3))
           (silk-frames (if (< configuration 12)
                            (aref #(1 1 2 3) (mod configuration 4))
                            1)))
      (and (< configuration 16)         ; the others code no frame as for voice
           (zerop (logand contents 3))
           ;; After a bit for each frame that says whether there is a voice.
           (logbitp (- 7 silk-frames) (aref packet (1+ start)))))))

(defun opus-decode (decoder packet start samples &key lost)
  "Fill SAMPLES with what the octets of PACKET from START say. Return whether they could be decoded.
Without PACKET a block was lost, and what may have been in it is made up. With LOST the block before PACKET
was, and PACKET may have what restores it."
  (declare (type samples samples) (type (or null octets) packet) (type fixnum start))
  (flet ((decode (bytes size)
           (= (length samples)
              (the (signed-byte 32)
                   (cffi:with-pointer-to-vector-data (sound samples)
                     (call "opus_decode" :pointer decoder :pointer bytes :int32 size :pointer sound
                                         :int (length samples) :int (if lost 1 0) :int))))))
    (if packet
        (cffi:with-pointer-to-vector-data (bytes packet)
          (decode (cffi:inc-pointer bytes start) (- (length packet) start)))
        (decode (cffi:null-pointer) 0))))
