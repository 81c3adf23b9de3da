(defpackage #:hydramesh/audio/speaker
  (:use #:cl)
  (:import-from #:hydramesh/address #:address)
  (:import-from #:hydramesh/audio/codec
                #:make-decoder #:decode #:conceal #:recover #:close-decoder #:block-p)
  (:import-from #:hydramesh/audio/dcf-frames #:assembly #:make-assembly)
  (:import-from #:hydramesh/audio/jitter-buffer
                #:jitter-buffer #:make-jitter-buffer #:buffer-put #:buffer-take #:buffer-delay)
  (:import-from #:hydramesh/audio/limits #:+burst+)
  (:import-from #:hydramesh/audio/packet #:packet-payload)
  (:import-from #:hydramesh/audio/reception #:reception #:make-reception #:note-packet #:note-block)
  (:import-from #:hydramesh/audio/samples #:samples #:make-samples #:level #:crossfade)
  (:import-from #:hydramesh/audio/talker #:talker #:close-talker)
  (:import-from #:hydramesh/audio/utterance #:utterance)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:speaker #:make-speaker #:close-speaker #:speaker-hear #:speaker-play
           #:speaker-peer #:speaker-number #:speaker-block #:speaker-sounds #:speaker-level
           #:speaker-reception #:speaker-delay #:speaker-heard-at #:speaker-utterance #:speaker-talker
           #:speaker-assembly)
  (:documentation "One who is heard: their packets become blocks of sound, one for each length of a block."))
(in-package #:hydramesh/audio/speaker)

(defstruct (speaker (:constructor %make-speaker))
  "Who is heard under NUMBER from the address PEER. BLOCK is what was heard last, if that SOUNDS, with LEVEL in
decibels; JOINED another to work in. HEARD-AT is when a packet came last. ALLOWED packets may come at once, as
of ALLOWED-AT. UTTERANCE is what they are saying, if anybody wants that. TALKER sends them what they hear, if that
is their own. ASSEMBLY has what came of blocks in frames of DCF's."
  (peer 0 :type address)
  (number 0 :type (unsigned-byte 16))
  (length 0 :type microseconds)
  (buffer nil :type jitter-buffer)
  (decoder nil)
  (reception (make-reception) :type reception)
  (block (make-samples 0) :type samples)
  (joined (make-samples 0) :type samples)
  (sounds nil :type boolean)
  (level -96.0 :type single-float)
  (heard-at 0 :type microseconds)
  (allowed +burst+ :type real)
  (allowed-at 0 :type microseconds)
  (utterance nil :type (or null utterance))
  (talker nil :type (or null talker))
  (assembly (make-assembly) :type assembly))

(defun make-speaker (peer number codec rate count now &key utterance talker)
  "Return one whose packets hold blocks of COUNT samples, RATE a second, coded as CODEC. It must be closed."
  (let ((length (round (* 1000000 count) rate)))
    (%make-speaker :peer peer :number number :length length
                   :buffer (make-jitter-buffer length)
                   :decoder (make-decoder codec rate count)
                   :block (make-samples count) :joined (make-samples count)
                   :heard-at now :allowed-at now :utterance utterance :talker talker)))

(defun close-speaker (speaker)
  "Free what SPEAKER has; nothing happens the second time."
  (when (speaker-decoder speaker)
    (close-decoder (shiftf (speaker-decoder speaker) nil)))
  (when (speaker-talker speaker)
    (close-talker (speaker-talker speaker))))

(defun allow (speaker now)
  "Return whether another packet may come NOW: two for each block in the long run."
  (let ((allowed (min +burst+
                      (+ (speaker-allowed speaker)
                         (/ (* 2 (max 0 (- now (speaker-allowed-at speaker)))) (speaker-length speaker))))))
    (setf (speaker-allowed-at speaker) now
          (speaker-allowed speaker) (if (>= allowed 1) (1- allowed) allowed))
    (>= allowed 1)))

(defun speaker-hear (speaker packet now)
  "Take PACKET of SPEAKER, which has come NOW. Return what became of it, as `buffer-put`; or :REFUSED because there
are too many, or :BROKEN."
  (let ((reception (speaker-reception speaker)))
    (cond ((not (allow speaker now))
           (note-block reception :refused)
           :refused)
          ((not (block-p (speaker-decoder speaker) (packet-payload packet) (length (speaker-block speaker))))
           (note-block reception :broken)
           :broken)
          (t
           (let ((outcome (buffer-put (speaker-buffer speaker) packet now)))
             (note-packet reception packet outcome now (speaker-length speaker))
             (unless (eq outcome :strange)
               (setf (speaker-heard-at speaker) now))
             outcome)))))

(defun speaker-delay (speaker now)
  "Return for how many microseconds blocks of SPEAKER wait NOW because others come later."
  (buffer-delay (speaker-buffer speaker) now))

;;; What is heard

(defun fill-block (speaker packet samples)
  "Fill SAMPLES with PACKET's sound, or with what may have been in it."
  (unless (decode (speaker-decoder speaker) (packet-payload packet) samples)
    (note-block (speaker-reception speaker) :broken)
    (conceal (speaker-decoder speaker) samples)))

(defun fill-gap (speaker next)
  "Fill SPEAKER's block with what is missing; the packet NEXT after it may tell. Return how that was done."
  (let ((decoder (speaker-decoder speaker)) (samples (speaker-block speaker)))
    (cond ((and next (recover decoder (packet-payload next) samples))
           :recovered)
          (t
           (conceal decoder samples)
           :lost))))

(defun speaker-play (speaker now)
  "Have SPEAKER's block be what is heard of them from NOW on. Return whether it sounds. To be called once for
each length of a block."
  (multiple-value-bind (kind packet second) (buffer-take (speaker-buffer speaker) now)
    (note-block (speaker-reception speaker)
                (ecase kind
                  (:pause kind)
                  (:block (fill-block speaker packet (speaker-block speaker))
                   kind)
                  (:join (fill-block speaker packet (speaker-joined speaker))
                   (fill-block speaker second (speaker-block speaker))
                   (crossfade (speaker-joined speaker) (speaker-block speaker))
                   kind)
                  (:lost (fill-gap speaker packet))
                  (:wait (conceal (speaker-decoder speaker) (speaker-block speaker))
                   kind)))
    (setf (speaker-sounds speaker) (not (eq kind :pause))
          (speaker-level speaker) (if (eq kind :pause) -96.0 (level (speaker-block speaker))))
    (speaker-sounds speaker)))
