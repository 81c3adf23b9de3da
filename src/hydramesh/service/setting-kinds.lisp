(defpackage #:hydramesh/service/setting-kinds
  (:use #:cl)
  (:import-from #:hydramesh/service/toml #:table-p #:tables-p #:moment-p #:moment-text)
  (:import-from #:hydramesh/service/toml-values #:read-decimal)
  (:import-from #:hydramesh/shown #:printable)
  (:export #:kind #:kind-expected #:unsuitable #:convert #:shown-value
           #:writable-p #:+unwritable+
           #:+text+ #:+truth+ #:+seconds+ #:+whole-number+ #:+count+ #:+node-id+ #:+share+ #:+host-port+
           #:+optional-host-port+ #:host-ports #:one-of)
  (:documentation "What the value of a setting can be, and how it is written in a file and as text."))
(in-package #:hydramesh/service/setting-kinds)

(defstruct kind
  "EXPECTED says to people what a value must be. FROM-FILE and FROM-TEXT take what was written and
return the value, or signal UNSUITABLE."
  (expected "" :type string)
  (from-file nil :type function)
  (from-text nil :type function))

(define-condition unsuitable (error) ()
  (:documentation "A value is not of the kind that a setting needs."))

(defun need (true)
  (unless true
    (error 'unsuitable)))

(defun convert (kind value textual)
  "Return what VALUE means: it is a string if TEXTUAL, else what TOML made of it.
Signal UNSUITABLE, to which KIND-EXPECTED is the answer."
  (funcall (if textual (kind-from-text kind) (kind-from-file kind)) value))

;;; Texts

(defun host-port-p (text)
  "Return whether TEXT is as host:port or [IPv6]:port; not whether there is such a host."
  (let* ((colon (position #\: text :from-end t))
         (host (and colon (subseq text 0 colon))))
    (and colon
         (<= 1 (- (length text) colon 1) 5)
         (loop for index from (1+ colon) below (length text)
               always (char<= #\0 (char text index) #\9))
         (plusp (length host))
         (if (char= (char host 0) #\[)
             (and (> (length host) 2)
                  (char= (char host (1- (length host))) #\])
                  (loop for index from 1 below (1- (length host))
                        for character = (char host index)
                        always (or (alphanumericp character) (find character ":.%_"))))
             (notany (lambda (character)
                       (or (find character ":[]")
                           (sb-unicode:whitespace-p character)))
                     host)))))

(defun reachable-p (text)
  "Return whether something could be reached at TEXT, which is as HOST-PORT-P wants it: at a port that there is."
  (<= 1 (parse-integer text :start (1+ (position #\: text :from-end t))) 65535))

(defun checked-text (test expected)
  (flet ((check (value)
           (need (and (stringp value) (funcall test value)))
           value))
    (make-kind :expected expected :from-file #'check :from-text #'check)))

(defparameter +unwritable+ "text without control characters, in UTF-8")

(defun writable-p (text)
  "Return whether TEXT can be a file's name, and be sent to others."
  (notany (lambda (character)
            (member (sb-unicode:general-category character) '(:cc :cs)))
          text))

(defparameter +text+
  (flet ((check (value)
           (need (stringp value))
           value))
    (make-kind :expected "str" :from-file #'check :from-text #'check)))

(defparameter +host-port+
  (checked-text #'host-port-p "host:port, such as 127.0.0.1:7717"))

(defparameter +optional-host-port+
  (checked-text (lambda (value) (or (string= value "") (host-port-p value)))
                "host:port, such as 127.0.0.1:7718, or \"\" for none"))

(defun host-ports (most)
  "Return the kind of a vector of MOST texts at most, each as host:port; in a text commas are between them."
  (flet ((check (items)
           (need (and (<= (length items) most)
                      (every (lambda (item)
                               (and (stringp item) (host-port-p item) (reachable-p item) (writable-p item)))
                             items)))
           (coerce items 'simple-vector)))
    (make-kind :expected (format nil "a list, each item host:port, such as 127.0.0.1:7717, at most ~D" most)
               :from-file (lambda (value)
                            (need (simple-vector-p value))
                            (check value))
               :from-text (lambda (value)
                            (check (loop for item in (uiop:split-string value :separator ",")
                                         for trimmed = (string-trim " " item)
                                         unless (string= trimmed "") collect trimmed))))))

(defun one-of (&rest words)
  "Return the kind of one of WORDS."
  (checked-text (lambda (value) (member value words :test #'string=))
                (format nil "one of ~{~A~^, ~}" words)))

;;; Booleans and numbers

(defparameter +truth+
  (make-kind :expected "bool"
             :from-file (lambda (value)
                          (need (member value '(:true :false)))
                          (eq value :true))
             :from-text (lambda (value)
                          (cond ((member value '("true" "1") :test #'string-equal) t)
                                ((member value '("false" "0") :test #'string-equal) nil)
                                (t (need nil))))))

(defun written-number (text)
  "Return the number that TEXT is as JSON writes numbers, or NIL."
  (and (<= 1 (length text) 400)
       (char/= (char text 0) #\+)
       (not (find #\_ text))
       (read-decimal text)))

(defun within-seconds (value)
  (need (and (realp value)
             (or (integerp value) (not (sb-ext:float-nan-p value)))
             (< 0 value)
             (<= value 1000000000)))
  (coerce value 'double-float))

(defparameter +seconds+
  (make-kind :expected "a number of seconds above 0, at most 1e9"
             :from-file #'within-seconds
             :from-text (lambda (value) (within-seconds (written-number value)))))

(defun whole-number (least most expected)
  "Return the kind of whole numbers from LEAST to MOST."
  (flet ((check (value)
           (need (and (integerp value) (<= least value most)))
           value))
    (make-kind :expected expected
               :from-file #'check
               :from-text (lambda (value)
                            (let ((number (written-number value)))
                              (when (and (floatp number) (<= 0 number 1d15) (= number (ftruncate number)))
                                (setf number (truncate number)))
                              (check number))))))

(defparameter +whole-number+ (whole-number 1 #xffffffff "a whole number above 0, at most 4294967295"))

(defparameter +count+ (whole-number 0 #xffffffff "a whole number, at most 4294967295"))

(defparameter +node-id+ (whole-number 0 #xffff "a whole number, at most 65535"))

(defun within-share (value)
  (need (and (realp value)
             (or (integerp value) (not (sb-ext:float-nan-p value)))
             (<= 0 value 1)))
  (coerce value 'double-float))

(defparameter +share+
  (make-kind :expected "a number from 0 to 1"
             :from-file #'within-share
             :from-text (lambda (value) (within-share (written-number value)))))

;;; Back to text

(defun shown-value (value)
  "Return VALUE, whatever was written, as a message shows it: short, in one line."
  (typecase value
    (string (format nil "\"~A\"" (printable value)))
    ((member :true :false) (string-downcase value))
    ((member t) "true")
    ((member nil) "false")
    (integer (if (< (integer-length value) 3000) ; the longer ones take long to print
                 (printable (format nil "~D" value))
                 "a number with a thousand digits"))
    (float (shown-float value))
    (simple-vector (if (some (lambda (item)
                               (and (not (stringp item))
                                    (or (vectorp item) (table-p item) (tables-p item))))
                             value)
                       "[…]"
                       (printable (format nil "[~{~A~^, ~}]"
                                          (map 'list #'shown-value
                                               (subseq value 0 (min 200 (length value))))))))
    (t (cond ((moment-p value) (printable (moment-text value)))
             ((tables-p value) "[…]")
             (t "{…}")))))

(defun shown-float (value)
  (cond ((sb-ext:float-nan-p value) "nan")
        ((sb-ext:float-infinity-p value) (if (plusp value) "inf" "-inf"))
        (t (let ((*read-default-float-format* 'double-float))
             (prin1-to-string value)))))
