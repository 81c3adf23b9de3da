(defpackage #:hydramesh/tests/protobuf/payload
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:signals #:test)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/protobuf/payload
                #:id-in #:joined #:split #:+long+ #:+max-fields+ #:+surely-cheap+)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:local-nicknames (#:pb #:hydramesh/schema)))
(in-package #:hydramesh/tests/protobuf/payload)

(def-suite payload :in hydramesh
  :description "What a stranger's message may cost, and what is passed on of it as it came.")
(in-suite payload)

(defconstant +images+ 12)

(defun large-text ()
  (make-string (1+ +surely-cheap+) :initial-element #\x))

(defun image (size)
  (pb:make-image :png (make-array size :element-type '(unsigned-byte 8) :initial-element 7) :seed 3))

(test too-many-fields-are-not-decoded
  (flet ((result (count)
           (pb:encode (pb:make-result :text (large-text)
                                      :images (loop repeat count collect (pb:make-image))))))
    (is (= (1- +max-fields+)
           (length (pb:result-images (split 'pb:result (result (1- +max-fields+)) '())))))
    (signals pb:malformed (split 'pb:result (result +max-fields+) '()))
    (signals pb:malformed (split 'pb:result (result +max-fields+) '()))))

(test what-is-passed-on-is-what-decoding-changing-and-encoding-gives
  (let* ((original (pb:make-result :id 5 :text (large-text) :final t
                                   :images (list (image 9) (image (* 3 +long+)))))
         (payload (pb:encode original)))
    (multiple-value-bind (read pieces) (split 'pb:result payload (list +images+))
      (is (equal '(9 0) (loop for image in (pb:result-images read)
                              collect (length (pb:image-png image)))))
      (is (equal '(3 3) (mapcar #'pb:image-seed (pb:result-images read))))
      (setf (pb:result-images read) '()
            (pb:result-id read) 77
            (pb:result-id original) 77)
      (is (equalp (pb:encode original)
                  (pb:encode (pb:decode 'pb:result (joined payload pieces read))))))))

(test a-small-message-is-read-whole
  (multiple-value-bind (read pieces)
      (split 'pb:result (pb:encode (pb:make-result :images (list (image 2000)))) (list +images+))
    (is (null pieces))
    (is (= 2000 (length (pb:image-png (first (pb:result-images read))))))))

(test an-id-is-found-in-what-is-no-message
  (flet ((with-rubbish (message)
           (concatenate 'octets (pb:encode message) #(#xff #xff #xff))))
    (is (= (1- (ash 1 64)) (id-in (with-rubbish (pb:make-task :id (1- (ash 1 64)) :model "m")))))
    (is (= 0 (id-in (with-rubbish (pb:make-task :model "m")))))
    (is (= 0 (id-in (coerce '() 'octets))))))
