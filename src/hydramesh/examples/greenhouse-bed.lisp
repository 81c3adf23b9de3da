;;;; A bed of the greenhouse, see greenhouse.lisp: reports what the probe in it says, which is a number in a file.

(defsensor soil-moisture "How wet the soil of a bed is."
  (:unit "%")
  (:range 0 100)
  (:period 1 :second)
  (:device (or (uiop:getenvp "BED") "bed 1")
    (number-in-file (or (uiop:getenvp "PROBE") "/run/bed-1"))))
