(defpackage #:hydramesh/model-identity
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:same-model-p)
  (:documentation "Whether two models are the same, whatever they are called.

An answer may be continued only by the model that began it. What either side does not tell counts as
equal: workers of older versions tell nothing."))
(in-package #:hydramesh/model-identity)

(declaim (inline differ-p))
(defun differ-p (one other)
  "Return whether both strings say something, and not the same."
  (and (string/= one "") (string/= other "") (string/= one other)))

(defun same-model-p (one other)
  "Return whether two PB:MODEL-IDENTITY are of the same model. NIL is a model that tells nothing."
  (not (and one other
            (or (differ-p (pb:model-identity-weights one) (pb:model-identity-weights other))
                (differ-p (pb:model-identity-tokenizer one) (pb:model-identity-tokenizer other))
                (differ-p (pb:model-identity-quantization one)
                          (pb:model-identity-quantization other))
                (differ-p (pb:model-identity-precision one) (pb:model-identity-precision other))))))
