(defpackage #:hydramesh/foreign/stack
  (:use #:cl)
  (:export #:guard-stack-again)
  (:documentation "What SBCL leaves undone after a thread's stack was too small.

It takes away the guard at the stack's end, so that there is room to handle the error, and puts another one
a little before it, whose touch on the way back restores the first. A THROW passes that by. The process ends
when the next thread that gets the same memory for its stack comes to the wrong guard."))
(in-package #:hydramesh/foreign/stack)

(defun guard-stack-again (condition)
  "Restore the guard of this thread's stack if CONDITION says that it was reached.
To be called by whoever has caught CONDITION, far from the stack's end."
  (when (typep condition 'sb-kernel::control-stack-exhausted)
    ;; From the stack's end on there are a page that nobody may touch, the guard and the one before it.
    (let ((end (sb-vm::current-thread-offset-sap sb-vm::thread-control-stack-start-slot))
          (page (sb-alien:extern-alien "os_vm_page_size" (sb-alien:unsigned 32))))
      (setf (sb-sys:sap-ref-8 end (+ (* 2 page) (ash page -1))) 0)))
  nil)
