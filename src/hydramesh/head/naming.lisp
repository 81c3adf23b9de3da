(defpackage #:hydramesh/head/naming
  (:use #:cl)
  (:import-from #:hydramesh/head/limits #:head-limits-named-models #:+limits+)
  (:import-from #:hydramesh/head/worker #:worker-heartbeat)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:shown)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:+looked-at+ #:listed #:models #:quoted)
  (:documentation "The names that errors list: some of many, fit to be shown."))
(in-package #:hydramesh/head/naming)

(defconstant +looked-at+ 4096 "Models of workers that are looked at to name some.")

(defun models (workers)
  "Return the names of the models that WORKERS tell of, in order."
  (let ((names (make-hash-table :test 'equal))
        (left +looked-at+))
    (block looking
      (dolist (worker workers)
        (dolist (model (pb:heartbeat-models (worker-heartbeat worker)))
          (when (minusp (decf left))
            (return-from looking))
          (setf (gethash (shown (pb:model-status-name model)) names) t))))
    (sort (loop for name being the hash-keys of names collect name) #'string<)))

(defun quoted (names)
  "Return NAMES in quotation marks, see LISTED."
  (listed names (lambda (name) (format nil "\"~a\"" (shown name)))))

(defun listed (names &optional (show #'identity))
  "Return the first of NAMES as text, each as SHOW makes it, and how many more there are."
  (let* ((most (head-limits-named-models +limits+))
         (more (- (length names) most)))
    (format nil "~{~a~^, ~}~@[ and ~d more~]"
            (mapcar show (if (plusp more) (subseq names 0 most) names))
            (and (plusp more) more))))
