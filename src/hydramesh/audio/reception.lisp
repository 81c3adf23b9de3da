(defpackage #:hydramesh/audio/reception
  (:use #:cl)
  (:import-from #:hydramesh/audio/packet
                #:+packet-header+ #:+report+ #:number-ahead #:packet #:packet-payload #:packet-sequence #:packet-time
                #:write-packet-header)
  (:import-from #:hydramesh/domain/packing #:packed #:with-unpacking #:take #:done)
  (:import-from #:hydramesh/events #:octets #:microseconds)
  (:export #:reception #:make-reception #:note-packet #:note-block #:reception-count
           #:reception-lost #:reception-jitter #:write-report #:read-report
           #:report #:report-received #:report-lost #:report-late #:report-share #:report-jitter #:report-delay)
  (:documentation "What became of a speaker's packets where they are heard: how many came, were lost, came late or
twice; and the report of it, by which the speaker learns that.

Losses and the jitter are those of RFC 3550, A.3 and A.8. A report follows the header of a packet:

  0-3    packets that came
  4-7    that were lost
  8-11   that came too late
  12-13  of those since the last report, how many of 65,535 were lost or late
  14-17  jitter in microseconds
  18-21  microseconds that blocks wait because others come later"))
(in-package #:hydramesh/audio/reception)

(defparameter +counted+
  '(:received :late :double :reordered :strange :refused :broken
    :block :lost :recovered :wait :join :pause)
  "What is counted: packets by what became of them, then blocks by how they were made.")

(defstruct (reception (:constructor make-reception ()))
  "What is known of a speaker's packets. FIRST and HIGHEST are sequence numbers, HIGHEST without end; GONE the
packets that were expected and MET those that came before FIRST, in other sounds. REPORTED are expected, received
and late as of the last report."
  (counts (make-array 16 :element-type 'fixnum) :type (simple-array fixnum (16)))
  (first nil :type (or null integer))
  (highest 0 :type integer)
  (gone 0 :type unsigned-byte)
  (transit nil :type (or null integer))
  (jitter 0 :type unsigned-byte)
  (reported '(0 0 0) :type list))

(declaim (inline counter))
(defun counter (name)
  "Return which of the counts NAME is."
  (position name +counted+))

(defun reception-count (reception name)
  "Return how many packets, or blocks that were heard, NAME stands for: a keyword of those that are counted."
  (aref (reception-counts reception) (counter name)))

(defun note-block (reception name)
  "Count one more of NAME."
  (incf (aref (reception-counts reception) (counter name))))

(defun expected (reception)
  "Return how many packets were sent, as far as the latest that came tells."
  (if (reception-first reception)
      (+ (reception-gone reception)
         (1+ (- (reception-highest reception) (reception-first reception))))
      0))

(defun reception-lost (reception)
  "Return how many packets have not come that others after them show to have been sent."
  (max 0 (- (expected reception) (reception-count reception :received))))

(defun begin-anew (reception sequence)
  "Note that another sound begins with SEQUENCE."
  (setf (reception-gone reception) (expected reception)
        (reception-first reception) sequence
        (reception-highest reception) sequence
        (reception-transit reception) nil))

(defun note-packet (reception packet outcome now block)
  "Note that PACKET, one of a sound in blocks of BLOCK microseconds, has come NOW, and with which OUTCOME, as of
`buffer-put`."
  (ecase outcome
    ((:double :strange) (note-block reception outcome))
    ((:kept :begun :late)
     (let ((sequence (packet-sequence packet)))
       (note-block reception :received)
       (when (eq outcome :late)
         (note-block reception :late))
       (if (or (eq outcome :begun) (null (reception-first reception)))
           (begin-anew reception sequence)
           (let ((ahead (number-ahead sequence (reception-highest reception))))
             (if (plusp ahead)
                 (incf (reception-highest reception) ahead)
                 (note-block reception :reordered))))
       (note-jitter reception (- now (* block (packet-time packet))))))))

(defun note-jitter (reception transit)
  "Have the jitter follow from TRANSIT, the latest packet's time on the way plus what is the same for all."
  (let ((before (shiftf (reception-transit reception) transit)))
    ;; Where the time of 32 bits begins again, the difference says nothing.
    (when (and before (< (abs (- transit before)) 10000000))
      (incf (reception-jitter reception)
            (round (- (abs (- transit before)) (reception-jitter reception)) 16)))))

;;; Reports

(defun share-lost (reception)
  "Return how many of 65,535 packets were lost or late since this was asked last."
  (destructuring-bind (expected received late) (reception-reported reception)
    (let* ((now (list (expected reception) (reception-count reception :received)
                      (reception-count reception :late)))
           (more (- (first now) expected))
           (used (- (- (second now) received) (- (third now) late))))
      (setf (reception-reported reception) now)
      (if (plusp more)
          (floor (* 65535 (max 0 (min more (- more used)))) more)
          0))))

(defun clip (number)
  "Return NUMBER, or the greatest that a report has room for."
  (min number (1- (ash 1 32))))

(defun write-report (reception channel speaker delay)
  "Return the payload of a report to SPEAKER on CHANNEL; DELAY is in microseconds."
  (let ((header (make-array +packet-header+ :element-type '(unsigned-byte 8))))
    (write-packet-header header +report+ 0 0 channel speaker
                         (ldb (byte 32 0) (reception-highest reception)) 0 nil)
    (concatenate 'octets header
                 (packed (:u32 (clip (reception-count reception :received)))
                         (:u32 (clip (reception-lost reception)))
                         (:u32 (clip (reception-count reception :late)))
                         (:u16 (share-lost reception))
                         (:u32 (clip (reception-jitter reception)))
                         (:u32 (clip delay))))))

(defstruct report
  "What one who hears says: packets that were RECEIVED, LOST and LATE, the SHARE of the latest that were of no use,
from 0 to 1, and in microseconds the JITTER and the DELAY because of it."
  (received 0) (lost 0) (late 0) (share 0) (jitter 0) (delay 0))

(defun read-report (packet)
  "Return what PACKET reports. Signal MALFORMED-PAYLOAD if it is no report."
  (with-unpacking ((subseq (packet-payload packet) +packet-header+))
    (let ((report (make-report :received (take :u32) :lost (take :u32) :late (take :u32)
                               :share (/ (take :u16) 65535) :jitter (take :u32) :delay (take :u32))))
      (done)
      report)))
