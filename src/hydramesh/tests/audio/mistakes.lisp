(defpackage #:hydramesh/tests/audio/mistakes
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:test)
  (:import-from #:hydramesh/audio/definition #:defaudio-stream)
  (:import-from #:hydramesh/domain/definitions #:*definitions* #:bad-definition #:bad-definition-field)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:documentation "What is wrong in a `defaudio-stream` is said while it is compiled, and what would be right."))
(in-package #:hydramesh/tests/audio/mistakes)

(def-suite audio-mistakes :in hydramesh)
(in-suite audio-mistakes)

(defun mistake-in (&rest clauses)
  "Return the field and the text of the mistake in CLAUSES; NIL if there is none."
  (handler-case (progn (macroexpand-1 `(defaudio-stream talk ,@clauses)) nil)
    (bad-definition (condition)
      (values (bad-definition-field condition) (princ-to-string condition)))))

(defmacro says (clause field &rest words)
  "Check that CLAUSE is wrong in FIELD, and that the text names the form and has all WORDS."
  `(multiple-value-bind (field text) (mistake-in ',clause)
     (is (equal ,(and field (format nil "~(~S~)" field)) field) "~S is wrong in ~S: ~A" ',clause field text)
     (dolist (word '("defaudio-stream talk" ,@words))
       (is (search word text) "~S is not in ~S" word text))))

(test a-stream-may-say-what-it-is
  (is (null (nth-value 1 (mistake-in "All who speak hear each other." '(:rate 48000))))))

(test mistakes-name-the-form-the-field-and-what-would-be-right
  (says (:rate 44100) :rate "44100" "48000")
  (says (:rate) :rate "48000")
  (says (:rate 48000 16000) :rate "one thing")
  (says (:block 21) :block "20")
  (says (:codec :mp3) :codec ":opus" ":pcm")
  (says (:codec :opsu) :codec ":opus")
  (says (:codec :opus :bitrate 5) :codec "6000")
  (says (:codec :opus :bits 5) :codec ":bitrate")
  (says (:codec :opus :bitrate) :codec ":bitrate")
  (says (:codec :pcm :bitrate 32000) :codec "(:codec :pcm)")
  (says (:codec :pcm) :block "1920" "1127" ":codec :opus")
  (says (:filters (:high-pass 80) (:reverb 3)) :filters ":high-pass")
  (says (:filters (:high-pass 30000)) :filters "21600")
  (says (:filters :high-pass) :filters "(:high-pass 80)")
  (says (:filters (:gate 10)) :filters "-90" "0")
  (says (:priority 10) :priority "0" "9")
  (says (:speakers 65) :speakers "64")
  (says (:speakers 0) :speakers "1")
  (says (:channel -1) :channel "65535")
  (says (:speaker 65535) :speaker "65534")
  (says (:packets :dfc) :packets ":dcf")
  (says (:send :everybody) :send ":speakers")
  (says (:from 3) :from "path")
  (says (:on uterance (a b)) :on "utterance")
  (says (:on utterance (a)) :on "speaker" "samples")
  (says (:on) :on "utterance")
  (says (:frequency 48000) nil ":rate")
  (says 48000 nil "48000"))

(test what-other-nodes-would-not-understand-is-a-mistake
  (is (null (mistake-in '(:packets :dcf))))
  (dolist (clause '((:rate 24000) (:block 10) (:codec :opus :bitrate 64000)))
    (is (equal ":packets" (mistake-in '(:packets :dcf) clause)) "~S" clause)))

(test what-is-written-twice-is-a-mistake
  (is (equal ":rate" (mistake-in '(:rate 48000) '(:rate 16000))))
  (is (equal ":on" (mistake-in '(:on end () 1) '(:on end () 2)))))

(test what-is-right-is-no-mistake
  (dolist (clauses '(() ((:codec :pcm) (:rate 24000)) ((:codec :pcm) (:block 10)) ((:block 2.5))
                     ((:codec :opus :signal :music :bitrate 256000))
                     ((:filters (:high-pass 80) (:low-pass 8000) (:gain -3) (:gate -50)))
                     ((:from (uiop:getenv "SOUND")) (:to "/tmp/out.wav") (:send :mix))
                     ((:on start ()) (:on join (who) (print who)) (:on block (samples)) (:on end () 1))))
    (is (null (apply #'mistake-in clauses)) "~S" clauses)))

(test a-definition-is-there-when-it-is-loaded
  (let ((*definitions* '()))
    (is (eq 'talk (eval '(defaudio-stream talk (:rate 16000)))))
    (eval '(defaudio-stream talk (:rate 24000)))
    (is (= 1 (length *definitions*)))))
