(defpackage #:hydramesh/audio/talker
  (:use #:cl)
  (:import-from #:hydramesh/audio/codec
                #:close-encoder #:codec-number #:encode #:expect-loss #:make-encoder)
  (:import-from #:hydramesh/audio/filters #:apply-filters #:filters #:make-filters)
  (:import-from #:hydramesh/audio/limits #:+queued+)
  (:import-from #:hydramesh/audio/packet #:+most-data+ #:+packet-header+ #:write-packet-header)
  (:import-from #:hydramesh/audio/samples #:samples #:make-samples)
  (:import-from #:hydramesh/events #:octets)
  (:export #:talker #:make-talker #:close-talker #:talker-add #:talker-idle-p
           #:talker-take #:talker-payload #:talker-next #:talker-losses)
  (:documentation "One sound that is sent: what is to be said becomes packets, one for each block that is not silent."))
(in-package #:hydramesh/audio/talker)

(defconstant +sign-of-life+ 1000 "Milliseconds between two packets in a pause.")
(defconstant +most-loss+ 30 "Percent of losses for which an encoder prepares.")

(defstruct (talker (:constructor %make-talker))
  "A sound sent as SPEAKER on CHANNEL. QUEUE has what waits to be said, samples, of which the first AT have been, and
QUEUED are left in all. SOUNDING says whether the last packet was heard and is to be followed by others, and QUIET
how many blocks have been silent. The encoder prepares for LOSS percent of losses."
  (encoder nil)
  (filters nil :type filters)
  (codec 0 :type (unsigned-byte 8))
  (rate 0 :type (unsigned-byte 32))
  (steps 0 :type (unsigned-byte 8))
  (channel 0 :type (unsigned-byte 16))
  (speaker 0 :type (unsigned-byte 16))
  (block (make-samples 0) :type samples)
  (octets nil :type octets)
  (queue '() :type list)
  (at 0 :type fixnum)
  (queued 0 :type unsigned-byte)
  (sequence 0 :type (unsigned-byte 32))
  (sounding nil :type boolean)
  (quiet -1 :type fixnum)
  (loss 0 :type (integer 0 100)))

(defun make-talker (codec rate count signal bitrate filters channel speaker sequence &optional (most +most-data+))
  "Return one whose packets begin with the number SEQUENCE and hold COUNT samples, RATE a second, in MOST bytes or
fewer. CODEC, SIGNAL and BITRATE are as for `make-encoder`, FILTERS as for `make-filters`. It must be closed. Signal
OPUS-MISSING."
  (%make-talker :encoder (make-encoder codec rate signal bitrate)
                :filters (make-filters filters rate count)
                :codec (codec-number codec) :rate rate :steps (round (* 400 count) rate)
                :octets (make-array (+ +packet-header+ most) :element-type '(unsigned-byte 8))
                :channel channel :speaker speaker :block (make-samples count) :sequence sequence))

(defun close-talker (talker)
  "Free what TALKER has; nothing happens the second time."
  (when (talker-encoder talker)
    (close-encoder (shiftf (talker-encoder talker) nil))))

(defun talker-add (talker samples)
  "Have TALKER say SAMPLES after what waits. Return whether there is room for them."
  (when (<= (+ (talker-queued talker) (length samples)) (* +queued+ (talker-rate talker)))
    (setf (talker-queue talker) (append (talker-queue talker) (list samples)))
    (incf (talker-queued talker) (length samples))
    t))

(defun talker-idle-p (talker)
  "Return whether nothing waits to be said."
  (null (talker-queue talker)))

(defun talker-take (talker)
  "Return TALKER's block, filled with what waits to be said and silence after it."
  (let ((block (talker-block talker)) (filled 0))
    (loop while (and (talker-queue talker) (< filled (length block)))
          do (let* ((samples (first (talker-queue talker)))
                    (count (min (- (length block) filled) (- (length samples) (talker-at talker)))))
               (replace block (the samples samples) :start1 filled :start2 (talker-at talker)
                                                    :end2 (+ (talker-at talker) count))
               (incf filled count)
               (incf (talker-at talker) count)
               (decf (talker-queued talker) count)
               (when (= (talker-at talker) (length samples))
                 (pop (talker-queue talker))
                 (setf (talker-at talker) 0))))
    (fill block 0 :start filled)))

(defun talker-losses (talker share)
  "Know that SHARE of the packets, from 0 to 1, were of no use to one who hears them."
  (let* ((percent (min +most-loss+ (ceiling (* 100 share))))
         ;; What is lost makes it prepare at once; that all is well has to last.
         (expected (if (> percent (talker-loss talker))
                       percent
                       (floor (+ percent (* 3 (talker-loss talker))) 4))))
    (unless (= expected (talker-loss talker))
      (setf (talker-loss talker) expected)
      (expect-loss (talker-encoder talker) expected))))

(defun sign-of-life-p (talker)
  "Return whether a packet is due although all is silent."
  (zerop (mod (talker-quiet talker)
              (ceiling (* +sign-of-life+ (talker-rate talker)) (* 1000 (length (talker-block talker)))))))

(defun talker-next (talker time)
  "Return the payload of the packet with the block of TIME, from what waits to be said; NIL if there is none to send."
  (talker-payload talker (talker-take talker) time))

(defun talker-payload (talker samples time)
  "Return the payload of the packet with SAMPLES, a block, as that of TIME; NIL if nothing is to be sent of them.
They are filtered in place. A silent block is sent once, so that the others know that there is a pause, and again
from time to time, so that they know that somebody is there."
  (let ((heard (and (apply-filters (talker-filters talker) samples)
                    (find 0 (the samples samples) :test-not #'eql))))
    (cond (heard (setf (talker-quiet talker) 0))
          ((talker-sounding talker) (setf (talker-quiet talker) 0))
          (t (incf (talker-quiet talker))))
    (when (or heard (talker-sounding talker) (sign-of-life-p talker))
      (setf (talker-sounding talker) (and heard t))
      (packet-of talker samples time (not heard)))))

(defun packet-of (talker samples time last)
  "Return the payload of TALKER's next packet, with SAMPLES as the block of TIME."
  (let* ((octets (talker-octets talker))
         (end (encode (talker-encoder talker) samples octets)))
    (write-packet-header octets (talker-codec talker) (talker-steps talker) (talker-rate talker)
                         (talker-channel talker) (talker-speaker talker)
                         (talker-sequence talker) (ldb (byte 32 0) time) last)
    (setf (talker-sequence talker) (ldb (byte 32 0) (1+ (talker-sequence talker))))
    (subseq octets 0 end)))
