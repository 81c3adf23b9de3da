(defpackage #:hydramesh/tests/policy/hostile
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/policy/examples #:example-files)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/bounded-file #:read-bounded)
  (:import-from #:hydramesh/policy/limits #:+file+)
  (:import-from #:hydramesh/policy/mistakes
                #:mistake-column #:mistake-line #:mistake-remedy #:mistake-what
                #:policy-errors #:policy-errors-lines #:policy-errors-list)
  (:import-from #:hydramesh/policy/plan
                #:judge-verbose #:plan-fallbacks #:plan-hedge #:plan-inside #:plan-task)
  (:import-from #:hydramesh/policy/policy #:read-policy)
  (:import-from #:hydramesh/policy/reader #:decoded)
  (:import-from #:hydramesh/policy/types #:unit-names)
  (:import-from #:hydramesh/policy/views
                #:field-names #:make-policy-task #:make-policy-worker #:make-situation)
  (:documentation "Whatever a file has in it, reading it ends with a policy or with mistakes that are in
it."))
(in-package #:hydramesh/tests/policy/hostile)

(fiveam:def-suite policy-hostile :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite policy-hostile)

(defun inside-p (mistake text)
  "Return whether MISTAKE names a place in TEXT, or its end."
  (let* ((start (loop with start = 0
                      repeat (1- (mistake-line mistake))
                      for newline = (and start (position #\Newline text :start start))
                      do (setf start (and newline (1+ newline)))
                      finally (return start))))
    (and start
         (<= 1 (mistake-column mistake)
             (1+ (- (or (position #\Newline text :start start) (length text)) start)))
         (plusp (length (mistake-what mistake)))
         (plusp (length (mistake-remedy mistake))))))

(defun decide (policy)
  "Have POLICY decide about something; any fault is one of ours."
  (let ((plan (plan-task policy (make-policy-task) (make-situation :clock 600))))
    (plan-hedge plan)
    (plan-fallbacks plan)
    (plan-inside plan)
    (judge-verbose plan (make-policy-worker))))

(defun survives-p (octets)
  "Return whether the policy in OCTETS is read, or refused with mistakes that are in it."
  (let ((text (decoded octets)))
    (handler-case (progn (decide (read-policy text "hostile"))
                         t)
      (policy-errors (condition)
        (and (notany (lambda (line) (find #\Newline line)) (policy-errors-lines condition))
             (every (lambda (mistake) (inside-p mistake text)) (policy-errors-list condition)))))))

(defmacro with-seed ((state seed) &body body)
  "Run BODY with STATE being random numbers that are the same each time."
  `(let ((,state (sb-ext:seed-random-state ,seed)))
     ,@body))

(defun random-octets (state size most)
  (let ((octets (make-array size :element-type '(unsigned-byte 8))))
    (map-into octets (lambda () (random most state)))))

(defun octets-of (text)
  (sb-ext:string-to-octets text :external-format :utf-8))

(test random-bytes-are-no-policy
  (with-seed (state 1)
    (is (loop for size from 0 below 600
              always (survives-p (random-octets state size 256))
              always (survives-p (random-octets state size 128))))))

(defparameter +words+
  (append '("(" "(" "(" ")" ")" ")" "policy" "rule" "price" "when" "weight" "prefer" "avoid" "require"
            "exclude" "reserve" "fallback" "hedge" "for" "share" "others" "after" "never" "otherwise"
            "and" "or" "not" "=" "/=" "<" ">" "in" "like" "has" "between" "+" "-" "*" "/" "min" "max"
            "\"a\"" "\"\"" ":text" ":solar" "0" "1" "-5" "50" "1.5" "999999999999999" "0.000000001"
            "16:00" "24:00" "0:00" ";" "price.power" "power" "EUR/kWh" "USD/h" "A/h")
          (field-names)
          (unit-names)))

(test words-of-policies-in-any-order-are-read
  (with-seed (state 2)
    (is (loop repeat 3000
              always (survives-p
                      (octets-of
                       (format nil "(policy \"a\" (rule \"b\" ~{~A ~}" ; closed or not
                               (loop repeat (random 40 state)
                                     collect (nth (random (length +words+) state) +words+)))))))))

(defun mutated (octets state)
  "Return OCTETS with something changed, taken out, doubled or put elsewhere."
  (let* ((size (length octets))
         (from (random size state))
         (to (min size (+ from 1 (random 30 state))))
         (part (subseq octets from to)))
    (flet ((joined (&rest parts)
             (apply #'concatenate '(vector (unsigned-byte 8)) parts)))
      (ecase (random 5 state)
        (0 (let ((copy (copy-seq octets)))
             (setf (aref copy from) (random 256 state))
             copy))
        (1 (joined (subseq octets 0 from) (subseq octets to)))
        (2 (joined (subseq octets 0 to) part (subseq octets to)))
        (3 (let ((elsewhere (random size state)))
             (joined (subseq octets 0 elsewhere) part (subseq octets elsewhere))))
        (4 (joined (subseq octets 0 from)
                   (octets-of (nth (random (length +words+) state) +words+))
                   (subseq octets to)))))))

(test examples-with-something-changed-are-read-or-refused-with-the-place
  (with-seed (state 3)
    (dolist (file (example-files))
      (let ((octets (read-bounded (namestring file) +file+)))
        (is (loop repeat 400
                  always (survives-p (let ((mutated octets))
                                       (loop repeat (1+ (random 3 state))
                                             do (setf mutated (mutated mutated state)))
                                       mutated))))))))

(test what-is-nested-or-repeated-without-end-is-refused-soon
  (flet ((repeated (text count)
           (octets-of (format nil "~V@{~A~:*~}" count text))))
    (dolist (text '("(" ")" "(and " "(policy \"a\" " "(rule \"a\" (when (not " "\"" "\\" ";" ":" "9" "-"
                    "." "1:" "(+ 1 " "'" "#" "#|" "|" "`" "," "%" "/"))
      (is (survives-p (repeated text 20000)) text))
    (is (survives-p (octets-of (format nil "(policy \"a\" (rule \"b\" (weight ~A)))"
                                       (make-string 100000 :initial-element #\9)))))))

(test nothing-in-a-file-is-evaluated-or-interned
  (let ((before (loop for package in (list-all-packages)
                      sum (loop for symbol being the present-symbols of package count t))))
    (dolist (text '("#.(error \"evaluated\")" "(policy \"a\" #.(quit))" "(policy \"a\" cl-user::made-up-word)"
                    "(policy \"a\" (rule \"b\" (weight (sb-ext:run-program \"/bin/true\"))))"))
      (is (survives-p (octets-of text))))
    (is (= before (loop for package in (list-all-packages)
                        sum (loop for symbol being the present-symbols of package count t))))))
