(uiop:define-package #:hydramesh/run/package
  (:use #:cl)
  (:import-from #:hydramesh/audio)
  (:import-from #:hydramesh/domain/asking)
  (:import-from #:hydramesh/game)
  (:import-from #:hydramesh/iot)
  (:import-from #:hydramesh/service/logs)
  (:documentation "The package in which programs are read: Common Lisp, the three languages for games, audio
and sensors, and tasks for the cluster."))
(in-package #:hydramesh/run/package)

(uiop:define-package #:hydramesh/program
  (:use #:cl #:hydramesh/audio #:hydramesh/domain/asking #:hydramesh/game #:hydramesh/iot)
  (:import-from #:hydramesh/events #:seconds)
  (:import-from #:hydramesh/errors #:task-error-name)
  (:import-from #:hydramesh/service/logs #:log-info #:log-warning)
  (:documentation "Where programs are read."))
