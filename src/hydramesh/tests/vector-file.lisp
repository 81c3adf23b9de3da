(defpackage #:hydramesh/tests/vector-file
  (:use #:cl)
  (:import-from #:hydramesh/protobuf/json/reader #:read-json #:object-members)
  (:export #:vectors #:at #:bytes)
  (:documentation "The test vectors that all languages read, in tests/vectors of the repository."))
(in-package #:hydramesh/tests/vector-file)

(defun vectors (name groups)
  "Return what is in the file NAME, JSON; NIL if the tests are run without the repository.
Signal an error unless it has these GROUPS, which are those that its readers know, and no others."
  (let ((path (probe-file (merge-pathnames (format nil "../../tests/vectors/~A" name)
                                           (asdf:system-source-directory "hydramesh")))))
    (when path
      (with-open-file (stream path :element-type '(unsigned-byte 8))
        (let ((octets (make-array (file-length stream) :element-type '(unsigned-byte 8))))
          (read-sequence octets stream)
          (checked (read-json octets) (cons "about" groups)))))))

(defun checked (file groups)
  "Return FILE, an object; signal an error if its members are others than GROUPS."
  (let ((strange (set-exclusive-or (mapcar #'car (object-members file)) groups :test #'string=)))
    (when strange
      (error "Vectors that are not there, or that nobody reads: ~{~A~^, ~}." strange))
    file))

(defun at (object name)
  "Return the member NAME of OBJECT, NIL if there is none."
  (cdr (assoc name (object-members object) :test #'string=)))

(defun bytes (text)
  "Return the bytes that TEXT has in hex."
  (let ((bytes (make-array (floor (length text) 2) :element-type '(unsigned-byte 8))))
    (dotimes (at (length bytes) bytes)
      (setf (aref bytes at) (parse-integer text :start (* 2 at) :end (* 2 (1+ at)) :radix 16)))))
