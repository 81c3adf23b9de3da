(defpackage #:hydramesh/iot/files
  (:use #:cl)
  (:import-from #:hydramesh/bounded-file #:read-bounded #:unreadable-file)
  (:export #:number-in-file)
  (:documentation "Numbers that Linux, or a driver, shows in files, as those in /sys/class/hwmon."))
(in-package #:hydramesh/iot/files)

(defconstant +most+ 4096 "Bytes of such a file; the kernel's have no more.")

(defun number-in-file (path &optional (scale 1))
  "Return the number with which the file PATH begins, as \"21375\" or \"-3.5\", times SCALE, a number; NIL if there is
no such file, or it begins with none."
  (handler-case (let ((number (number-at-start (map 'string #'code-char (read-bounded path +most+)))))
                  (and number (* scale number)))
    (unreadable-file () nil)))

(defun number-at-start (text)
  "Return the decimal number with which TEXT begins after spaces, as a rational, or NIL."
  (let* ((start (or (position #\Space text :test-not #'eql) (length text)))
         (signed (and (< start (length text)) (find (char text start) "+-")))
         (whole-start (if signed (1+ start) start))
         (point (digits-end text whole-start))
         (end (if (and (< point (length text)) (char= (char text point) #\.))
                  (digits-end text (1+ point))
                  point))
         (digits (remove #\. (subseq text whole-start end))))
    (when (<= 1 (length digits) 30)
      (* (if (eql signed #\-) -1 1)
         (/ (parse-integer digits) (expt 10 (max 0 (- end point 1))))))))

(defun digits-end (text start)
  (or (position-if-not (lambda (character) (char<= #\0 character #\9)) text :start start) (length text)))
