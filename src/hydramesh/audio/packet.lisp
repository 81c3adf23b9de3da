(defpackage #:hydramesh/audio/packet
  (:use #:cl)
  (:import-from #:hydramesh/domain/limits #:+bare-bytes+)
  (:import-from #:hydramesh/events #:octets)
  (:export #:+packet-header+ #:+most-data+
           #:packet #:read-packet #:write-packet-header #:make-packet #:packet-codec #:packet-block #:packet-rate
           #:packet-channel #:packet-speaker #:packet-sequence #:packet-time #:packet-last
           #:packet-payload #:packet-size #:number-ahead #:number-at
           #:+opus+ #:+pcm+ #:+report+)
  (:documentation "What is in an AUDIO message: one block of one speaker's sound, or a report.

16 bytes in network order, and the sound:

  0      the version, 1, times 16; plus 1 if the speaker pauses after this block
  1      codec: 0 Opus (a packet of RFC 6716), 16 samples of 16 bits in network order, 255 a report
  2      the block's length in steps of 2.5 ms
  3      samples a second, in thousands
  4-5    channel: which of the sounds that a node sends and hears
  6-7    speaker: the number of the node that speaks, DCF's
  8-11   sequence: one more with each packet
  12-15  time: which block it is; it goes on in a pause, in which no packets are sent

0 is DCF's own number for Opus. What other nodes of DCF send begins with 0xD3: hydramesh/audio/dcf-frames."))
(in-package #:hydramesh/audio/packet)

(defconstant +packet-header+ 16 "Bytes.")

(defconstant +most-data+ (- +bare-bytes+ +packet-header+)
  "Bytes of sound in one packet.")

(defconstant +opus+ 0)
(defconstant +pcm+ 16)
(defconstant +report+ 255)

(defconstant +version+ 1)

(defstruct (packet (:copier nil))
  "A block of sound as it came. BLOCK is in steps of 2.5 ms, RATE in samples a second, and LAST whether the
speaker pauses then. The sound is in PAYLOAD, from +PACKET-HEADER+ on."
  (codec 0 :type (unsigned-byte 8))
  (block 0 :type (unsigned-byte 8))
  (rate 0 :type (unsigned-byte 32))
  (channel 0 :type (unsigned-byte 16))
  (speaker 0 :type (unsigned-byte 16))
  (sequence 0 :type (unsigned-byte 32))
  (time 0 :type (unsigned-byte 32))
  (last nil :type boolean)
  (payload (make-array 0 :element-type '(unsigned-byte 8)) :type octets))

(defun packet-size (packet)
  "Return how many bytes of sound PACKET has."
  (- (length (packet-payload packet)) +packet-header+))

(declaim (inline number-at (setf number-at)))
(defun number-at (octets at size)
  "Return the number of SIZE bytes at AT of OCTETS, network order; it can be set."
  (declare (type octets octets) (type (integer 0 2000) at) (type (integer 1 4) size))
  (let ((number 0))
    (declare (type (unsigned-byte 32) number))
    (dotimes (index size number)
      (setf number (logior (ldb (byte 32 0) (ash number 8)) (aref octets (+ at index)))))))

(defun (setf number-at) (number octets at size)
  (declare (type octets octets) (type (integer 0 2000) at) (type (integer 1 4) size)
           (type (unsigned-byte 32) number))
  (dotimes (index size number)
    (setf (aref octets (+ at index)) (ldb (byte 8 (* 8 (- size index 1))) number))))

(defun number-ahead (number other)
  "Return how far NUMBER, of 32 bits that wrap, is after OTHER, a whole number that need not; below 0 if it is before."
  (let ((ahead (ldb (byte 32 0) (- number other))))
    (if (logbitp 31 ahead) (- ahead (ash 1 32)) ahead)))

(defun read-packet (payload)
  "Return what PAYLOAD, octets that anybody may have made, says; NIL if it is no packet of this version.
The octets are kept."
  (declare (type octets payload))
  (when (and (>= (length payload) +packet-header+)
             (<= (length payload) (+ +packet-header+ +most-data+))
             (= +version+ (ash (aref payload 0) -4)))
    (make-packet :last (logbitp 0 (aref payload 0))
                 :codec (aref payload 1)
                 :block (aref payload 2)
                 :rate (* 1000 (aref payload 3))
                 :channel (number-at payload 4 2)
                 :speaker (number-at payload 6 2)
                 :sequence (number-at payload 8 4)
                 :time (number-at payload 12 4)
                 :payload payload)))

(defun write-packet-header (octets codec block rate channel speaker sequence time last)
  "Write to the beginning of OCTETS what a packet begins with; RATE is in samples a second."
  (declare (type octets octets))
  (setf (aref octets 0) (logior (ash +version+ 4) (if last 1 0))
        (aref octets 1) codec
        (aref octets 2) block
        (aref octets 3) (floor rate 1000)
        (number-at octets 4 2) channel
        (number-at octets 6 2) speaker
        (number-at octets 8 4) sequence
        (number-at octets 12 4) time)
  octets)
