;;;; What every use of the sources needs before it loads a system.

(require :asdf)

;; nixpkgs' SBCL has a collector that hardly moves anything, and saves a heap with all the room that was
;; ever taken; so room is used again before more is taken. SBCL's own measure is a twentieth of the reserve.
(setf (sb-ext:bytes-consed-between-gcs) (ash 24 20))

;; SBCL's own ASDF stops at a package with local nicknames. What these name is imported from as well, so
;; no dependency is lost.
(sb-int:encapsulate
 'asdf/package-inferred-system::package-dependencies 'without-local-nicknames
 (lambda (dependencies form &rest more)
   (flet ((nicknames-p (option)
            (and (consp option) (eq (first option) :local-nicknames))))
     (apply dependencies (remove-if #'nicknames-p form) more))))
