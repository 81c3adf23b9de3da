;;; Each file is a system of its own and defines the package of the same name, so what a file needs is
;;; what its package names: hydramesh/head/core is head/core.lisp.

(defclass schema-file (cl-source-file) ()
  (:documentation "The file whose types are made from the schema, as protoc describes it."))

(defmethod input-files ((operation compile-op) (file schema-file))
  (append (call-next-method)
          (list (or (uiop:getenvp "HYDRAMESH_DESCRIPTORS")
                    (system-relative-pathname "hydramesh" "build/daiic.desc")))))

(defsystem "hydramesh/schema"
  :depends-on ("hydramesh/protobuf/define" "hydramesh/protobuf/json/printing"
               "hydramesh/protobuf/json/parsing")
  :components ((schema-file "schema")))

(defsystem "hydramesh"
  :description "A head for DAIIC clusters."
  :license "BSD-3-Clause"
  :class :package-inferred-system
  :depends-on ("hydramesh/main")
  :in-order-to ((test-op (load-op "hydramesh/tests/all")))
  :perform (test-op (operation component)
             (unless (symbol-call '#:hydramesh/tests/all '#:run)
               (error "hydramesh's tests failed."))))
