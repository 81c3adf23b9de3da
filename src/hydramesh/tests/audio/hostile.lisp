(defpackage #:hydramesh/tests/audio/hostile
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:is-false #:is-true #:signals #:skip #:test)
  (:import-from #:hydramesh/audio/codec #:close-decoder #:decode #:make-decoder #:block-p #:recover #:conceal)
  (:import-from #:hydramesh/audio/packet
                #:+most-data+ #:+packet-header+ #:read-packet #:write-packet-header)
  (:import-from #:hydramesh/audio/reception
                #:make-reception #:note-packet #:read-report #:reception-count #:reception-jitter #:reception-lost
                #:report-late #:report-lost #:report-received #:report-share #:write-report)
  (:import-from #:hydramesh/audio/samples #:make-samples)
  (:import-from #:hydramesh/audio/speaker
                #:close-speaker #:make-speaker #:speaker-hear #:speaker-play #:speaker-reception)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/tests/audio/link #:opus-here-p)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:documentation "What strangers send: packets that are none, floods, jumps, and bytes that are no Opus."))
(in-package #:hydramesh/tests/audio/hostile)

(def-suite audio-hostile :in hydramesh)
(in-suite audio-hostile)

(defun payload (size &key (codec 16) (sequence 0) (time sequence) (fill 0))
  (let ((octets (make-array (+ +packet-header+ size) :element-type '(unsigned-byte 8) :initial-element fill)))
    (write-packet-header octets codec 8 24000 0 1 sequence time nil)))

(test what-is-no-packet-is-none
  (is-true (read-packet (payload 0)))
  (is-true (read-packet (payload +most-data+)))
  (is-false (read-packet (payload (1+ +most-data+))))
  (is-false (read-packet (subseq (payload 0) 0 15)))
  (is-false (read-packet (make-array 0 :element-type '(unsigned-byte 8))))
  (is-false (let ((octets (payload 10)))
              (setf (aref octets 0) #xd3)
              (read-packet octets)))
  (is-false (let ((octets (payload 10)))
              (setf (aref octets 0) #x20)
              (read-packet octets))))

(defmacro with-speaker ((name codec rate count) &body body)
  `(let ((,name (make-speaker 0 1 ,codec ,rate ,count 0)))
     (unwind-protect (progn ,@body)
       (close-speaker ,name))))

(test a-flood-is-refused-and-the-rest-is-heard
  (with-speaker (speaker :pcm 24000 480)
    (let ((heard 0))
      (loop for time below 500
            do (dotimes (again 100)
                 (speaker-hear speaker (read-packet (payload 960 :sequence time)) (* 20000 time)))
               (when (speaker-play speaker (* 20000 time))
                 (incf heard)))
      (is (> heard 490))
      (is (= 500 (reception-count (speaker-reception speaker) :received)))
      (is (> (reception-count (speaker-reception speaker) :refused) 48000)))))

(test packets-of-another-size-are-broken
  (with-speaker (speaker :pcm 24000 480)
    (dolist (size '(0 1 959 961 1127))
      (is (eq :broken (speaker-hear speaker (read-packet (payload size)) 0))))
    (is (eq :begun (speaker-hear speaker (read-packet (payload 960)) 0)))))

(test jumps-neither-silence-nor-inflate-a-sound
  (with-speaker (speaker :pcm 24000 480)
    (let ((random (sb-ext:seed-random-state 6)) (heard 0))
      (loop for time below 500
            do (speaker-hear speaker (read-packet (payload 960 :sequence time)) (* 20000 time))
               (when (zerop (random 5 random))
                 (speaker-hear speaker (read-packet (payload 960 :sequence (random (ash 1 32) random)))
                               (* 20000 time)))
               (when (speaker-play speaker (* 20000 time))
                 (incf heard)))
      (is (> heard 490))
      (is (< (reception-lost (speaker-reception speaker)) 10)))))

(test bytes-that-are-no-opus-do-no-harm
  (if (not (opus-here-p))
      (skip "libopus is not installed")
      (with-speaker (speaker :opus 48000 960)
        (let ((random (sb-ext:seed-random-state 7)) (decoder (make-decoder :opus 48000 960))
              (samples (make-samples 960)))
          (loop for time below 3000
                for payload = (payload (random (1+ +most-data+) random) :codec 0 :sequence time)
                do (loop for at from +packet-header+ below (length payload)
                         do (setf (aref payload at) (random 256 random)))
                   (speaker-hear speaker (read-packet payload) (* 20000 time))
                   (speaker-play speaker (* 20000 time))
                   ;; Also what is only found to be broken when it is decoded.
                   (decode decoder payload samples)
                   (recover decoder payload samples)
                   (conceal decoder samples))
          (is-false (block-p decoder (payload 0 :codec 0) 960))
          (is (plusp (reception-count (speaker-reception speaker) :broken)))
          (close-decoder decoder)))))

(test reports-say-what-happened-and-what-is-none-is-malformed
  (let ((reception (make-reception)))
    (loop for time in '(0 1 2 4 5 3 9)
          for outcome in '(:begun :kept :kept :kept :kept :late :kept)
          do (note-packet reception (read-packet (payload 4 :sequence time)) outcome (* 20000 time) 20000))
    (note-packet reception (read-packet (payload 4 :sequence 9)) :double 0 20000)
    (is (= 7 (reception-count reception :received)))
    (is (= 3 (reception-lost reception)))
    (is (= 1 (reception-count reception :reordered)))
    (is (zerop (reception-jitter reception)))
    (let* ((octets (write-report reception 5 6 40000)) (report (read-report (read-packet octets))))
      (is (equal '(7 3 1) (list (report-received report) (report-lost report) (report-late report))))
      (is (< 0.39 (report-share report) 0.41))
      (dolist (size (list 16 20 (1- (length octets))))
        (signals malformed-payload (read-report (read-packet (subseq octets 0 size)))))
      (signals malformed-payload
        (read-report (read-packet (concatenate '(simple-array (unsigned-byte 8) (*)) octets #(0)))))
      (is (zerop (report-share (read-report (read-packet (write-report reception 5 6 0)))))))))
