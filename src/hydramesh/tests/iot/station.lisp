(defpackage #:hydramesh/tests/iot/station
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/iot/device #:device-name)
  (:import-from #:hydramesh/iot/limits #:+devices+)
  (:import-from #:hydramesh/iot/reading #:make-reading)
  (:import-from #:hydramesh/iot/sensor #:+millionths+ #:make-sensor)
  (:import-from #:hydramesh/iot/station
                #:happening-device #:happening-event #:happening-value #:make-station #:station-count
                #:station-pass #:station-take)
  (:import-from #:hydramesh/iot/thresholds #:make-threshold)
  (:import-from #:hydramesh/iot/windows #:make-window)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "What a station makes of readings and of time."))
(in-package #:hydramesh/tests/iot/station)

(fiveam:def-suite station :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite station)

(defun thermometer ()
  (make-sensor :name "air" :unit "°C" :low -40 :high 85 :period 10 :silence 30
               :windows (list (make-window :name :minute :seconds 60 :measure :mean)
                              (make-window :name :often :seconds 60 :measure :count))
               :thresholds (list (make-threshold :name :hot :direction :above :limit 30 :release 28)
                                 (make-threshold :name :frost :direction :below :limit 0 :release 0)
                                 (make-threshold :name :warm :direction :above :limit 20 :release 20
                                                 :source :minute))))

(defun take (station value &key (number 1) (start 1) (at 0) (device "roof"))
  "Let DEVICE report VALUE AT so many seconds; return the events as (event value)."
  (said (station-take station (make-reading :sensor "air" :device device :start start :number number
                                            :value (round (* +millionths+ value)))
                      (seconds at) (seconds at))))

(defun pass (station at)
  (said (station-pass station (seconds at) (seconds at))))

(defun said (happenings)
  (loop for happening in happenings
        collect (list (happening-event happening) (happening-value happening))))

(defun take-all (station values)
  "Let a device report VALUES, and return the names of the thresholds' events."
  (loop for value in values
        for number from 1
        append (loop for (event) in (take station value :number number)
                     unless (eq event :reading)
                       collect event)))

(test a-value-that-trembles-about-a-limit-crosses-it-once
  (is (equal '(:hot (:over :hot) :hot)
             (take-all (make-station (thermometer)) '(29 30 30.1 29.9 30.1 28.1 31 28 27 29 30.5))))
  (is (equal '(:frost (:over :frost) :frost)
             (take-all (make-station (thermometer)) '(1 0 -0.1 -3 -0.1 0 0 -1)))))

(test of-any-values-crossings-and-their-ends-take-turns
  (loop with random = (sb-ext:seed-random-state 1)
        repeat 100
        do (let ((events (take-all (make-station (thermometer))
                                   (loop repeat 100 collect (- (random 60 random) 20)))))
             (loop for name in '(:hot :frost)
                   for own = (remove-if-not (lambda (event) (or (eq event name) (equal event (list :over name))))
                                            events)
                   do (is (loop for event in own
                                for even = t then (not even)
                                always (eq even (eq event name))))))))

(test what-a-sensor-cannot-have-read-is-refused-and-counted-and-changes-nothing
  (let ((station (make-station (thermometer))))
    (take station 29 :number 1)
    (is (null (take station 85.1 :number 2)))
    (is (null (take station -41 :number 3)))
    (is (= 2 (station-count station :out-of-range)))
    (is (equal '((:reading 30)) (take station 30 :number 2)))
    (is (= 2 (station-count station :taken)))))

(test a-device-of-which-only-impossible-readings-come-is-silent
  (let ((station (make-station (thermometer))))
    (take station 20 :at 0)
    (loop for at from 10 to 30 by 10 do (take station 99 :number at :at at))
    (is (member '(:silent 20) (pass station 31) :test #'equal))))

(test a-reading-counts-once-however-often-and-late-it-comes
  (let ((station (make-station (thermometer))))
    (take station 20 :number 5)
    (is (null (take station 31 :number 5)))
    (is (null (take station 31 :number 4)))
    (is (= 2 (station-count station :late)))
    ;; It was switched off and on, and counts from the beginning.
    (is (equal '((:reading 21)) (take station 21 :start 2 :number 1)))
    ;; What its old self had sent again comes late, too.
    (is (null (take station 31 :start 1 :number 5)))
    (is (= 3 (station-count station :late)))))

(test a-reading-with-anothers-name-does-not-make-a-devices-own-late
  (let ((station (make-station (thermometer))))
    (take station 20 :start 1 :number 5)
    (take station 25 :start 9 :number 4000000000)
    (is (equal '((:reading 21)) (take station 21 :start 1 :number 6)))
    (is (null (take station 22 :start 1 :number 6)))
    (is (null (take station 25 :start 9 :number 4000000000)))
    (is (equal '((:reading 22)) (take station 22 :start 1 :number 7)))))

(test who-is-silent-is-told-of-once-and-when-it-is-heard-again
  (let ((station (make-station (thermometer))))
    (take station 20 :at 1000)
    (is (null (remove-if #'consp (pass station 1030) :key #'first)))
    (is (equal '((:silent 20)) (remove-if #'consp (pass station 1031) :key #'first)))
    (is (null (pass station 1032)))
    (is (equal '((:heard 22) (:reading 22)) (remove-if #'consp (take station 22 :number 2 :at 1100) :key #'first)))
    (is (equal '((:silent 22)) (remove-if #'consp (pass station 1131) :key #'first)))))

(test a-window-ends-at-a-whole-multiple-and-its-thresholds-know-its-measure
  (let ((station (make-station (thermometer))))
    (take station 18 :number 1 :at 61)
    (take station 25 :number 2 :at 100)
    (is (null (remove :silent (pass station 119) :key #'first)))
    (is (equal '(((:window :minute) 43/2) ((:window :often) 2) (:warm 43/2))
               (sort (pass station 120) #'string< :key #'prin1-to-string)))
    ;; Nothing was read in the next one, so it says nothing.
    (is (null (remove :silent (pass station 180) :key #'first)))
    (take station 10 :number 3 :at 190)
    (is (member '((:over :warm) 10) (pass station 240) :test #'equal))))

(test a-clock-that-is-set-back-a-little-ends-no-window
  (let ((station (make-station (thermometer))))
    (take station 18 :number 1 :at 600)
    (is (null (said (station-pass station (seconds 601) (seconds 570)))))
    (is (= 2 (length (said (station-pass station (seconds 602) (seconds 660))))))))

(test a-clock-that-was-far-ahead-keeps-no-window-open
  (let ((station (make-station (thermometer))))
    (take station 18 :number 1 :at 100000000)
    (is (= 2 (length (said (station-pass station (seconds 100000001) (seconds 600))))))
    (said (station-take station (make-reading :sensor "air" :device "roof" :start 1 :number 2 :value 0)
                        (seconds 100000002) (seconds 601)))
    (is (= 2 (length (said (station-pass station (seconds 100000003) (seconds 660))))))))

(test devices-beyond-the-bound-are-refused-and-counted
  (let ((station (make-station (thermometer))))
    (dotimes (index (+ 3 +devices+))
      (take station 20 :device (princ-to-string index)))
    (is (= 3 (station-count station :too-many-devices)))
    (is (= +devices+ (station-count station :taken)))))

(test devices-that-are-silent-make-room-and-no-others
  (let ((station (make-station (thermometer))))
    (dotimes (index +devices+)
      (take station 20 :device (princ-to-string index)))
    (take station 20 :number 2 :at 100 :device "0")
    (pass station 100)
    (is (null (remove :silent (pass station 101) :key #'first)) "nobody needs room")
    (is (null (take station 20 :at 101 :device "new")))
    (is (find '(:forgotten nil) (pass station 102) :test #'equal))
    (is (= 1 (length (take station 20 :at 103 :device "new"))))
    (is (null (take station 20 :number 2 :at 103 :device "0")) "it is known, and has said so before")))
