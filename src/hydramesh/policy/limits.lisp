(defpackage #:hydramesh/policy/limits
  (:use #:cl)
  (:export #:+file+ #:+forms+ #:+depth+ #:+atom+ #:+name+ #:+rules+ #:+prices+ #:+rows+ #:+reservations+
           #:+mistakes+ #:+most-factor+ #:+most-weight+)
  (:documentation "The bounds of a policy, with which both reading one and deciding by it come to an end
soon. docs/policies.md has them all."))
(in-package #:hydramesh/policy/limits)

(defconstant +file+ (ash 256 10) "Bytes of a policy.")
(defconstant +forms+ 20000 "Lists, words, texts and numbers in it.")
(defconstant +depth+ 32 "Lists in one another.")
(defconstant +atom+ 256 "Characters of a word, a text or a number.")
(defconstant +name+ 80 "Characters of the name of a policy or a rule.")
(defconstant +rules+ 500 "Rules of a policy.")
(defconstant +prices+ 20 "Tables of prices.")
(defconstant +rows+ 100 "Rows of a table of prices.")
(defconstant +reservations+ 60 "Rules that reserve something: a set of them is one whole number.")
(defconstant +mistakes+ 20 "Mistakes that are told at once.")
(defconstant +most-factor+ 1000 "By which a rule may multiply or divide.")
(defconstant +most-weight+ 1000000 "To which all rules together may raise a weight, or its reciprocal.")
