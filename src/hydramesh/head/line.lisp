(defpackage #:hydramesh/head/line
  (:use #:cl)
  (:export #:line #:make-line #:line-empty-p #:line-first #:line-last #:line-items
           #:line-append #:line-insert #:line-remove)
  (:documentation "Things that wait one behind the other, and of which any may leave."))
(in-package #:hydramesh/head/line)

(defstruct (node (:copier nil))
  "The place of ITEM in a line."
  (item nil :read-only t)
  (before nil :type (or null node))
  (after nil :type (or null node)))

(defstruct (line (:copier nil))
  (head nil :type (or null node))
  (tail nil :type (or null node)))

(defun line-empty-p (line)
  "Return whether nothing waits in LINE."
  (null (line-head line)))

(defun line-first (line)
  "Return what waits first; LINE must not be empty."
  (node-item (line-head line)))

(defun line-last (line)
  "Return what waits last; LINE must not be empty."
  (node-item (line-tail line)))

(defun line-items (line)
  "Return a list of what waits, the first first."
  (loop for node = (line-head line) then (node-after node)
        while node collect (node-item node)))

(defun line-append (line item)
  "Let ITEM wait last; return its place, for LINE-REMOVE."
  (insert-behind line (line-tail line) item))

(defun line-insert (line item key)
  "Let ITEM wait behind the last one that has no greater KEY; return its place."
  (let ((number (funcall key item)))
    (loop for node = (line-tail line) then (node-before node)
          while (and node (> (funcall key (node-item node)) number))
          finally (return (insert-behind line node item)))))

(defun insert-behind (line node item)
  "Let ITEM wait behind NODE, first if that is NIL; return its place."
  (let* ((after (if node (node-after node) (line-head line)))
         (new (make-node :item item :before node :after after)))
    (if node
        (setf (node-after node) new)
        (setf (line-head line) new))
    (if after
        (setf (node-before after) new)
        (setf (line-tail line) new))
    new))

(defun line-remove (line node)
  "Let what is at the place NODE wait no longer."
  (let ((before (node-before node))
        (after (node-after node)))
    (if before
        (setf (node-after before) after)
        (setf (line-head line) after))
    (if after
        (setf (node-before after) before)
        (setf (line-tail line) before))))
