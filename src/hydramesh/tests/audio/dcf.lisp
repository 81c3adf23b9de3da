(defpackage #:hydramesh/tests/audio/dcf
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:is-false #:is-true #:skip #:test)
  (:import-from #:hydramesh/audio #:defaudio-stream)
  (:import-from #:hydramesh/audio/dcf-frames
                #:assembly-add #:frames-of #:make-assembly #:read-frame)
  (:import-from #:hydramesh/audio/packet
                #:+packet-header+ #:packet-last #:packet-payload #:packet-speaker #:packet-time #:write-packet-header)
  (:import-from #:hydramesh/tests/audio/link #:opus-here-p)
  (:import-from #:hydramesh/tests/audio/rooms #:joined #:note #:play #:run-stream #:*heard* #:copied)
  (:import-from #:hydramesh/tests/audio/signals #:aligned-snr #:sweep)
  (:import-from #:hydramesh/tests/domain/network #:add-node #:new-network #:pass-time #:place-address)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:import-from #:hydramesh/tests/vector-file #:at #:bytes #:vectors)
  (:documentation "Sound in frames as other nodes of DCF send it."))
(in-package #:hydramesh/tests/audio/dcf)

(def-suite audio-dcf :in hydramesh)
(in-suite audio-dcf)

(defun payload (size &key (sequence 0) (time 0) last)
  (let ((octets (make-array (+ +packet-header+ size) :element-type '(unsigned-byte 8))))
    (dotimes (at size)
      (setf (aref octets (+ +packet-header+ at)) (mod (+ 7 (* 31 at) sequence) 256)))
    (write-packet-header octets 0 8 48000 5 17 sequence time last)))

(defun sound-in (octets)
  (subseq octets +packet-header+))

(defun taken (assembly frames now)
  "Return the packets that FRAMES, octets each, make."
  (loop for octets in frames
        for packet = (assembly-add assembly (read-frame octets) now)
        when packet collect packet))

(test frames-are-those-of-the-file
  (let ((file (vectors "audio.json" '("packets" "reports" "frames"))))
    (if (null file)
        (skip "There is no tests/vectors/audio.json.")
        (loop for case across (at file "frames")
              for payload = (bytes (at case "payload"))
              for frames = (map 'list #'bytes (at case "frames"))
              do (is (equalp frames (frames-of payload)))
                 (let ((packet (first (taken (make-assembly) frames 0))))
                   (is (equalp (sound-in payload) (sound-in (packet-payload packet))))
                   (is (= 17 (packet-speaker packet))))))))

(test blocks-come-out-whole-whatever-the-order-of-their-frames
  (let* ((random (sb-ext:seed-random-state 9)) (assembly (make-assembly))
         (sent (loop for number below 50 collect (payload (random 125 random) :sequence number :time number)))
         (got (loop for octets in sent
                    for now from 0 by 20000
                    append (taken assembly
                                  (sort (append (frames-of octets) (frames-of octets))
                                        (lambda (one other)
                                          (declare (ignore one other))
                                          (zerop (random 2 random))))
                                  now))))
    (is (equalp (mapcar #'sound-in sent)
                (mapcar (lambda (packet) (sound-in (packet-payload packet)))
                        (remove-duplicates got :key #'packet-time :from-end t))))))

(test a-block-without-one-of-its-frames-is-lost
  (let ((assembly (make-assembly)))
    (loop for number below 100
          do (is (null (taken assembly (butlast (frames-of (payload 60 :sequence number))) 0))))
    (is (= 1 (length (taken assembly (frames-of (payload 60 :sequence 100)) 0))))))

(test time-goes-on-in-a-pause-though-numbers-do-not
  (let* ((assembly (make-assembly))
         (times (loop for (sequence at last) in '((2046 0) (2047 1) (2048 2 t) (2049 52) (2050 53) (2060 63) (2061 100))
                      collect (packet-time (first (taken assembly
                                                         (frames-of (payload 40 :sequence sequence :last last))
                                                         (* 20000 at)))))))
    (is (equal '(0 1 2 52 53 63 100) (mapcar (lambda (time) (- time (first times))) times)))))

(test what-is-no-frame-is-none
  (let ((octets (first (frames-of (payload 60)))))
    (is-true (read-frame octets))
    (dotimes (bit (* 8 17))
      (let ((other (copy-seq octets)))
        (setf (aref other (floor bit 8)) (logxor (ash 1 (mod bit 8)) (aref other (floor bit 8))))
        (is-false (read-frame other))))
    (is-false (read-frame (subseq octets 0 16)))))

(test nodes-hear-each-other-in-frames
  (if (not (opus-here-p))
      (skip "libopus is not installed")
      (let* ((*heard* '())
             (network (new-network :seed 8 :loss 0.001 :delay 30000 :jitter 10000))
             (listener (add-node network))
             (speaker (add-node network :peers (list (place-address listener))))
             (said (sweep 48000 4)))
        (run-stream listener hall (:packets :dcf) (:codec :opus :bitrate 40000 :signal :music) (:channel 5)
          (:on block (samples) (note :block (copied samples))))
        (run-stream speaker voice (:packets :dcf) (:codec :opus :bitrate 40000 :signal :music) (:channel 5))
        (play speaker said)
        (pass-time network 6)
        (is (> (aligned-snr said (joined :block) 48000 960) 5)))))
