(defpackage #:hydramesh/storage/plot
  (:use #:cl)
  (:export #:sparkline #:plot-lines #:short-number)
  (:documentation "Numbers as a picture of characters, for a terminal that shows blocks or for one that does
not."))
(in-package #:hydramesh/storage/plot)

(defparameter +blocks+ " ▁▂▃▄▅▆▇█")

(defun short-number (number)
  "Return NUMBER in a few digits, as \"0.003\", \"1.5k\" or \"12M\"."
  (if (< number 1000)
      (if (or (integerp number) (>= number 100))
          (format nil "~D" (round number))
          (format nil "~,VF" (if (< number 1) 3 1) number))
      (loop for unit across "kMGTPE"
            for scaled = (/ number 1000) then (/ scaled 1000)
            when (or (< scaled 999.5) (char= unit #\E))
              return (if (< scaled 9.95)
                         (format nil "~,1F~A" scaled unit)
                         (format nil "~D~A" (round scaled) unit)))))

(defun eighths (number highest height)
  "Return how many eighths of a line NUMBER takes, where HIGHEST takes HEIGHT lines."
  (cond ((null number) 0)
        ((plusp number) (max 1 (round (* number height 8) highest)))
        (t 0)))

(defun highest (values &optional (lowest 0))
  (let ((highest (reduce #'max (remove nil values) :initial-value lowest)))
    (if (> highest lowest) highest (1+ lowest))))

(defun sparkline (values blocks-p)
  "Return a line with a character for each of VALUES, numbers or NIL."
  (let ((highest (highest values)))
    (map 'string (lambda (number)
                   (cond ((null number) #\Space)
                         (blocks-p (char +blocks+ (max 1 (eighths number highest 1))))
                         (t (char "_.:-=+*#@" (eighths number highest 1)))))
         values)))

(defun plot-lines (values height blocks-p &key (lowest 0))
  "Return HEIGHT lines with a column for each of VALUES, numbers or NIL; the first has the highest, and a column
of LOWEST or less has no height."
  (let ((highest (highest values lowest)))
    (loop for line from (1- height) downto 0
          collect (format nil "~5@A ~A~A"
                          (if (= line (1- height)) (short-number highest) "")
                          (if blocks-p "│" "|")
                          (map 'string (lambda (number)
                                         (let ((part (max 0 (min 8 (- (eighths (and number (- number lowest))
                                                                               (- highest lowest) height)
                                                                      (* 8 line))))))
                                           (cond (blocks-p (char +blocks+ part))
                                                 ((>= part 4) #\#)
                                                 ;; What is more than nothing is to be seen.
                                                 ((and (plusp part) (zerop line)) #\.)
                                                 (t #\Space))))
                               values)))))
