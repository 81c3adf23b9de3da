(defpackage #:hydramesh/tests/all
  (:use #:cl)
  (:import-from #:fiveam)
  (:import-from #:hydramesh/tests/answer-order)
  (:import-from #:hydramesh/tests/id-table)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/tests/service/event-loop)
  (:import-from #:hydramesh/tests/service/settings)
  (:import-from #:hydramesh/tests/service/toml)
  (:import-from #:hydramesh/tests/storage/archive)
  (:import-from #:hydramesh/tests/storage/recorder)
  (:import-from #:hydramesh/tests/storage/stores)
  (:export #:run)
  (:documentation "Every test; each file of tests/ adds its suite to the suite `hydramesh`."))
(in-package #:hydramesh/tests/all)

(defun run ()
  "Run every test; return whether all passed."
  (fiveam:run! 'hydramesh/tests/suite:hydramesh))
