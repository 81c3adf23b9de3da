(defpackage #:hydramesh/model-identity
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:differences #:same-model-p)
  (:documentation "Whether two models are the same, whatever they are called.

An answer may be continued only by the model that began it. What either side does not tell counts as
equal: workers of older versions tell nothing."))
(in-package #:hydramesh/model-identity)

(declaim (inline differ-p))
(defun differ-p (one other)
  "Return whether both strings say something, and not the same."
  (and (string/= one "") (string/= other "") (string/= one other)))

(defun differences (one other)
  "Return those of :WEIGHTS, :TOKENIZER and :QUANTIZATION in which two PB:MODEL-IDENTITY differ.
NIL for one of them is a model that tells nothing."
  (when (and one other)
    (loop for (aspect read) in `((:weights ,#'pb:model-identity-weights)
                                 (:tokenizer ,#'pb:model-identity-tokenizer)
                                 (:quantization ,#'pb:model-identity-quantization))
          when (differ-p (funcall read one) (funcall read other))
            collect aspect)))

(defun same-model-p (one other)
  "Return whether there are no DIFFERENCES."
  (not (and one other
            (or (differ-p (pb:model-identity-weights one) (pb:model-identity-weights other))
                (differ-p (pb:model-identity-tokenizer one) (pb:model-identity-tokenizer other))
                (differ-p (pb:model-identity-quantization one)
                          (pb:model-identity-quantization other))))))
