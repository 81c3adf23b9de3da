;;;; What every use of the sources needs before it loads a system.

(require :asdf)

;; SBCL's own ASDF stops at a package with local nicknames. What these name is imported from as well, so
;; no dependency is lost.
(sb-int:encapsulate
 'asdf/package-inferred-system::package-dependencies 'without-local-nicknames
 (lambda (dependencies form &rest more)
   (flet ((nicknames-p (option)
            (and (consp option) (eq (first option) :local-nicknames))))
     (apply dependencies (remove-if #'nicknames-p form) more))))
