(defpackage #:hydramesh/policy/local-time
  (:use #:cl)
  (:export #:local-time-in)
  (:documentation "A local time as people write it."))
(in-package #:hydramesh/policy/local-time)

(defconstant +epoch+ (encode-universal-time 0 0 0 1 1 1970 0))

(defun local-time-in (text)
  "Return the seconds from the Epoch to the local time that TEXT is, as 2026-11-30T18:30; NIL if it is none."
  (let ((form "dddd-dd-ddTdd:dd"))
    (when (and (= (length text) (length form))
               (every (lambda (character place)
                        (if (char= place #\d)
                            (char<= #\0 character #\9)
                            (or (char= character place)
                                (and (char= place #\T) (char= character #\Space)))))
                      text form))
      (flet ((part (start end)
               (parse-integer text :start start :end end)))
        (moment (part 0 4) (part 5 7) (part 8 10) (part 11 13) (part 14 16))))))

(defun moment (year month day hour minute)
  (when (and (<= 1971 year) (<= 1 month 12) (<= 1 day 31) (<= hour 23) (<= minute 59))
    (let ((time (encode-universal-time 0 minute hour day month year)))
      ;; The 31st of a month that has 30 days is the first of the next one.
      (when (= day (nth-value 3 (decode-universal-time time)))
        (- time +epoch+)))))
