(defpackage #:hydramesh/tests/iot/reading
  (:use #:cl)
  (:import-from #:fiveam #:is #:skip #:test)
  (:import-from #:hydramesh/domain/packing #:malformed-payload)
  (:import-from #:hydramesh/iot/files #:number-in-file)
  (:import-from #:hydramesh/iot/reading
                #:decode-reading #:encode-reading #:reading-device #:reading-number #:reading-sensor
                #:reading-start #:reading-value)
  (:import-from #:hydramesh/tests/domain/nodes #:with-vectors)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/tests/vector-file #:at #:bytes #:vectors)
  (:documentation "Readings as they travel, and as Linux has them."))
(in-package #:hydramesh/tests/iot/reading)

(fiveam:def-suite reading :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite reading)

(defun reading-in (payload)
  (handler-case (decode-reading payload)
    (malformed-payload () nil)))

(test readings-mean-what-the-file-says
  (with-vectors (file)
    (loop for case across (at file "readings")
          for payload = (bytes (at case "payload"))
          for reading = (reading-in payload)
          do (if (at case "drop")
                 (is (null reading))
                 (progn
                   (is (equal (list (at case "start") (at case "number") (at case "millionths")
                                    (at case "sensor") (at case "device"))
                              (list (reading-start reading) (reading-number reading) (reading-value reading)
                                    (reading-sensor reading) (reading-device reading))))
                   (is (equalp payload (encode-reading reading))))))))

(test a-file-has-the-number-with-which-it-begins
  (loop for (text . number) in '(("21375" . 21375) ("-3.5 degrees" . -7/2) ("  +0.25" . 1/4) ("12." . 12)
                                 (".5" . 1/2) ("" . nil) ("-" . nil) ("none" . nil) ("." . nil)
                                 ("1111111111111111111111111111111" . nil))
        do (uiop:with-temporary-file (:stream stream :pathname path)
             (write-string text stream)
             (finish-output stream)
             (is (eql number (number-in-file (uiop:native-namestring path))) "~S" text)))
  (is (null (number-in-file "/nowhere/at/all")))
  (is (null (number-in-file "/dev/zero"))))
