(defpackage #:hydramesh/audio/playing
  (:use #:cl)
  (:import-from #:hydramesh/audio/definition #:audio-stream-rate)
  (:import-from #:hydramesh/audio/listening #:all-speakers)
  (:import-from #:hydramesh/audio/reception
                #:reception-count #:reception-jitter #:reception-lost)
  (:import-from #:hydramesh/audio/running
                #:running-definition #:running-ended #:running-named #:running-node #:running-talker)
  (:import-from #:hydramesh/audio/samples #:samples)
  (:import-from #:hydramesh/audio/speaker #:speaker-delay #:speaker-reception)
  (:import-from #:hydramesh/audio/talker #:talker-add)
  (:import-from #:hydramesh/audio/wav #:encode-wav #:read-wav)
  (:import-from #:hydramesh/domain/node #:node-now)
  (:export #:audio-play #:audio-play-wav #:audio-wav #:audio-speakers #:audio-figures)
  (:documentation "What programs do with streams from their handlers. STREAM names one; without it, it is the one whose
handler is running, or the only one there is."))
(in-package #:hydramesh/audio/playing)

(defun audio-play (samples &key stream)
  "Say SAMPLES, 16 bits at the stream's rate, after what waits to be said. Return whether there is room for them."
  (let ((running (running-named stream)))
    (when (talker-add (running-talker running) (coerce samples 'samples))
      (setf (running-ended running) nil)
      t)))

(defun audio-play-wav (path &key stream)
  "Say what is in the WAV file PATH. Return whether there is room. Signal BAD-WAV."
  (audio-play (read-wav path (audio-stream-rate (running-definition (running-named stream)))) :stream stream))

(defun audio-wav (samples &key stream)
  "Return a WAV file with SAMPLES, at the stream's rate, as octets: what `transcribe` takes."
  (encode-wav samples (audio-stream-rate (running-definition (running-named stream)))))

(defun audio-speakers (&key stream)
  "Return who are heard, a list."
  (all-speakers (running-named stream)))

(defun audio-figures (speaker &key stream)
  "Return what became of SPEAKER's packets: a plist of :RECEIVED, :LOST, :LATE, :DOUBLE, :REORDERED, :BROKEN and
:REFUSED packets, :RECOVERED and :CONCEALED blocks, :JITTER and :DELAY in microseconds."
  (let ((reception (speaker-reception speaker)))
    (flet ((number (name) (reception-count reception name)))
      (list :received (number :received) :lost (reception-lost reception) :late (number :late)
            :double (number :double) :reordered (number :reordered)
            :broken (number :broken) :refused (number :refused)
            :recovered (number :recovered) :concealed (+ (number :lost) (number :wait))
            :jitter (reception-jitter reception)
            :delay (speaker-delay speaker (node-now (running-node (running-named stream))))))))
