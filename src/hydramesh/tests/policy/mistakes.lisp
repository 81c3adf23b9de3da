(defpackage #:hydramesh/tests/policy/mistakes
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/policy/limits
                #:+file+ #:+forms+ #:+mistakes+ #:+reservations+ #:+rules+)
  (:import-from #:hydramesh/policy/mistakes
                #:mistake-column #:mistake-line #:mistake-remedy #:mistake-what
                #:policy-errors #:policy-errors-left-out #:policy-errors-lines #:policy-errors-list)
  (:import-from #:hydramesh/policy/policy #:load-policy #:read-policy)
  (:import-from #:hydramesh/policy/reader #:decoded)
  (:documentation "What is wrong with a policy is said, with the place and with what would be right."))
(in-package #:hydramesh/tests/policy/mistakes)

(fiveam:def-suite policy-mistakes :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite policy-mistakes)

(defun mistakes (text)
  "Return the mistakes in TEXT, lists of line, column and what is said."
  (handler-case (progn (read-policy text "test") '())
    (policy-errors (condition)
      (loop for mistake in (policy-errors-list condition)
            collect (list (mistake-line mistake) (mistake-column mistake)
                          (format nil "~A; ~A" (mistake-what mistake) (mistake-remedy mistake)))))))

(defun mistake (text)
  "Return the one mistake in TEXT."
  (let ((mistakes (mistakes text)))
    (is (= 1 (length mistakes)) "~S has these mistakes: ~S" text mistakes)
    (first mistakes)))

(defun in-rule (parts)
  "Return the only mistake of a rule with PARTS, and whether it is where | stands in them."
  (let* ((begin "(policy \"a\" (rule \"b\" ")
         (place (position #\| parts))
         (mistake (mistake (concatenate 'string begin (remove #\| parts) "))"))))
    (is (equal (list 1 (+ 1 (length begin) place)) (subseq mistake 0 2))
        "~S is not at |, but ~S" parts mistake)
    (third mistake)))

(defparameter +said+
  '(("|(wieght 3)" "did you mean weight?")
    ("(when (= |task.sise 3)) (weight 3)" "did you mean task.size?")
    ("(when |(equals task.size 3)) (weight 3)" "=, /=, <")
    ("(when (= task.kind |:txt)) (weight 3)" "did you mean :text?")
    ("(when (= task.kind |:manage)) (exclude)" "no policy has a say in tasks that manage a model")
    ("(when (> worker.free-vram 8 |GB)) (weight 3)" "did you mean GiB?")
    ("(when (> worker.free-vram |8)) (weight 3)" "8 GiB")
    ("(when (> worker.free-vram |0.0000001)) (weight 3)" "0.0000001 is a plain number")
    ("(when (> worker.free-vram |-123456789.25)) (weight 3)" "-123456789.25 is a plain number")
    ("(when (> worker.free-vram |8 s)) (weight 3)" "an amount of memory")
    ("(when (= task.model |3)) (weight 3)" "a text")
    ("(when |(= task.size)) (weight 3)" "too few parts")
    ("(when (= |worker.tags \"a\")) (weight 3)" "(has worker.tags :solar)")
    ("(when (has |worker.name :solar)) (weight 3)" "is not a set")
    ("(when (< |task.model \"a\")) (weight 3)" "use = or /=")
    ("(when (= |3 3)) (weight 3)" "never changes")
    ("(when |task.model) (weight 3)" "a condition is needed")
    ("(when |and) (weight 3)" "parentheses")
    ("(when |()) (weight 3)" "empty")
    ("(when (|(= task.size 3))) (weight 3)" "begin it with a word")
    ("(when (between 9:00 |25:00)) (weight 3)" "not a time of day")
    ("|(when) (weight 3)" "no condition")
    ("(weight 3) |(when (= task.size 3))" "right behind")
    ("(when (= task.size 3)) |(when (= task.size 4)) (weight 3)" "two (when …)")
    ("(weight |0)" "from 0.001 to 1000")
    ("(weight |-1)" "from 0.001 to 1000")
    ("(weight |task.size)" "a plain number is needed")
    ("|(weight)" "(weight (/ 0.30 EUR/kWh price.power))")
    ("(weight |price.power)" "the policy has no prices")
    ("(weight (+ task.size |worker.load))" "an amount of work is needed")
    ("(weight |(* task.size task.size))" "nothing that a policy knows")
    ("(weight |(/ worker.ram worker.rtt))" "nothing that a policy knows")
    ("(prefer |worker.group)" "a condition is needed")
    ("|(require)" "(require (= worker.backend :cuda))")
    ("|(reserve (= worker.name \"a\"))" "(for (= task.client")
    ("(reserve (= worker.name \"a\") (for |(= worker.group 0)))" "for tasks")
    ("(reserve (= worker.name \"a\") (for task.streaming) (share |150 %))" "50 %")
    ("(reserve (= worker.name \"a\") (for task.streaming) |(shares 5 %))" "did you mean share?")
    ("|(fallback model)" "(fallback \"small-model\" (after 5 s))")
    ("(fallback \"a\" (after |5 GiB))" "a span of time")
    ("(fallback \"a\" (after |2000 h))" "a day at most")
    ("(when (= worker.group 0)) |(hedge)" "whatever its worker")
    ("(hedge (after |50 %))" "100 % to 10000 %")
    ("|(hedge soon)" "(hedge (after 2 s))")
    ("(exclude (= worker.name |:desk))" "write \"desk\"")
    ("(exclude (has worker.tags |3))" "not a tag")
    ("(exclude (= worker.name \"a|\\b\"))" "backslash")
    ("(exclude (= worker.group |1.2.3))" "not a number")
    ("(exclude (= worker.group |1234567890123456))" "not a number"))
  "Parts of rules, with | where the mistake is, and what has to be said of it.")

(test a-mistake-is-told-with-its-place-and-what-would-be-right
  (loop for (parts expected) in +said+
        do (let ((said (in-rule parts)))
             (is (search expected said) "of ~S it says ~S" parts said))))

(test what-a-file-has-to-have-is-said
  (loop for (text line column expected) in
        '(("" 1 1 "there is no policy")
          ("; nothing but this" 1 1 "there is no policy")
          ("(rule \"a\" (weight 2))" 1 1 "this is not a policy")
          ("(policy)" 1 1 "this policy has no name")
          ("(policy name (rule \"a\" (weight 2)))" 1 9 "begins with its name")
          ("(policy \"\")" 1 9 "too short")
          ("(policy \"a\") (policy \"b\")" 1 14 "after the policy's end")
          ("(policy \"a\" (rules \"b\"))" 1 13 "did you mean rule?")
          ("(policy \"a\" (rule \"b\"))" 1 13 "this rule does nothing")
          ("(policy \"a\" (rule \"b\" (weight 2)) (rule \"b\" (weight 3)))" 1 35 "two rules \"b\"")
          ("(policy \"a\" (price power (otherwise 3)))" 1 37 "this is not a price")
          ("(policy \"a\" (price power ((between 1:00 2:00) 3 EUR/h)))" 1 26 "otherwise")
          ("(policy \"a\" (price p ((= task.size 3) 3 EUR/h) (otherwise 1 EUR/h)))" 1 23
           "cannot depend on the task")
          ("(policy \"a\" (price p ((> price.p 3 EUR/h) 3 EUR/h) (otherwise 1 EUR/h)))" 1 26
           "cannot depend on a price")
          ("(policy \"a\" (price p ((between 1:00 2:00) 3 EUR/h) (otherwise 1 USD/h)))" 1 52
           "one currency")
          ("(policy \"a\" (price p (otherwise 1 EUR/h)) (rule \"b\" (exclude (> price.q 1 EUR/h))))" 1 65
           "did you mean price.p?")
          ("(policy \"a\" (price p (otherwise 1 EUR/h)) (rule \"b\" (exclude (> price.p 1 EUR/kWh))))" 1 73
           "a price in EUR/h"))
        do (destructuring-bind (on at said) (mistake text)
             (is (and (= line on) (= column at) (search expected said))
                 "~S: ~D:~D: ~A" text on at said))))

(test all-mistakes-of-a-file-are-told-in-the-order-of-its-lines
  (let ((mistakes (mistakes "(policy \"a\"
  (rule \"b\"
    (when (= task.kind :txt))
    (wieght 3))
  (rule \"c\" (exclude (= worker.nam \"x\"))))")))
    (is (equal '((3 24) (4 5) (5 25)) (loop for (line column) in mistakes collect (list line column))))))

(test more-mistakes-than-anybody-reads-are-counted
  (handler-case (progn (read-policy (format nil "(policy \"a\" ~{(rule \"~D\" (wait))~})"
                                            (loop for number below 50 collect number))
                                    "x.policy")
                       (fiveam:fail "it should be refused"))
    (policy-errors (condition)
      (is (= +mistakes+ (length (policy-errors-list condition))))
      (is (= (- 50 +mistakes+) (policy-errors-left-out condition)))
      (is (equal "x.policy: and 30 more" (first (last (policy-errors-lines condition))))))))

(test the-mark-with-which-some-editors-begin-a-file-is-no-part-of-the-policy
  (flet ((saved (text)
           (decoded (concatenate '(vector (unsigned-byte 8)) #(#xef #xbb #xbf)
                                 (sb-ext:string-to-octets text :external-format :utf-8)))))
    (is (null (mistakes (saved "(policy \"a\" (rule \"b\" (weight 2)))"))))
    (is (equal '(1 1) (subseq (mistake (saved "(polic \"a\")")) 0 2)))
    (is (= 1 (length (mistakes (saved ""))))))
  (is (equal '(1 9) (subseq (first (mistakes (format nil "(policy ~C\"a\")" (code-char #xfeff)))) 0 2))))

(test a-list-that-is-not-closed-is-named-where-it-begins
  (destructuring-bind (line column said)
      (mistake "(policy \"a\"
  (rule \"b\"
    (when (= task.kind :text)
    (weight 3))
  (rule \"c\" (weight 2)))")
    (is (equal '(3 5) (list line column)))
    (is (search "before line 4" said)))
  (destructuring-bind (line column said) (mistake "(policy \"a\" (rule \"b\" (weight 3))")
    (is (equal '(1 1) (list line column)))
    (is (search ") is missing" said)))
  (is (search "closes nothing" (third (mistake "(policy \"a\" (rule \"b\" (weight 3))))")))))

(test letters-that-look-like-others-are-named
  (let ((said (in-rule (format nil "(when (= task.k|~Cnd :text)) (weight 3)"
                               (code-char #x456))))) ; CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I
    (is (search "U+0456" said)))
  (let ((said (in-rule (format nil "(exclude (= worker.name |\"a~Cb\"))" (code-char #x202e)))))
    (is (search "U+202E" said)))
  (is (search "not UTF-8" (third (mistake (decoded (coerce #(40 255 41) '(vector (unsigned-byte 8)))))))))

(test what-is-too-much-is-refused
  (flet ((said (control &rest arguments)
           (third (mistake (apply #'format nil control arguments))))
         (many (count) (loop for number below count collect number)))
    (is (search "nested" (said "(policy \"a\" (rule \"b\" (when ~A" (make-string 99 :initial-element #\())))
    (is (search "nested" (said "~A" (make-string +file+ :initial-element #\())))
    (is (search "rules" (said "(policy \"a\" ~{(rule \"~D\" (weight 2))~})" (many (1+ +rules+)))))
    (is (search "at most" (said "(policy \"a\" ~{~D ~})" (many (1+ +forms+)))))
    (is (search "reservations"
                (said "(policy \"a\" ~{(rule \"~D\" (reserve worker.loaded (for task.streaming)))~})"
                      (many (1+ +reservations+)))))
    (is (search "KiB" (said "~A" (make-string (1+ +file+) :initial-element #\Space))))
    (is (search "256 characters" (said "(policy \"~A\")" (make-string 300 :initial-element #\a))))))

(test a-file-that-cannot-be-read-is-a-mistake
  (signals policy-errors (load-policy "/nonexistent/a.policy"))
  (signals policy-errors (load-policy "/")))
