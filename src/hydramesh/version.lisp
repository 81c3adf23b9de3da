(defpackage #:hydramesh/version
  (:use #:cl)
  (:export #:+version+)
  (:documentation "The version of this program."))
(in-package #:hydramesh/version)

;; Known when the program is built: build.sh takes it from pyproject.toml.
(defparameter +version+ (or (uiop:getenv "HYDRAMESH_VERSION") "unknown"))
