(defpackage #:hydramesh/tests/audio/sounds
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:is-true #:is-false #:signals #:test)
  (:import-from #:uiop)
  (:import-from #:hydramesh/audio/concealment #:make-memory #:memory-conceal #:memory-keep)
  (:import-from #:hydramesh/audio/filters #:apply-filters #:make-filters)
  (:import-from #:hydramesh/audio/mixing
                #:make-mixer #:mixer-add #:mixer-clear #:mixer-total #:mixer-without #:scale)
  (:import-from #:hydramesh/audio/resampling #:resampled)
  (:import-from #:hydramesh/audio/samples #:level #:make-samples #:samples)
  (:import-from #:hydramesh/audio/utterance #:make-utterance #:utterance-add #:utterance-end)
  (:import-from #:hydramesh/audio/wav
                #:append-wav #:bad-wav #:close-wav #:decode-wav #:encode-wav #:open-wav #:read-wav
                #:wav-file-stream)
  (:import-from #:hydramesh/tests/audio/signals #:sweep #:tone)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:documentation "Mixing, filters, and sound in files."))
(in-package #:hydramesh/tests/audio/sounds)

(def-suite audio-sounds :in hydramesh)
(in-suite audio-sounds)

(defun same (count value)
  (fill (make-samples count) value))

(test several-sounds-are-added-and-what-is-too-loud-is-cut-off
  (let ((mixer (make-mixer 4)) (mix (make-samples 4)))
    (mixer-add mixer (same 4 1000))
    (mixer-add mixer (same 4 -300))
    (is (equalp (same 4 700) (mixer-total mixer mix)))
    (is (equalp (same 4 1000) (mixer-without mixer (same 4 -300) mix)))
    (mixer-add mixer (same 4 32767))
    (is (equalp (same 4 32767) (mixer-total mixer mix)))
    (mixer-clear mixer)
    (loop repeat 65535 do (mixer-add mixer (same 4 -32768)))
    (is (equalp (same 4 -32768) (mixer-total mixer mix)))
    (is (equalp #(1000 750 500 250) (scale (same 4 1000) 1.0 0.0)))))

(defun filtered (filters said)
  "Return SAID after FILTERS, in blocks of 480 samples, and how many of these are to be heard."
  (let ((chain (make-filters filters 48000 480)) (out (make-samples (length said))) (heard 0))
    (loop for start from 0 below (length said) by 480
          for block = (subseq said start (+ start 480))
          do (when (apply-filters chain block)
               (incf heard))
             (replace out block :start1 start))
    (values out heard)))

(defun loudness (filters hertz)
  "Return by how many decibels FILTERS change a tone once they have settled."
  (let ((said (tone 48000 48000 hertz 8000)))
    (- (level (subseq (filtered filters said) 24000)) (level (subseq said 24000)))))

(test filters-take-away-what-they-say
  (is (< (loudness '((:high-pass 300)) 30) -35))
  (is (< (abs (loudness '((:high-pass 300)) 3000)) 0.1))
  (is (< -3.2 (loudness '((:high-pass 300)) 300) -2.8))
  (is (< (loudness '((:low-pass 1000)) 10000) -35))
  (is (< -3.2 (loudness '((:low-pass 1000)) 1000) -2.8))
  (is (< 5.9 (loudness '((:gain 6)) 500) 6.1))
  (is (< -12.1 (loudness '((:gain -6) (:gain -6)) 500) -11.9)))

(test what-is-amplified-too-much-is-cut-off
  (let ((out (filtered '((:gain 40)) (tone 48000 960 440 20000))))
    (is (= 32767 (reduce #'max out)))
    (is (= -32768 (reduce #'min out)))))

(test a-gate-is-open-while-somebody-speaks-and-a-little-longer
  (multiple-value-bind (out heard)
      (filtered '((:gate -50)) (concatenate 'samples (tone 48000 24000 440 20) (tone 48000 24000 440 8000)
                                            (tone 48000 48000 440 20)))
    (is (= 80 heard)) ; half a second of tone and 300 ms, in blocks of 10 ms
    (is (zerop (reduce #'max (subseq out 0 24000))))
    (is (= 8000 (reduce #'max out)))
    (is (zerop (reduce #'max (subseq out 64800))))))

(test another-rate-changes-no-tone
  (loop for (from to) in '((44100 48000) (48000 16000) (8000 48000) (16000 44100))
        for out = (resampled (tone from from 1000 10000) from to)
        for middle = (floor to 4)
        do (is (= to (length out)))
           (let ((wanted (tone to to 1000 10000)))
             (is (< (loop for at from middle below (* 3 middle)
                          maximize (abs (- (aref out at) (aref wanted at))))
                    40)
                 "from ~D to ~D" from to))))

(test what-a-lower-rate-cannot-hold-is-left-out
  (let ((out (resampled (tone 48000 48000 10000 10000) 48000 16000)))
    (is (< (level (subseq out 4000 12000)) -60))))

(defun with-file (function)
  (uiop:with-temporary-file (:pathname path :type "wav")
    (funcall function (namestring path))))

(test sound-is-the-same-after-a-file
  (with-file (lambda (path)
               (let ((said (sweep 24000 1)) (file (open-wav path 24000)))
                 (append-wav file (subseq said 0 10000))
                 (append-wav file (subseq said 10000))
                 (finish-output (wav-file-stream file))
                 (is (equalp said (read-wav path 24000)))
                 (close-wav file)
                 (close-wav file)
                 (is (equalp said (read-wav path 24000)))
                 (is (= 12000 (length (read-wav path 12000))))
                 (is (equalp (encode-wav said 24000) (uiop:with-input-file (in path :element-type '(unsigned-byte 8))
                                                       (let ((all (make-array (file-length in)
                                                                              :element-type '(unsigned-byte 8))))
                                                         (read-sequence all in)
                                                         all))))))))

(defun little (number size)
  (loop for index below size collect (ldb (byte 8 (* 8 index)) number)))

(defun wav (data &key (format 1) (channels 1) (rate 8000) (bits 16) (length (length data)) (before '()) extra)
  "Return the octets of a WAV file with DATA, and chunks BEFORE it."
  (flet ((text (text) (map 'list #'char-code text)))
    (coerce (append (text "RIFF") (little 0 4) (text "WAVE") before
                    (text "fmt ") (little (+ 16 (length extra)) 4) (little format 2) (little channels 2)
                    (little rate 4) (little 0 4) (little 0 2) (little bits 2) extra
                    (text "data") (little length 4) data)
            '(simple-array (unsigned-byte 8) (*)))))

(test other-kinds-of-samples-become-16-bits
  (is (equalp #(0 32512 -32768) (decode-wav (wav '(128 255 0) :bits 8) 8000)))
  (is (equalp #(1 -2) (decode-wav (wav '(99 1 0 99 254 255) :bits 24) 8000)))
  (is (equalp #(1 -2) (decode-wav (wav '(9 9 1 0 9 9 254 255) :bits 32) 8000)))
  (flet ((float-octets (value) (little (ldb (byte 32 0) (sb-kernel:single-float-bits value)) 4)))
    (is (equalp #(16384 -32768 32767 0 0)
                (decode-wav (wav (append (float-octets 0.5) (float-octets -1.0) (float-octets 7.0)
                                         (little #x7fc00000 4) (little #x7f800000 4))
                                 :format 3 :bits 32)
                            8000))))
  (is (equalp #(150) (decode-wav (wav (append (little 100 2) (little 200 2)) :channels 2) 8000)))
  (is (equalp #(5) (decode-wav (wav (little 5 2) :format #xfffe
                                                 :extra (append (little 22 2) (little 0 6) (little 1 2) (little 0 14)))
                               8000))))

(test files-that-are-none-are-refused-and-what-they-say-is-not-believed
  (loop for octets in (list (wav '()) (wav '(1 0) :length 4000000000) (wav '(1 0 2) :bits 16))
        do (is (<= (length (decode-wav octets 8000)) 1)))
  (loop for octets in (list #() #(82 73 70 70) (wav '() :bits 12) (wav '() :format 85) (wav '() :channels 0)
                            (wav '() :channels 9) (wav '() :rate 0) (wav '() :rate 4000000000)
                            (subseq (wav '()) 0 36) (subseq (wav '()) 0 20)
                            (wav '() :before (append (map 'list #'char-code "LIST") (little #xffffffff 4)))
                            (wav '() :before (loop repeat 300
                                                   append (append (map 'list #'char-code "junk") (little 0 4)))))
        do (signals bad-wav (decode-wav (coerce octets '(simple-array (unsigned-byte 8) (*))) 8000)))
  (signals bad-wav (read-wav "/dev/zero" 8000))
  (signals bad-wav (read-wav "/nowhere/at-all.wav" 8000)))

(test noise-for-a-file-harms-nothing
  (let ((random (sb-ext:seed-random-state 4)))
    (loop repeat 2000
          for octets = (copy-seq (wav (loop repeat 40 collect 7)))
          do (loop repeat (1+ (random 8 random))
                   do (setf (aref octets (random (length octets) random)) (random 256 random)))
             (handler-case (is (<= (length (decode-wav octets 48000)) 3000))
               (bad-wav () (is-true t))))))

(defun steepest (samples)
  "Return the greatest difference of two samples in a row."
  (loop for at from 1 below (length samples)
        maximize (abs (- (aref samples at) (aref samples (1- at))))))

(test what-is-made-up-has-no-clicks
  (let* ((said (tone 24000 9600 430 12000)) (memory (make-memory 24000 480)) (heard '()))
    (loop for start from 0 below (length said) by 480
          for block = (subseq said start (+ start 480))
          do (if (member start '(2400 2880 4800))
                 (memory-conceal memory block)
                 (memory-keep memory block))
             (push block heard))
    (let ((heard (apply #'concatenate 'samples (reverse heard))))
      (is (< (steepest heard) (* 1.3 (steepest said))))
      (is (> (level (subseq heard 2400 3360)) (- (level said) 6))))))

(test what-is-said-ends-with-a-pause
  (let ((utterance (make-utterance 8000)) (said '()))
    (flet ((blocks (count amplitude)
             (loop repeat count
                   for block = (tone 8000 160 400 amplitude)
                   do (let ((words (utterance-add utterance block (level block))))
                        (when words (push (length words) said))))))
      (blocks 100 0)
      (blocks 2 9000)                   ; too short for a word
      (blocks 50 0)
      (is (null said))
      (blocks 25 9000)
      (blocks 20 0)                     ; a pause within it
      (blocks 25 9000)
      (blocks 100 0)
      (is (equal (list (* 160 (+ 1 25 20 25 30))) said))
      (blocks 4000 9000)                ; without an end
      (is (= (* 30 8000) (first said)))
      (is-true (utterance-end utterance))
      (is-false (utterance-end utterance)))))
