(defpackage #:hydramesh/foreign/float-traps
  (:use #:cl)
  (:export #:without-float-traps #:in-library)
  (:documentation "Calls of foreign code that calculates with floats.

Such code expects that dividing by zero, and the like, gives infinity and traps nobody. To arrange that takes
longer than most of the functions that are called, so who calls many of them arranges it once around all."))
(in-package #:hydramesh/foreign/float-traps)

(defvar *traps-masked* nil "Whether this thread is in `without-float-traps`.")

(defmacro without-float-traps (&body body)
  "Do BODY, in which no arithmetic with floats signals anything; foreign calls are faster inside."
  `(sb-int:with-float-traps-masked (:invalid :divide-by-zero :overflow :inexact)
     (let ((*traps-masked* t))
       ,@body)))

(defmacro in-library (call)
  "Do CALL, of a foreign function, without traps."
  `(if *traps-masked*
       ,call
       (without-float-traps ,call)))
