(defpackage #:hydramesh/tests/protobuf/released-schema
  (:use #:cl)
  (:import-from #:fiveam #:def-suite #:in-suite #:is #:skip #:test)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/protobuf/names #:lisp-name)
  (:import-from #:hydramesh/protobuf/json/reader #:read-json #:object-p #:object-members)
  (:import-from #:hydramesh/tests/suite #:hydramesh)
  (:local-nicknames (#:pb #:hydramesh/schema)))
(in-package #:hydramesh/tests/protobuf/released-schema)

(def-suite released-schema :in hydramesh
  :description "What a released version wrote means the same today.")
(in-suite released-schema)

(defun vectors ()
  "Return the files that released versions have left, newest or not; none in a package without tests."
  (directory (merge-pathnames "../../tests/vectors/schema-*.json"
                              (asdf:system-source-directory "hydramesh"))))

(defun contents (file)
  (with-open-file (in file :element-type '(unsigned-byte 8))
    (let ((octets (make-array (file-length in) :element-type '(unsigned-byte 8))))
      (read-sequence octets in)
      octets)))

(defun member-of (object name)
  (cdr (assoc name (object-members object) :test #'string=)))

(defun octets-of (hex)
  (let ((octets (make-array (floor (length hex) 2) :element-type '(unsigned-byte 8))))
    (dotimes (place (length octets) octets)
      (setf (aref octets place)
            (parse-integer hex :start (* 2 place) :end (* 2 (1+ place)) :radix 16)))))

(defun same-p (one other)
  "Return whether two values of JSON are the same, whatever the order of members is."
  (cond ((object-p one)
         (and (object-p other)
              (= (length (object-members one)) (length (object-members other)))
              (loop for (name . value) in (object-members one)
                    for found = (assoc name (object-members other) :test #'string=)
                    always (and found (same-p value (cdr found))))))
        ((simple-vector-p one) (and (simple-vector-p other)
                                    (= (length one) (length other))
                                    (every #'same-p one other)))
        ((stringp one) (and (stringp other) (string= one other)))
        ((numberp one) (and (numberp other) (= one other)))
        (t (eq one other))))

(defun text-of (value)
  "Return VALUE, as read, as JSON again."
  (with-output-to-string (out)
    (labels ((put (value)
               (cond ((object-p value)
                      (write-string "{" out)
                      (loop for ((name . item) . more) on (object-members value)
                            do (format out "\"~a\":" name)
                               (put item)
                               (when more
                                 (write-string "," out)))
                      (write-string "}" out))
                     ((simple-vector-p value)
                      (write-string "[" out)
                      (loop for place from 0 below (length value)
                            do (unless (zerop place)
                                 (write-string "," out))
                               (put (aref value place)))
                      (write-string "]" out))
                     ((stringp value) (format out "\"~a\"" value))
                     ((floatp value) (format out "~f" value))
                     ((numberp value) (format out "~d" value))
                     (t (write-string (string-downcase value) out)))))
      (put value))))

(test bytes-and-json-of-released-versions-mean-the-same-today
  (unless (vectors)
    (skip "tests/vectors is not here"))
  (dolist (file (vectors))
    (loop for case across (member-of (read-json (contents file)) "messages")
          for name = (find-symbol (lisp-name (member-of case "message")) '#:hydramesh/schema)
          for octets = (octets-of (member-of case "bytes"))
          for json = (member-of case "json")
          do (is (equalp octets (pb:encode (pb:decode name octets))) "~a" name)
             (is (same-p json (read-json (pb:to-json (pb:decode name octets)))) "~a" name)
             (is (equalp octets
                         (pb:encode (pb:from-json name (sb-ext:string-to-octets
                                                        (text-of json) :external-format :utf-8))))
                 "~a" name))))
