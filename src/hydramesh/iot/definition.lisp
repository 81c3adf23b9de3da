(defpackage #:hydramesh/iot/definition
  (:use #:cl)
  (:import-from #:hydramesh/domain/definitions
                #:clause #:clauses-in #:finite-p #:mistake #:name-in #:one-of #:printed)
  (:import-from #:hydramesh/iot/limits
                #:+highest+ #:+span+ #:+name+ #:+thresholds+ #:+windows+)
  (:import-from #:hydramesh/iot/sensor #:make-sensor)
  (:import-from #:hydramesh/iot/thresholds #:make-threshold)
  (:import-from #:hydramesh/iot/windows #:make-window #:+measures+)
  (:import-from #:hydramesh/protobuf/text #:text-size)
  (:export #:sensor-form #:text-name #:checked-name)
  (:documentation "A DEFSENSOR checked, as the form that makes a SENSOR.

All that is declared is a constant, so that every mistake in it is known when it is compiled."))
(in-package #:hydramesh/iot/definition)

(defun wrong (field control &rest arguments)
  "Signal what is wrong in FIELD, as MISTAKE does; ARGUMENTS are parts of the definition, or lists of such."
  (apply #'mistake field control (loop for argument in arguments
                                       collect (cond ((and (consp argument) (ignore-errors (list-length argument)))
                                                      (mapcar #'printed argument))
                                                     ((member argument '(t nil)) argument)
                                                     (t (printed argument))))))

(defparameter +units+
  '((:second . 1) (:seconds . 1) (:minute . 60) (:minutes . 60)
    (:hour . 3600) (:hours . 3600) (:day . 86400) (:days . 86400))
  "What a span of time may be said in, and its seconds.")

(defun span (field arguments)
  "Return the seconds that ARGUMENTS, a number and maybe a unit, mean, and what is left of them."
  (let* ((number (first arguments))
         (unit (assoc (second arguments) +units+))
         (seconds (and (finite-p number) (* (rational number) (or (cdr unit) 1)))))
    (unless (and seconds (< 0 seconds) (<= seconds +span+))
      (wrong field "~A is no span of time: write a number above 0 and a unit, as 10 :minutes, a year at most"
               number))
    (values seconds (if unit (cddr arguments) (rest arguments)))))

(defun only-span (clause)
  (destructuring-bind (field &rest arguments) clause
    (multiple-value-bind (seconds rest) (span field arguments)
      (when rest
        (wrong field "~A is none of its units: they are ~{~A~^, ~}" (first rest) (mapcar #'car +units+)))
      seconds)))

(defun only-value (clause example)
  (destructuring-bind (field &rest arguments) clause
    (unless (and arguments (null (rest arguments)))
      (mistake field "it takes one value, and is given ~D: write ~A" (length arguments) example))
    (first arguments)))

(defun range (clause type)
  "Return the lowest and the highest value that CLAUSE declares for TYPE, as a list."
  (destructuring-bind (&optional low high &rest rest) (rest clause)
    (unless (and (finite-p low) (finite-p high) (null rest) (< low high)
                 (<= (- +highest+) low) (<= high +highest+))
      (wrong :range "~{~A~^ ~} is no range: write the lowest and the highest value, as (:range -40 85)"
               (rest clause)))
    (when (and (eq type :integer) (notevery #'integerp (rest clause)))
      (wrong :range "~A and ~A must be whole for an :integer: write whole numbers, or (:type :real)" low high))
    (list (rational low) (rational high))))

(defun word (field value example)
  "Return the symbol VALUE as a keyword, so that names are the same in whichever package they are read."
  (unless (and value (symbolp value))
    (wrong field "~A is no name: write a word, as ~A" value example))
  (unless (<= (text-size (symbol-name value)) +name+)
    (wrong field "~A is longer than ~A bytes: write a shorter name" value +name+))
  (intern (symbol-name value) '#:keyword))

(defun unique (field names most)
  (when (> (length names) most)
    (wrong field "there are ~A: write ~A at most" (length names) most))
  (loop for (name . more) on names
        when (member name more)
          do (wrong field "~A stands twice: give each a name of its own" (plain name))))

(defun plain (word)
  "Return the keyword WORD as the symbol that is written in a definition."
  (make-symbol (symbol-name word)))

;;; (:window NAME SPAN [UNIT] [MEASURE]), as (:window hourly 1 :hour :mean)

(defun window (clause)
  "Return the name, the seconds and the measure of the window that CLAUSE declares."
  (destructuring-bind (&optional name &rest arguments) (rest clause)
    (setf name (word :window name 'hourly))
    (multiple-value-bind (seconds rest) (span :window arguments)
      (unless (integerp seconds)
        (wrong :window "~A seconds are no window: write a whole number of them" seconds))
      (when (rest rest)
        (wrong :window "~A is too much: write (:window ~A ~A :seconds :mean)" (second rest) (plain name) seconds))
      (list name seconds (if rest (one-of :window (first rest) +measures+) :mean)))))

;;; (:threshold NAME :above|:below LIMIT [:until RELEASE] [:of WINDOW]), as (:threshold hot :above 30 :until 28)

(defun option (options key default)
  (let ((found (member key options)))
    (if found (second found) default)))

(defun check-options (options)
  (loop for (key . more) on options by #'cddr
        do (unless (member key '(:until :of))
             (wrong :threshold "~A is unknown here: write :until and the value at which it is over, ~
                                  or :of and a window" key))
           (unless more
             (wrong :threshold "~A has no value: write one, as :until 28 or :of hourly" key))))

(defun threshold (clause range windows)
  "Return the name, direction, limit, release and source of the threshold that CLAUSE declares."
  (destructuring-bind (&optional name direction limit &rest options) (rest clause)
    (setf name (word :threshold name 'too-hot))
    (one-of :threshold direction '(:above :below))
    (unless (finite-p limit)
      (wrong :threshold "~A is no limit: write a number, as (:threshold ~A ~A 30)" limit (plain name) direction))
    (check-options options)
    (let ((release (option options :until limit)) (source (option options :of nil)))
      (check-release name direction limit release)
      (check-limit direction limit range (and source (window-of source windows)))
      (list name direction (rational limit) (rational release) (and source (word :threshold source 'hourly))))))

(defun check-release (name direction limit release)
  (unless (finite-p release)
    (wrong :threshold "~A cannot end ~A: write a number after :until" release (plain name)))
  (when (if (eq direction :above) (> release limit) (< release limit))
    (wrong :threshold "~A would be over at ~A while it is crossed: write ~:[~A or more~;~A or less~] after :until"
             (plain name) release (eq direction :above) limit)))

(defun window-of (name windows)
  (or (find (word :threshold name 'hourly) windows :key #'first)
      (wrong :threshold "there is no window ~A: ~:[declare one, as (:window hourly 1 :hour :mean)~;~
                           write one of ~:*~{~A~^, ~}~]" name (mapcar #'plain (mapcar #'first windows)))))

(defun check-limit (direction limit range window)
  ;; How many readings there are, or what they sum up to, is not bounded by the range of one.
  (unless (or (member (third window) '(:count :sum))
              (if (eq direction :above)
                  (and (<= (first range) limit) (< limit (second range)))
                  (and (< (first range) limit) (<= limit (second range)))))
    (wrong :threshold "no value from ~A to ~A crosses ~A ~A: write a limit within the range, or a wider range"
             (first range) (second range) direction limit)))

;;; (:on EVENT (DEVICE VALUE) BODY...), where EVENT is a word or a list of two

(defun events (windows thresholds)
  (append '(:reading :silent :heard)
          (loop for (name) in windows collect (list :window name))
          (loop for (name) in thresholds
                collect name
                collect (list :over name))))

(defun text (event)
  "Return EVENT as it is written in a definition."
  (format nil "~(~A~)" event))

(defun event (form)
  "Return the event that FORM names, as EVENTS has it."
  (cond ((and form (symbolp form)) (word :on form 'silent))
        ((and (consp form) (consp (rest form)) (null (cddr form)) (every #'symbolp form))
         (list (word :on (first form) 'over) (word :on (second form) 'too-hot)))))

(defun two-names-p (parameters)
  (and (listp parameters)
       (eql 2 (ignore-errors (list-length parameters)))
       (every (lambda (name)
                (and (symbolp name) (not (constantp name)) (not (member name lambda-list-keywords))))
              parameters)
       (not (eq (first parameters) (second parameters)))))

(defun handler (clause events)
  "Return the form of (event . function) for CLAUSE, whose event must be one of EVENTS."
  (destructuring-bind (&optional form (parameters nil parameters-p) &rest body) (rest clause)
    (let ((event (event form)))
      (unless (member event events :test #'equal)
        (mistake :on "there is no event ~A: write one of ~{~A~^, ~}" (if event (text event) (printed form))
                 (mapcar #'text events)))
      (unless (and parameters-p (two-names-p parameters))
        (mistake :on "a handler is given the device's name and the value: write (:on ~A (device value) ...)"
                 (text event)))
      `(cons ',event (lambda ,parameters
                       (declare (ignorable ,@parameters))
                       ,@body)))))

;;; (:device NAME BODY...)

(defun device-name-p (name)
  (and (stringp name)
       (<= 1 (text-size name) +name+)))

(defun device (clause)
  "Return the form of (name . function) for CLAUSE, of one of the program's own devices."
  (destructuring-bind (&optional name &rest body) (rest clause)
    (when (or (null name) (and (atom name) (not (device-name-p name))))
      (wrong :device "~A is no name of a device: write a text of at most ~A bytes, and what reads a value" name
             +name+))
    (unless body
      (wrong :device "~A reads nothing: write what does, as (:device ~A (number-in-file \"/run/probe\"))"
             name name))
    `(cons ,(if (stringp name) name `(checked-name ,name)) (lambda () ,@body))))

(defun checked-name (name)
  "Return NAME, which a program has made for a device. Signal an error if it can be none."
  (if (device-name-p name)
      name
      (error "~S is no name of a device: it must be a text of 1 to ~D bytes" name +name+)))

;;; All of it

(defun text-name (name)
  "Return the name by which devices and stations know the sensor that is defined as NAME."
  (let ((text (string-downcase (symbol-name (name-in nil name)))))
    (when (> (text-size text) +name+)
      (wrong :name "it is longer than ~A bytes: write a shorter one" +name+))
    text))

(defun all (field clauses)
  (remove field clauses :key #'first :test-not #'eq))

(defun sensor-form (name forms)
  "Return the form that makes the SENSOR which (defsensor NAME . FORMS) defines. Call it WITH-DEFINITION."
  (let* ((clauses (clauses-in forms '(:type :unit :range :period :silence :window :threshold :on :device)))
         (type-clause (clause :type clauses))
         (type (if type-clause
                   (one-of :type (only-value type-clause "(:type :real)") '(:real :integer :truth))
                   :real))
         (range (if (eq type :truth)
                    '(0 1)
                    (range (clause :range clauses :required "(:range 0 100)") type)))
         (period (only-span (clause :period clauses :required "(:period 1 :minute)")))
         (windows (mapcar #'window (all :window clauses)))
         (thresholds (loop for clause in (all :threshold clauses)
                           collect (threshold clause range windows))))
    (unique :window (mapcar #'first windows) +windows+)
    (unique :threshold (mapcar #'first thresholds) +thresholds+)
    (unique-devices (all :device clauses))
    `(make-sensor :name ,(text-name name) :type ,type :unit ,(unit (clause :unit clauses))
                  :low ,(first range) :high ,(second range) :period ,period
                  :silence ,(let ((silence (clause :silence clauses)))
                              (if silence (only-span silence) (* 3 period)))
                  :windows (list ,@(loop for (name seconds measure) in windows
                                         collect `(make-window :name ,name :seconds ,seconds
                                                               :measure ,measure)))
                  :thresholds (list ,@(mapcar #'threshold-form thresholds))
                  :handlers (list ,@(loop with events = (events windows thresholds)
                                          for clause in (all :on clauses)
                                          collect (handler clause events)))
                  :devices (list ,@(mapcar #'device (all :device clauses))))))

(defun unique-devices (clauses)
  (loop for ((nil name) . more) on clauses
        when (and (stringp name) (member name more :key #'second :test #'equal))
          do (wrong :device "~A stands twice: give each a name of its own" name)))

(defun unit (clause)
  (if clause
      (let ((unit (only-value clause "(:unit \"%\")")))
        (if (and (stringp unit) (<= (length unit) 16))
            unit
            (wrong :unit "~A is no unit: write a text of at most 16 characters, as \"°C\"" unit)))
      ""))

(defun threshold-form (threshold)
  (destructuring-bind (name direction limit release source) threshold
    `(make-threshold :name ,name :direction ,direction :limit ,limit :release ,release :source ,source)))
