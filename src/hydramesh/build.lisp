;;;; Saves the program `build/hydramesh`; build.sh loads this after load.lisp.

(sb-ext:save-lisp-and-die
 (merge-pathnames "build/hydramesh" (asdf:system-source-directory "hydramesh"))
 :toplevel (lambda () (uiop:symbol-call '#:hydramesh/main '#:main))
 :executable t
 ;; The heap's size is the one of this process, and all arguments are the program's own.
 :save-runtime-options t)
