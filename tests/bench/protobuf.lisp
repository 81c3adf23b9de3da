;;;; Measures how HydraMesh encodes and decodes the messages in a folder; protobuf.py runs this.
;;;;
;;;; The folder, which the environment's MESSAGES names, has files TYPE-NAME as Protocol Buffers. For
;;;; each there is a line on stdout: what was measured, then for one message the wall and processor
;;;; seconds and the octets taken from the heap.

(let ((*standard-output* *error-output*))
  (asdf:load-system "hydramesh/schema")
  (when (asdf:find-system "yason" nil)
    (asdf:load-system "yason")))

(defpackage #:protobuf-bench
  (:use #:cl)
  (:local-nicknames (#:pb #:hydramesh/schema)))
(in-package #:protobuf-bench)

(defun contents (file)
  (with-open-file (in file :element-type '(unsigned-byte 8))
    (let ((octets (make-array (file-length in) :element-type '(unsigned-byte 8))))
      (read-sequence octets in)
      octets)))

(defun wall ()
  (multiple-value-bind (seconds nanoseconds) (sb-unix::clock-gettime 1) ; CLOCK_MONOTONIC
    (+ seconds (* 1d-9 nanoseconds))))

(defun processor ()
  (multiple-value-bind (seconds nanoseconds)
      (sb-unix::clock-gettime sb-unix:clock-process-cputime-id)
    (+ seconds (* 1d-9 nanoseconds))))

(defun cost (function count)
  "Return what each of COUNT calls costs: wall and processor seconds, and octets."
  (let ((wall (wall)) (processor (processor)) (octets (sb-ext:get-bytes-consed)))
    (dotimes (call count)
      (funcall function))
    (list (/ (- (wall) wall) count)
          (/ (- (processor) processor) count)
          (/ (float (- (sb-ext:get-bytes-consed) octets) 1d0) count))))

(defun measure (what function)
  "Print what one call of FUNCTION costs, in the best of ten short runs, or of a long one."
  (let* ((first (cost function 1))
         (count (max 1 (ceiling 0.05d0 (first first))))
         (costs (if (> (first first) 1)
                    (list first)
                    (loop repeat 11
                          collect (cost function count) into costs
                          do (setf count (max 1 (ceiling 0.05d0 (first (first (last costs))))))
                          finally (return (rest costs))))))
    (format t "~a ~{~,12f~^ ~}~%" what (first (sort costs #'< :key #'second)))
    (finish-output)))

(dolist (file (directory (merge-pathnames "*.pb" (uiop:getenv-pathname "MESSAGES" :ensure-directory t))))
  (let* ((title (pathname-name file))
         (type (find-symbol (string-upcase (subseq title 0 (position #\. title))) '#:pb))
         (octets (contents file))
         (message (pb:decode type octets))
         (json (pb:to-json message)))
    (flet ((measured (what function)
             (measure (format nil "~a ~a" title what) function)))
      (assert (equalp octets (pb:encode message)))
      (measured "encode protobuf" (lambda () (pb:encode message)))
      (measured "decode protobuf" (lambda () (pb:decode type octets)))
      (measured "encode json" (lambda () (pb:to-json message)))
      (when (< (length octets) 100000) ; so many values are refused
        (measured "decode json" (lambda () (pb:from-json type json))))
      (when (and (find-package '#:yason) (< (length octets) 100000))
        ;; Tables and lists instead of messages, and no checks: what JSON costs at the least.
        (let* ((text (sb-ext:octets-to-string json :external-format :utf-8))
               (tables (uiop:symbol-call '#:yason '#:parse text)))
          (measured "encode yason"
                    (lambda ()
                      (sb-ext:string-to-octets
                       (with-output-to-string (out) (uiop:symbol-call '#:yason '#:encode tables out))
                       :external-format :utf-8)))
          (measured "decode yason"
                    (lambda ()
                      (uiop:symbol-call '#:yason '#:parse
                                        (sb-ext:octets-to-string json :external-format :utf-8)))))))))
