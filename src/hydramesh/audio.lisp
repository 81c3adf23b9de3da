(defpackage #:hydramesh/audio
  (:use #:cl)
  (:import-from #:hydramesh/audio/stream)
  (:import-from #:hydramesh/audio/definition #:defaudio-stream)
  (:import-from #:hydramesh/audio/playing
                #:audio-play #:audio-play-wav #:audio-wav #:audio-speakers #:audio-figures)
  (:import-from #:hydramesh/audio/speaker #:speaker-number #:speaker-peer #:speaker-level)
  (:import-from #:hydramesh/audio/reception
                #:report-delay #:report-jitter #:report-late #:report-lost #:report-received #:report-share)
  (:export #:defaudio-stream #:audio-play #:audio-play-wav #:audio-wav #:audio-speakers #:audio-figures
           #:speaker-number #:speaker-peer #:speaker-level
           #:report-received #:report-lost #:report-late #:report-share #:report-jitter #:report-delay)
  (:documentation "Sound over DCF: streams that are declared, sent in blocks, and heard in spite of what the network
does to them. `defaudio-stream` says how."))
