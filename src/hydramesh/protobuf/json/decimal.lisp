(defpackage #:hydramesh/protobuf/json/decimal
  (:use #:cl)
  (:export #:decimal-of #:nearest-double #:double-in #:single-of)
  (:documentation "Floating point numbers as decimal ones and back, as Python has them.

A decimal number is a whole number and the power of ten it is to be multiplied by. What it costs to
make one is bounded, whatever the number is."))
(in-package #:hydramesh/protobuf/json/decimal)

;;; Powers of ten

(defparameter *exact-powers*
  (coerce (loop for power from 0 to 22 collect (coerce (expt 10 power) 'double-float))
          '(simple-array double-float (*)))
  "Those that are doubles without rounding.")

(declaim (type (simple-array double-float (*)) *exact-powers*))

(defun rounded (numerator denominator)
  "Return the whole number nearest to a quotient, of two the even one."
  (multiple-value-bind (quotient rest) (floor numerator denominator)
    (let ((twice (* 2 rest)))
      (if (or (> twice denominator) (and (= twice denominator) (oddp quotient)))
          (1+ quotient)
          quotient))))

;;; From decimal

(defun nearest-double (whole exponent)
  "Return the double nearest to WHOLE times ten to the power of EXPONENT, or :INFINITY.
WHOLE is not negative; neither has more than some thousand digits, which is for the caller to see to."
  (cond ((zerop whole) 0d0)
        ((and (< whole (ash 1 53)) (<= -22 exponent 22))
         (let ((double (coerce whole 'double-float))
               (power (aref *exact-powers* (abs exponent))))
           (if (minusp exponent) (/ double power) (* double power))))
        ((> (+ exponent (* 0.30103 (integer-length whole))) 310) :infinity)
        ((< (+ exponent (* 0.30103 (integer-length whole))) -330) 0d0)
        (t
         ;; A quotient of 53 bits, or of fewer where doubles get less precise towards zero.
         (let* ((numerator (if (minusp exponent) whole (* whole (expt 10 exponent))))
                (denominator (if (minusp exponent) (expt 10 (- exponent)) 1))
                (bits (- (integer-length numerator) (integer-length denominator)))
                (scale (max (- bits 53) -1074)))
           (loop
             (let ((quotient (if (minusp scale)
                                 (rounded (ash numerator (- scale)) denominator)
                                 (rounded numerator (ash denominator scale)))))
               (cond ((> quotient (ash 1 53)) (incf scale))
                     ((> (+ (integer-length quotient) scale) 1024) (return :infinity))
                     (t (return (scale-float (coerce quotient 'double-float) scale))))))))))

(defun single-of (double)
  "Return the single nearest to DOUBLE, which is finite: a float or :INFINITY or :-INFINITY."
  (declare (type double-float double))
  (let ((magnitude (abs double)))
    (cond ((>= magnitude (scale-float (coerce (- (ash 1 25) 1) 'double-float) 103))
           (if (plusp double) :infinity :-infinity))
          (t (coerce double 'single-float)))))

(defconstant +significant+ 800
  "Digits of a decimal number that can decide which double is nearest; all behind count as one.")

(defun double-in (text)
  "Return the double nearest to the decimal number TEXT: ASCII digits, with a sign, a point, an exponent.
It is :INFINITY or :-INFINITY if it is larger than any. TEXT can be of any length."
  (let ((whole 0) (digits 0) (exponent 0) (point-p nil) (sticky-p nil)
        (negative-p (char= (char text 0) #\-))
        (end (or (position-if (lambda (char) (find char "eE")) text) (length text))))
    (declare (type fixnum digits exponent))
    (loop for place from (if (find (char text 0) "+-") 1 0) below end
          for digit = (digit-char-p (char text place))
          do (cond ((null digit) (setf point-p t))
                   ((< digits +significant+)
                    (setf whole (+ (* 10 whole) digit))
                    (unless (zerop whole)
                      (incf digits))
                    (when point-p
                      (decf exponent)))
                   (t
                    (unless (zerop digit)
                      (setf sticky-p t))
                    (unless point-p
                      (incf exponent)))))
    (when sticky-p
      (setf whole (1+ (* 10 whole)))
      (decf exponent))
    (when (< end (length text))
      (incf exponent (bounded-integer text (1+ end))))
    (let ((double (nearest-double whole exponent)))
      (cond ((not negative-p) double)
            ((eq double :infinity) :-infinity)
            (t (- double))))))

(defun bounded-integer (text start)
  "Return the integer that TEXT is from START on, or one so far from 0 that it does not matter."
  (let ((negative-p (char= (char text start) #\-)) (number 0))
    (declare (type fixnum number))
    (loop for place from (if (find (char text start) "+-") (1+ start) start) below (length text)
          while (< number (expt 10 12))
          do (setf number (+ (* 10 number) (digit-char-p (char text place)))))
    (if negative-p (- number) number)))

;;; To decimal

(defun decimal-of-double (number)
  "Return the shortest decimal number that is read as the positive double NUMBER."
  (if (< number least-positive-normalized-double-float)
      ;; Lisp's own digits of these are more than it takes.
      (loop with rational = (rational number)
            for exponent downfrom (floor (log number 10d0))
            for whole = (rounded rational (expt 10 exponent))
            when (eql number (nearest-double whole exponent))
              do (return (values whole exponent)))
      (multiple-value-bind (position digits) (sb-impl::flonum-to-digits number)
        (values (parse-integer digits) (- position (length digits))))))

(defun decimal-with (precision number)
  "Return the decimal number of PRECISION digits that is nearest to the positive single NUMBER."
  (let* ((double (coerce number 'double-float))
         (exponent (- (floor (log double 10d0)) precision -1)))
    (loop
      (let ((whole (if (minusp exponent)
                       (quick-product double (- exponent) number)
                       (rounded (rational number) (expt 10 exponent)))))
        (cond ((> whole (expt 10 precision)) (incf exponent))
              ((< whole (expt 10 (1- precision))) (decf exponent))
              (t (return (values whole exponent))))))))

(defun quick-product (double power number)
  "Return NUMBER, which is also DOUBLE, times ten to POWER, rounded to a whole number."
  (declare (type double-float double))
  (if (<= power 22)
      (let ((product (* double (aref *exact-powers* power))))
        (if (< product 1d12)
            (multiple-value-bind (whole rest) (floor product)
              ;; The product is rounded itself: near the middle that may decide.
              (if (< (abs (- rest 0.5d0)) 1d-3)
                  (rounded (* (rational number) (expt 10 power)) 1)
                  (if (> rest 0.5d0) (1+ whole) whole)))
            (rounded (* (rational number) (expt 10 power)) 1)))
      (rounded (* (rational number) (expt 10 power)) 1)))

(defun decimal-of-single (number)
  "Return the decimal number of 6 to 9 digits, as few as will do, that is read as NUMBER."
  (loop for precision from 6 to 9
        do (multiple-value-bind (whole exponent) (decimal-with precision number)
             (when (or (= precision 9)
                       (let ((double (nearest-double whole exponent)))
                         (eql number (single-of double))))
               (return (values whole exponent))))))

(defun decimal-of (number)
  "Return a whole number and a power of ten that NUMBER, positive and finite, is printed as."
  (multiple-value-bind (whole exponent)
      (etypecase number
        (single-float (decimal-of-single number))
        (double-float (decimal-of-double number)))
    (loop while (zerop (mod whole 10))
          do (setf whole (floor whole 10))
             (incf exponent))
    (values whole exponent)))
