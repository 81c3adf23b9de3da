;;;; Saves the program as the file that HYDRAMESH_PROGRAM names; build.sh loads this after load.lisp.

(defvar *usual* sb-ext:*muffled-warnings*)

;; SBCL reads the arguments before the program does, and would say at length that one is not UTF-8.
(setf sb-ext:*muffled-warnings* 'warning)

(sb-ext:save-lisp-and-die
 (uiop:getenv "HYDRAMESH_PROGRAM")
 :toplevel (lambda ()
             (setf sb-ext:*muffled-warnings* *usual*)
             (uiop:symbol-call '#:hydramesh/main '#:main))
 :executable t
 ;; The heap's size is the one of this process, and all arguments are the program's own.
 :save-runtime-options t)
