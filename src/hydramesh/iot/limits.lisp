(defpackage #:hydramesh/iot/limits
  (:use #:cl)
  (:export #:+devices+ #:+name+ #:+windows+ #:+thresholds+ #:+starts+ #:+longest+ #:+highest+
           #:+millionths+)
  (:documentation "The bounds of a station. docs/operations.md says what happens at each."))
(in-package #:hydramesh/iot/limits)

(defconstant +devices+ 20000 "Devices that a station knows, of all sensors together.")
(defconstant +name+ 64 "Bytes of a sensor's or a device's name.")
(defconstant +windows+ 16 "Windows of one sensor.")
(defconstant +thresholds+ 16 "Thresholds of one sensor.")
(defconstant +starts+ 4 "Starts of a device that are remembered, so that what one sent late is known as late.")
(defconstant +longest+ (* 366 24 3600) "Seconds of a period, a window or a silence.")
(defconstant +millionths+ 1000000 "In which values travel and are kept, so that they are whole numbers.")
(defconstant +highest+ (expt 10 12) "The highest value that a range may have; the lowest is its negative.")
