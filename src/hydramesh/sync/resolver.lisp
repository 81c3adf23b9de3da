(defpackage #:hydramesh/sync/resolver
  (:use #:cl)
  (:import-from #:hydramesh/address #:all-addresses #:numeric)
  (:import-from #:hydramesh/foreign/system #:system-failure)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:export #:resolver #:make-resolver #:resolve)
  (:documentation "The addresses of the heads that the settings name.

To look up a name may take long, so a thread does it, and again from time to time: names of machines that
start together, or that move, are found later."))
(in-package #:hydramesh/sync/resolver)

(defparameter +again+ 30 "Seconds between two times that names are looked up.")

(defstruct (resolver (:constructor make-resolver (give)) (:copier nil))
  "GIVE is a function that is called, by a thread of its own, with an alist of names and their addresses.
NAMES are strings as host:port, MISSED those of them that could not be found the last time."
  (give nil :type function :read-only t)
  (names '() :type list)
  (missed '() :type list)
  (changed (sb-thread:make-semaphore) :read-only t)
  (thread nil))

(defun resolve (resolver names)
  "Find the addresses of NAMES from now on; return an alist of those that need not be looked up."
  (setf (resolver-names resolver) names)
  (when (and (null (resolver-thread resolver)) (notevery #'numeric names))
    (setf (resolver-thread resolver)
          (sb-thread:make-thread (lambda () (run resolver)) :name "resolver")))
  (when (resolver-thread resolver)
    (sb-thread:signal-semaphore (resolver-changed resolver)))
  (loop for name in names
        for address = (numeric name)
        when address collect (list name address)))

(defun run (resolver)
  (loop
    (sb-thread:wait-on-semaphore (resolver-changed resolver) :timeout +again+)
    (let ((names (resolver-names resolver)))
      (funcall (resolver-give resolver)
               (loop for name in names collect (cons name (look-up resolver name)))))))

(defun look-up (resolver name)
  (handler-case (prog1 (all-addresses name)
                  (setf (resolver-missed resolver)
                        (remove name (resolver-missed resolver) :test #'string=)))
    (system-failure (condition)
      (unless (member name (resolver-missed resolver) :test #'string=)
        (push name (resolver-missed resolver))
        (log-warning "a head cannot be found; it is looked for again"
                     :peer name :reason (princ-to-string condition)))
      '())))
