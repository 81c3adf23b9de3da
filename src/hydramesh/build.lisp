;;;; Saves the program `build/hydramesh`; build.sh loads this.

(asdf:load-system "hydramesh")

(sb-ext:save-lisp-and-die
 (merge-pathnames "build/hydramesh" (asdf:system-source-directory "hydramesh"))
 :toplevel (lambda () (uiop:symbol-call '#:hydramesh/main '#:main))
 :executable t
 :save-runtime-options t)
