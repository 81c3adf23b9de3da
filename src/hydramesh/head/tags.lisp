(defpackage #:hydramesh/head/tags
  (:use #:cl)
  (:export #:tag-set #:tag-subset-p #:tag-difference)
  (:documentation "What owners say of their workers, for tasks to ask for.

A set of tags is a list of strings in order, each once; so two equal sets are EQUAL."))
(in-package #:hydramesh/head/tags)

(defun tag-set (tags)
  "Return the set of TAGS, a list of strings."
  (if (null (rest tags))
      tags
      (loop with last = nil
            for tag in (sort (copy-list tags) #'string<)
            unless (and last (string= tag last))
              collect (setf last tag))))

(defun tag-subset-p (needed tags)
  "Return whether all of the set NEEDED are in the set TAGS."
  (loop until (null needed)
        do (loop while (and tags (string< (first tags) (first needed)))
                 do (pop tags))
           (unless (and tags (string= (first tags) (first needed)))
             (return nil))
           (pop needed)
           (pop tags)
        finally (return t)))

(defun tag-difference (tags others)
  "Return those of the set TAGS that are not in the set OTHERS."
  (loop for tag in tags
        do (loop while (and others (string< (first others) tag))
                 do (pop others))
        unless (and others (string= (first others) tag))
          collect tag))
