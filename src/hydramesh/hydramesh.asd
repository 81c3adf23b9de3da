;;; Each file is a system of its own and defines the package of the same name, so what a file needs is
;;; what its package names: hydramesh/head/core is head/core.lisp.

(defsystem "hydramesh"
  :description "A head for DAIIC clusters."
  :license "BSD-3-Clause"
  :class :package-inferred-system
  :depends-on ("hydramesh/main")
  :in-order-to ((test-op (load-op "hydramesh/tests/all")))
  :perform (test-op (operation component)
             (unless (symbol-call '#:hydramesh/tests/all '#:run)
               (error "hydramesh's tests failed."))))
