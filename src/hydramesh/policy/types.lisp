(defpackage #:hydramesh/policy/types
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:type-text #:type-example #:number-type-p #:number-type #:plain-p #:members #:member-value
           #:unit #:unit-names #:money-unit)
  (:documentation "What values in a policy can be, and the units of numbers.

A type is :TRUTH, :TEXT, :CLOCK, (:ENUM name), (:SET :TEXT), (:SET :CAPABILITY) or (:NUMBER dimension). A
dimension is :PLAIN, :WORK, :RATE, :BYTES, :TIME, :POWER or (:MONEY currency per), where PER is :HOUR or
:KWH. Equal types are EQUAL."))
(in-package #:hydramesh/policy/types)

;;; Words that stand for one of a few things

(defun numbered-words (enum)
  "Return the names of ENUM's members from 1 up, with their numbers."
  (loop for number from 1
        for name = (pb:enum-name enum number)
        while name
        collect (cons (substitute #\- #\_ (string-downcase name)) number)))

(defparameter +members+
  (flet ((words (&rest words)
           (loop for word in words collect (cons (string-downcase word) word))))
    `((:kind ,@(words :text :image :embed :transcribe :speak :rerank :load))
      (:backend ,@(numbered-words 'pb:backend))
      (:readiness ,@(words :loaded :loading :on-disk :downloading :downloadable :failed))
      (:weekday ,@(words :monday :tuesday :wednesday :thursday :friday :saturday :sunday))
      (:capability ,@(numbered-words 'pb:capability))))
  "What the words of each enumeration stand for: keywords, or numbers of the schema.")

(defun members (name)
  "Return the words that the enumeration NAME has."
  (mapcar #'car (rest (assoc name +members+))))

(defun member-value (name word)
  "Return what WORD stands for in the enumeration NAME, NIL if it is none of its words."
  (cdr (assoc word (rest (assoc name +members+)) :test #'string=)))

;;; Types

(defun number-type (dimension)
  "Return the type of numbers of DIMENSION."
  (list :number dimension))

(defun number-type-p (type)
  "Return whether values of TYPE are numbers."
  (and (consp type) (eq (first type) :number)))

(defun plain-p (type)
  "Return whether values of TYPE are numbers without a unit."
  (equal type '(:number :plain)))

(defun money-text (dimension)
  (destructuring-bind (currency per) (rest dimension)
    (format nil "~A/~A" currency (ecase per (:hour "h") (:kwh "kWh")))))

(defun type-text (type)
  "Return what TYPE is called in a sentence, with its article."
  (cond ((eq type :truth) "a condition")
        ((eq type :text) "a text")
        ((eq type :clock) "a time of day")
        ((eq (first type) :enum) "a word")
        ((eq (first type) :set) "a set")
        (t (let ((dimension (second type)))
             (case dimension
               (:plain "a plain number")
               (:work "an amount of work")
               (:rate "a rate")
               (:bytes "an amount of memory")
               (:time "a span of time")
               (:power "a power")
               (t (format nil "a price in ~A" (money-text dimension))))))))

(defun type-example (type)
  "Return how a value of TYPE may be written."
  (cond ((eq type :truth) "(= task.kind :text)")
        ((eq type :text) "\"a text\"")
        ((eq type :clock) "16:00")
        ((eq (first type) :enum) (format nil ":~A" (first (members (second type)))))
        ((eq (first type) :set) "worker.tags")
        (t (let ((dimension (second type)))
             (case dimension
               (:plain "3")
               (:work "400 tokens")
               (:rate "30 tokens/s")
               (:bytes "8 GiB")
               (:time "30 s")
               (:power "150 W")
               (t (format nil "0.30 ~A" (money-text dimension))))))))

;;; Units

(defparameter +units+
  `(("%" :plain 1/100)
    ("KiB" :bytes 1024) ("MiB" :bytes ,(expt 1024 2)) ("GiB" :bytes ,(expt 1024 3))
    ("TiB" :bytes ,(expt 1024 4))
    ("ms" :time 1/1000) ("s" :time 1) ("min" :time 60) ("h" :time 3600)
    ("W" :power 1) ("kW" :power 1000)
    ,@(loop for word in '("tokens" "images" "embeddings" "sentences" "texts" "models")
            collect (list word :work 1)
            collect (list (format nil "~A/s" word) :rate 1)))
  "Names of units, what they measure, and how much of it one is: bytes, seconds and watts.")

(defun unit-names ()
  "Return the names of all units but those of money."
  (mapcar #'first +units+))

(defun money-unit (name)
  "Return the dimension that NAME, such as EUR/kWh, is a unit of; NIL if it is none of money."
  (when (and (> (length name) 4)
             (char= (char name 3) #\/)
             (every (lambda (character) (char<= #\A character #\Z)) (subseq name 0 3)))
    (let ((per (cdr (assoc (subseq name 4) '(("h" . :hour) ("kWh" . :kwh)) :test #'string=))))
      (and per (list :money (subseq name 0 3) per)))))

(defun unit (name)
  "Return the dimension that the unit NAME measures and how much of it one is; NIL if it is no unit."
  (let ((known (rest (assoc name +units+ :test #'string=)))
        (money (money-unit name)))
    (cond (known (values (first known) (second known)))
          (money (values money 1)))))
