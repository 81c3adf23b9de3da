(uiop:define-package #:hydramesh/schema
  (:use)
  (:import-from #:hydramesh/protobuf/wire #:malformed #:malformed-reason)
  (:import-from #:hydramesh/protobuf/define #:define-messages #:enum-name #:enum-number)
  (:import-from #:hydramesh/protobuf/codec
                #:encode #:encoded-size #:decode #:copy-message #:merge-message)
  (:import-from #:hydramesh/protobuf/json/printing #:to-json)
  (:import-from #:hydramesh/protobuf/json/parsing #:from-json)
  (:export #:to-json #:from-json #:malformed #:malformed-reason #:enum-name #:enum-number
           #:encode #:encoded-size #:decode #:copy-message #:merge-message)
  (:documentation "The messages of daiic.proto, as Lisp has them; others call this package `pb`.

For each message there is a structure, as `task`, with a constructor `make-task` that takes keywords,
accessors as `task-model`, and a predicate. Names of nested types are joined: `tool-choice`.

- A number, string, octets or boolean that is not set has its default: 0, an empty one, or NIL. What
  the schema calls optional, and a message, is then NIL.
- Of a oneof, all members are NIL but the one chosen, and setting one clears the others; a function
  with the oneof's name, as `task-work`, returns the keyword of the chosen one. It can be set too.
- Enums are whole numbers; `+queue-full+` is one, of a nested enum `+tool-choice-required+`.
- Repeated numbers are vectors specialised to them, of enums to (signed-byte 32); other repeated
  fields are lists; maps are alists.
- Octets are of the type of that name in hydramesh/events.

Fields that the schema does not know are kept and encoded again."))
(in-package #:hydramesh/schema)

(define-messages
 (cl:second (asdf:input-files 'asdf:compile-op (asdf:find-component "hydramesh/schema" "schema"))))
