;;;; Somebody in the room of room.lisp, whose microphone is the WAV file that MICROPHONE names. EARS, if it is set,
;;;; names a file for what they hear.

(defaudio-stream microphone
  (:codec :opus :bitrate 32000 :signal :voice)
  (:filters (:high-pass 80) (:gate -50))
  (:from (or (uiop:getenvp "MICROPHONE") (error "set MICROPHONE to a WAV file")))
  (:to (uiop:getenvp "EARS"))
  (:on end ()
    (log-info "all was said")))
