(defpackage #:hydramesh/tests/protobuf/messages
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:signals #:test)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/protobuf/codec #:message-unknown)
  (:import-from #:hydramesh/protobuf/payload #:joined)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What messages are like in Lisp. That their bytes are right is tested beside Python's,
in tests/integration/hydramesh/test_protobuf.py."))
(in-package #:hydramesh/tests/protobuf/messages)

(def-suite messages :in hydramesh
  :description "Messages of the schema as structures.")
(in-suite messages)

(defun octets (&rest octets)
  (coerce octets 'octets))

(defun again (message)
  "Return what is read of MESSAGE when it was written."
  (pb:decode (type-of message) (pb:encode message)))

(test what-is-not-set-has-its-default
  (let ((task (pb:make-task)))
    (is (= 0 (pb:task-id task)))
    (is (string= "" (pb:task-model task)))
    (is (null (pb:task-stream task)))
    (is (null (pb:task-resume task)))
    (is (null (pb:task-tags task)))
    (is (null (pb:task-work task)))
    (is (= 0 (length (pb:encode task)))))
  (let ((text (pb:make-text-task)))
    (is (null (pb:text-task-temperature text)))
    (is (= 0 (pb:text-task-max-tokens text))))
  (is (equalp #() (pb:result-tokens (pb:make-result))))
  (is (equalp #() (pb:image-png (pb:make-image)))))

(test what-is-optional-can-be-its-default
  (let ((text (again (pb:make-text-task :temperature 0f0 :seed 0 :top-k 0))))
    (is (eql 0f0 (pb:text-task-temperature text)))
    (is (eql 0 (pb:text-task-seed text)))
    (is (eql 0 (pb:text-task-top-k text)))
    (is (null (pb:text-task-top-p text)))))

(test a-member-of-a-oneof-clears-the-others
  (let ((task (pb:make-task :text (pb:make-text-task :prompt "a"))))
    (is (eq :text (pb:task-work task)))
    (setf (pb:task-image task) (pb:make-image-task :width 5))
    (is (eq :image (pb:task-work task)))
    (is (null (pb:task-text task)))
    (is (= 5 (pb:image-task-width (pb:task-image (again task)))))
    (setf (pb:task-text task) nil)
    (is (eq :image (pb:task-work task)))
    (setf (pb:task-image task) nil)
    (is (null (pb:task-work task)))))

(test a-member-can-be-chosen-with-its-default
  (let ((constraint (pb:make-constraint)))
    (setf (pb:constraint-form constraint) :json)
    (is (eq :json (pb:constraint-form (again constraint))))
    (is (null (pb:constraint-json (again constraint)))))
  (is (eql pb:+tool-choice-auto+
           (pb:tool-choice-mode (again (pb:make-tool-choice :mode pb:+tool-choice-auto+)))))
  (is (eq :status (pb:task-work (again (pb:make-task :status (pb:make-status-task)))))))

(test repeated-numbers-are-vectors-of-them
  (let ((result (again (pb:make-result :tokens '(1 200 70000)
                                       :embeddings (list (pb:make-embedding :values '(0.5 -1.0)))))))
    (is (typep (pb:result-tokens result) '(simple-array (unsigned-byte 32) (3))))
    (is (equalp #(1 200 70000) (pb:result-tokens result)))
    (is (typep (pb:embedding-values (first (pb:result-embeddings result)))
               '(simple-array single-float (2)))))
  (let ((model (again (pb:make-model-status :capabilities (list pb:+chat+ -7)))))
    (is (typep (pb:model-status-capabilities model) '(simple-array (signed-byte 32) (2))))
    (is (find pb:+chat+ (pb:model-status-capabilities model)))))

(test maps-are-alists-and-of-equal-keys-the-first-counts
  (let ((sampling (again (pb:make-sampling :logit-bias '((7 . 1.0) (2 . 0.5) (7 . 9.0))))))
    (is (equal '((2 . 0.5) (7 . 1.0)) (pb:sampling-logit-bias sampling)))))

(test enums-have-names
  (is (string= "READY" (pb:enum-name 'pb:worker-state pb:+ready+)))
  (is (null (pb:enum-name 'pb:worker-state 77)))
  (is (eql pb:+tool-choice-required+ (pb:enum-number 'pb:tool-choice-mode "REQUIRED"))))

(test strings-are-unicode
  (dolist (string (list "" "plain" "ä€😀" (make-string 300 :initial-element #\é)
                        (coerce "base" 'simple-base-string)))
    (is (string= string (pb:task-model (again (pb:make-task :model string))))))
  ;; A string with a fill pointer, and half of a surrogate pair.
  (let ((string (make-array 5 :element-type 'character :fill-pointer 2 :initial-element #\x)))
    (is (string= "xx" (pb:task-model (again (pb:make-task :model string))))))
  (is (string= (string (code-char #xfffd))
               (pb:task-model (again (pb:make-task :model (string (code-char #xd800))))))))

(test strings-that-are-not-utf-8-are-malformed
  (dolist (text (list (octets #xff) (octets #xc3) (octets #xc0 #x80) (octets #xed #xa0 #x80)
                      (octets #xf4 #x90 #x80 #x80) (octets #xe0 #x80 #x80)))
    (signals pb:malformed
      (pb:decode 'pb:task (concatenate 'octets (octets #x12 (length text)) text)))))

(test fields-that-are-not-known-are-written-again
  (let ((unknown (octets #xfa #x3e 2 1 2)))
    (let ((cancel (pb:decode 'pb:cancel (concatenate 'octets unknown (octets 8 5)))))
      (is (= 5 (pb:cancel-id cancel)))
      (is (equalp unknown (message-unknown cancel)))
      (setf (pb:cancel-id cancel) 6)
      (is (equalp (concatenate 'octets (octets 8 6) unknown) (pb:encode cancel)))
      (is (equalp (pb:encode cancel) (pb:encode (pb:copy-message cancel)))))))

(test a-part-of-octets-can-be-read
  (is (= 5 (pb:cancel-id (pb:decode 'pb:cancel (octets 1 2 8 5 9) :start 2 :end 4))))
  (signals error (pb:decode 'pb:cancel (octets 8 5) :end 3)))

(test numbers-of-all-64-bits-are-written
  (dolist (number (list 0 127 128 (1- (ash 1 32)) (1- (ash 1 62)) (ash 1 62) (ash 1 63) (1- (ash 1 64))))
    (is (= number (pb:cancel-id (again (pb:make-cancel :id number)))))))

(test a-copy-shares-nothing-that-changes
  (let* ((task (pb:make-task :tags (list "a") :text (pb:make-text-task :prompt "a")))
         (copy (pb:copy-message task)))
    (setf (pb:text-task-prompt (pb:task-text copy)) "b")
    (push "b" (pb:task-tags copy))
    (is (string= "a" (pb:text-task-prompt (pb:task-text task))))
    (is (equal '("a") (pb:task-tags task)))))

(test merging-is-as-decoding-both
  (let ((into (pb:make-task :model "a" :tags '("x") :resume (pb:make-resume :index 3 :tokens '(1))))
        (from (pb:make-task :id 5 :tags '("y") :resume (pb:make-resume :text "t" :tokens '(2)))))
    (let ((expected (pb:decode 'pb:task (concatenate 'octets (pb:encode into) (pb:encode from)))))
      (is (equalp (pb:encode expected) (pb:encode (pb:merge-message into from)))))))

(test a-message-can-be-written-behind-parts-of-another
  (let ((whole (joined (octets 0 8 5) '((1 . 3)) (pb:make-task :model "a"))))
    (is (equalp (octets 8 5 #x12 1 97) whole))
    (is (= 5 (pb:task-id (pb:decode 'pb:task whole))))))

(test what-has-the-wrong-type-is-an-error-at-once
  ;; The compiler complains of a constant.
  (signals type-error (setf (pb:task-id (pb:make-task)) (parse-integer "-1")))
  (signals type-error (setf (pb:task-text (pb:make-task)) (pb:make-image-task)))
  (signals error (pb:make-result :tokens '(-1))))
