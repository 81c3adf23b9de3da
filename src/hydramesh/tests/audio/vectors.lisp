(defpackage #:hydramesh/tests/audio/vectors
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:is-false #:is-true #:signals #:skip #:test)
  (:import-from #:hydramesh/audio/codec #:decode #:encode #:make-decoder #:make-encoder)
  (:import-from #:hydramesh/audio/packet
                #:+packet-header+ #:packet-block #:packet-channel #:packet-codec #:packet-last #:packet-payload
                #:packet-rate #:packet-sequence #:packet-size #:packet-speaker #:packet-time #:read-packet
                #:write-packet-header)
  (:import-from #:hydramesh/audio/reception
                #:read-report #:report-delay #:report-jitter #:report-late #:report-lost #:report-received
                #:report-share)
  (:import-from #:hydramesh/audio/samples #:make-samples #:samples)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:import-from #:hydramesh/tests/vector-file #:at #:bytes #:vectors)
  (:documentation "Packets of sound are read and written as tests/vectors/audio.json says."))
(in-package #:hydramesh/tests/audio/vectors)

(def-suite audio-vectors :in hydramesh)
(in-suite audio-vectors)

(defparameter +groups+ '("packets" "reports" "frames"))

(defun check-samples (case payload)
  (let* ((wanted (coerce (at case "samples") 'samples)) (samples (make-samples (length wanted)))
         (octets (copy-seq payload)))
    (is-true (decode (make-decoder :pcm (at case "rate") (length wanted)) payload samples))
    (is (equalp wanted samples))
    (fill octets 0 :start +packet-header+)
    (is (= (length payload) (encode (make-encoder :pcm nil nil nil) wanted octets)))
    (is (equalp payload octets))))

(test packets-mean-what-the-file-says
  (let ((file (vectors "audio.json" +groups+)))
    (if (null file)
        (skip "There is no tests/vectors/audio.json.")
        (loop for case across (at file "packets")
              for payload = (bytes (at case "payload"))
              for packet = (read-packet payload)
              do (if (at case "drop")
                     (is-false packet)
                     (flet ((field (name) (at case name)))
                       (is (equalp (mapcar #'field '("codec" "block" "rate" "channel" "speaker" "sequence" "time"))
                                   (list (packet-codec packet) (packet-block packet) (packet-rate packet)
                                         (packet-channel packet) (packet-speaker packet)
                                         (packet-sequence packet) (packet-time packet))))
                       (is (eq (eq :true (field "last")) (packet-last packet)))
                       (is (equalp (bytes (field "sound")) (subseq (packet-payload packet) +packet-header+)))
                       (is (= (packet-size packet) (floor (length (field "sound")) 2)))
                       (let ((octets (copy-seq payload)))
                         (fill octets 0 :end +packet-header+)
                         (apply #'write-packet-header octets
                                (append (mapcar #'field '("codec" "block" "rate" "channel" "speaker" "sequence" "time"))
                                        (list (eq :true (field "last")))))
                         (is (equalp payload octets)))
                       (when (field "samples")
                         (check-samples case payload))))))))

(test reports-mean-what-the-file-says
  (let ((file (vectors "audio.json" +groups+)))
    (if (null file)
        (skip "There is no tests/vectors/audio.json.")
        (loop for case across (at file "reports")
              for packet = (read-packet (bytes (at case "payload")))
              do (if (at case "drop")
                     (signals malformed-payload (read-report packet))
                     (let ((report (read-report packet)))
                       (is (equal (mapcar (lambda (name) (at case name))
                                          '("received" "lost" "late" "share" "jitter" "delay"))
                                  (list (report-received report) (report-lost report) (report-late report)
                                        (* 65535 (report-share report)) (report-jitter report)
                                        (report-delay report))))))))))
