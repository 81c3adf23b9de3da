(defpackage #:hydramesh/audio/dcf-frames
  (:use #:cl)
  (:import-from #:hydramesh/audio/packet
                #:+opus+ #:+packet-header+ #:make-packet #:number-at #:packet #:packet-codec #:packet-last
                #:packet-payload #:packet-sequence #:packet-size #:packet-speaker #:packet-channel #:packet-time
                #:read-packet)
  (:import-from #:hydramesh/events #:microseconds #:octets)
  (:export #:+most-frame-data+ #:+everybody+ #:frames-of #:read-frame #:frame #:frame-source #:frame-destination
           #:assembly #:make-assembly #:assembly-add)
  (:documentation "Sound as other nodes of DCF send it (DCF-Audio, version 1): a block of Opus, 20 ms at 48 kHz, in frames of
17 bytes, each in an AUDIO message of its own. All of them have to come, or the block is lost.

  0      0xD3
  1      0x13: version 1, control
  2-3    the block's number, 11 bits, and the frame's, 5 bits
  4-5    source: the number of the node that speaks
  6-7    destination: the channel, or 0xFFFF for all
  8-11   frame 0: bytes of the block, other frames, codec (0 is Opus), flags (1: the speaker pauses then);
         the others: four bytes of the block, the last ones filled up with zeros
  12-14  when the block was made, in microseconds
  15-16  CRC-16/CCITT-FALSE of all before"))
(in-package #:hydramesh/audio/dcf-frames)

(defconstant +frame+ 17 "Bytes.")
(defconstant +most-frames+ 31 "Of a block, besides the first.")
(defconstant +most-frame-data+ (* 4 +most-frames+) "Bytes of a block.")
(defconstant +everybody+ #xffff "The channel on which all hear.")
(defconstant +assembled+ 8 "Blocks of a speaker of which frames are missing.")
(defconstant +pause+ 10 "Blocks after which a speaker has paused, whatever the last block said.")

(defun checksum (octets end)
  "Return the CRC-16/CCITT-FALSE of OCTETS before END."
  (declare (type octets octets))
  (let ((crc #xffff))
    (dotimes (at end crc)
      (setf crc (logxor crc (ash (aref octets at) 8)))
      (loop repeat 8
            do (setf crc (if (logbitp 15 crc)
                             (logxor (ldb (byte 16 0) (ash crc 1)) #x1021)
                             (ash crc 1)))))))

;;; Writing

(defun write-frame (number index source destination data time)
  "Return the frame INDEX of the block NUMBER with DATA, a number of 32 bits."
  (let ((octets (make-array +frame+ :element-type '(unsigned-byte 8))))
    (setf (aref octets 0) #xd3
          (aref octets 1) #x13
          (number-at octets 2 2) (logior (ash number 5) index)
          (number-at octets 4 2) source
          (number-at octets 6 2) destination
          (number-at octets 8 4) data
          (number-at octets 12 3) time
          (number-at octets 15 2) (checksum octets 15))
    octets))

(defun frames-of (payload)
  "Return the frames, octets each, that say what PAYLOAD does, a packet of ours with Opus."
  (let* ((packet (read-packet payload))
         (size (packet-size packet))
         (total (ceiling size 4)))
    (flet ((frame (index data)
             (write-frame (ldb (byte 11 0) (packet-sequence packet)) index (packet-speaker packet)
                          (packet-channel packet) data (ldb (byte 24 0) (* 20000 (packet-time packet))))))
      (cons (frame 0 (logior (ash size 24) (ash total 16) (ash +opus+ 8) (if (packet-last packet) 1 0)))
            (loop for index from 1 to total
                  for start = (+ +packet-header+ (* 4 (1- index)))
                  for left = (min 4 (- (length payload) start))
                  collect (frame index (ash (number-at payload start left) (* 8 (- 4 left)))))))))

;;; Reading

(defstruct frame
  "A frame as it came: which of its block NUMBER, from whom, on which channel."
  (number 0 :type (unsigned-byte 11))
  (index 0 :type (unsigned-byte 5))
  (source 0 :type (unsigned-byte 16))
  (destination 0 :type (unsigned-byte 16))
  (data 0 :type (unsigned-byte 32)))

(defun read-frame (payload)
  "Return the frame that PAYLOAD, octets from anybody, is; NIL if it is none."
  (declare (type octets payload))
  (when (and (= +frame+ (length payload))
             (= #xd3 (aref payload 0))
             (= #x13 (aref payload 1))
             (= (checksum payload 15) (number-at payload 15 2)))
    (let ((sequence (number-at payload 2 2)))
      (make-frame :number (ash sequence -5) :index (ldb (byte 5 0) sequence)
                  :source (number-at payload 4 2) :destination (number-at payload 6 2)
                  :data (number-at payload 8 4)))))

(defstruct part
  "What has come of the block NUMBER: frames whose bits are set in CAME. First the size and what follows, FIRST."
  (number 0 :type (unsigned-byte 11))
  (came 0 :type (unsigned-byte 32))
  (first 0 :type (unsigned-byte 32))
  (payload (make-array (+ +packet-header+ +most-frame-data+) :element-type '(unsigned-byte 8)) :type octets))

(defstruct assembly
  "Blocks of one speaker of which frames have come, the newest first. SEQUENCE and TIME are those of the last that
was whole, which was at AT and was the LAST before a pause."
  (parts '() :type list)
  (sequence 0 :type unsigned-byte)
  (time 0 :type unsigned-byte)
  (at nil :type (or null microseconds))
  (last nil :type boolean))

(defun part-of (assembly number)
  "Return what has come of the block NUMBER; the oldest of too many is given up."
  (or (find number (assembly-parts assembly) :key #'part-number)
      (let ((part (make-part :number number)) (parts (assembly-parts assembly)))
        (setf (assembly-parts assembly)
              (cons part (if (< (length parts) +assembled+) parts (butlast parts))))
        part)))

(defun whole-p (part)
  "Return whether all frames of PART have come, and make a block."
  (let ((size (ldb (byte 8 24) (part-first part))) (total (ldb (byte 8 16) (part-first part))))
    (and (logbitp 0 (part-came part))
         (<= size +most-frame-data+)
         (= total (ceiling size 4))
         (= (part-came part) (1- (ash 1 (1+ total)))))))

(defun assembly-add (assembly frame now)
  "Take FRAME, which has come NOW. Return the packet of the block that is whole with it, or NIL."
  (let ((part (part-of assembly (frame-number frame))) (index (frame-index frame)))
    (unless (logbitp index (part-came part))
      (setf (part-came part) (logior (part-came part) (ash 1 index)))
      (if (zerop index)
          (setf (part-first part) (frame-data frame))
          (setf (number-at (part-payload part) (+ +packet-header+ (* 4 (1- index))) 4) (frame-data frame)))
      (when (whole-p part)
        (setf (assembly-parts assembly) (remove part (assembly-parts assembly)))
        (place-in-time assembly (part-number part) now)
        (packet-of assembly part frame now)))))

(defun place-in-time (assembly number now)
  "Have SEQUENCE and TIME of ASSEMBLY be those of the block NUMBER, 11 bits that wrap. Numbers do not go on in a
pause, so that the time of the first after one follows from NOW."
  (let* ((ahead (ldb (byte 11 0) (- number (assembly-sequence assembly))))
         (ahead (if (>= ahead 1024) (- ahead 2048) ahead))
         (passed (if (assembly-at assembly) (round (- now (assembly-at assembly)) 20000) 0)))
    (setf (assembly-time assembly)
          (max 0 (+ (assembly-time assembly)
                    (cond ((null (assembly-at assembly)) 2048)
                          ((or (assembly-last assembly) (> (- passed ahead) +pause+)) (max ahead passed))
                          (t ahead))))
          (assembly-sequence assembly)
          (if (assembly-at assembly) (max 0 (+ (assembly-sequence assembly) ahead)) (+ 2048 number)))))

(defun packet-of (assembly part frame now)
  (let ((size (ldb (byte 8 24) (part-first part))))
    (setf (assembly-at assembly) now
          (assembly-last assembly) (logbitp 0 (part-first part)))
    (make-packet :codec (ldb (byte 8 8) (part-first part)) :block 8 :rate 48000
                 :channel (frame-destination frame) :speaker (frame-source frame)
                 :sequence (ldb (byte 32 0) (assembly-sequence assembly))
                 :time (ldb (byte 32 0) (assembly-time assembly))
                 :last (assembly-last assembly)
                 :payload (subseq (part-payload part) 0 (+ +packet-header+ size)))))
