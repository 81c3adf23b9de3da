(defpackage #:hydramesh/iot/limits
  (:use #:cl)
  (:export #:+devices+ #:+name+ #:+windows+ #:+thresholds+ #:+starts+ #:+span+ #:+highest+ #:+row-chunks+)
  (:documentation "The bounds of sensors. docs/operations.md says what happens at each."))
(in-package #:hydramesh/iot/limits)

(defconstant +devices+ 20000 "Devices that are known of one sensor.")
(defconstant +name+ 64 "Bytes of a sensor's or a device's name.")
(defconstant +windows+ 16 "Windows of one sensor.")
(defconstant +thresholds+ 16 "Thresholds of one sensor.")
(defconstant +starts+ 4 "Earlier starts of a device that are remembered, so that what it sent before is known as late.")
(defconstant +span+ 31622400 "Seconds of a period, a window or a silence: a year.")
(defconstant +highest+ 1000000000000 "The highest value that a range may have; the lowest is its negative.")
(defconstant +row-chunks+ 1000 "Chunks of some 24 KB that are kept of what a sensor has read, by the minute; as many by the hour.")
