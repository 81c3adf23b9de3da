(defpackage #:hydramesh/repl/tables
  (:use #:cl)
  (:import-from #:hydramesh/shown #:shown)
  (:export #:print-rows #:seconds-text #:bytes-text)
  (:documentation "Numbers and tables for people."))
(in-package #:hydramesh/repl/tables)

(defconstant +most-width+ 40 "Characters of a cell, the last of a row apart.")

(defun cell (value)
  (shown (princ-to-string (or value "")) 200))

(defun print-table (titles rows)
  "Print ROWS, lists of what stands below each of TITLES; numbers stand to the right."
  (let* ((rows (loop for row in rows collect (mapcar (lambda (value) (cons value (cell value))) row)))
         (widths (loop for title in titles
                       for column from 0
                       collect (min +most-width+
                                    (reduce #'max rows
                                            :key (lambda (row) (length (cdr (nth column row))))
                                            :initial-value (length title)))))
         (last (1- (length titles))))
    (flet ((line (texts)
             (let ((line (with-output-to-string (line)
                           (loop for (right-p . text) in texts
                                 for width in widths
                                 for column from 0
                                 do (unless (zerop column)
                                      (write-string "  " line))
                                    (cond (right-p (format line "~V@A" width text))
                                          ((= column last) (write-string text line))
                                          (t (format line "~VA" width (shown text width))))))))
               (write-line (string-right-trim " " line)))))
      (line (loop for title in titles
                  for column from 0
                  collect (cons (and rows (numberp (car (nth column (first rows))))) title)))
      (dolist (row rows)
        (line (loop for (value . text) in row collect (cons (numberp value) text)))))))

(defconstant +most-rows+ 200 "Rows of a table; more are counted.")

(defun print-rows (titles rows noun)
  "Print a table of ROWS, or that there is no NOUN."
  (cond ((null rows) (format t "no ~A~%" noun))
        (t
         (print-table titles (subseq rows 0 (min (length rows) +most-rows+)))
         (when (> (length rows) +most-rows+)
           (format t "and ~D more~%" (- (length rows) +most-rows+)))))
  (values))

(defun seconds-text (microseconds)
  "Return a span of time, rounded, as people say it."
  (let ((seconds (/ microseconds 1000000)))
    (cond ((< seconds 60) (format nil "~,1F s" seconds))
          ((< seconds 3600) (format nil "~D min ~D s" (floor seconds 60) (mod (floor seconds) 60)))
          ((< seconds 86400) (format nil "~D h ~D min" (floor seconds 3600) (floor (mod seconds 3600) 60)))
          (t (format nil "~D d ~D h" (floor seconds 86400) (floor (mod seconds 86400) 3600))))))

(defun bytes-text (bytes)
  "Return a size, rounded, as people say it."
  (cond ((< bytes 1024) (format nil "~D B" bytes))
        ((< bytes (ash 1 20)) (format nil "~,1F KiB" (/ bytes 1024)))
        (t (format nil "~,1F MiB" (/ bytes (ash 1 20))))))
