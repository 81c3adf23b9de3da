(defpackage #:hydramesh/foreign/waiter
  (:use #:cl)
  (:import-from #:cffi #:defcfun #:mem-ref #:inc-pointer)
  (:import-from #:hydramesh/foreign/system #:failed #:error-number)
  (:export #:waiter #:make-waiter #:waiter-wait #:waiter-wake #:waiter-close #:+more+)
  (:documentation "Waiting for file descriptors, and for other threads, in one system call."))
(in-package #:hydramesh/foreign/waiter)

(defcfun ("ppoll" %ppoll) :int (fds :pointer) (count :unsigned-long) (timeout :pointer) (mask :pointer))
(defcfun ("eventfd" %eventfd) :int (value :unsigned-int) (flags :int))
(defcfun ("read" %read) :ssize (fd :int) (buffer :pointer) (size :size))
(defcfun ("write" %write) :ssize (fd :int) (buffer :pointer) (size :size))
(defcfun ("close" %close) :int (fd :int))

;; Linux's numbers.
(defconstant +pollin+ 1)
(defconstant +pollout+ 4)
(defconstant +eintr+ 4)
(defconstant +nonblocking-closed-on-exec+ #o2004000)

;; What the system calls read and write lies in one block, made once.
(defconstant +watched+ 0 "struct pollfd of the descriptor.")
(defconstant +woken+ 8 "struct pollfd of the eventfd.")
(defconstant +others+ 16 "struct pollfd of each other descriptor.")
(defconstant +more+ 16 "How many of those there may be.")
(defconstant +timeout+ (+ +others+ (* 8 +more+)) "struct timespec.")
(defconstant +one+ (+ +timeout+ 16) "What is written to the eventfd.")
(defconstant +count+ (+ +one+ 8) "What is read from it.")
(defconstant +block+ (+ +count+ 8) "Bytes in all.")

(defstruct (waiter (:constructor %make-waiter (block event)))
  "Waits for a descriptor. BLOCK is its memory, EVENT the eventfd through which others wake it, or
NIL after `waiter-close`; LOCK keeps them from using it then."
  block
  (event 0 :type (or null (signed-byte 32)))
  (lock (sb-thread:make-mutex :name "waiter") :read-only t))

(defun make-waiter (descriptor)
  "Return a waiter for DESCRIPTOR, which stays the caller's; -1 is none. Signal SYSTEM-FAILURE if none can be made."
  (let ((event (%eventfd 0 +nonblocking-closed-on-exec+)))
    (when (minusp event)
      (failed "no eventfd can be opened"))
    (let ((block (cffi:foreign-alloc :uint8 :count +block+ :initial-element 0)))
      (setf (mem-ref block :int +watched+) descriptor
            (mem-ref block :int +woken+) event
            (mem-ref block :short (+ +woken+ 4)) +pollin+
            (mem-ref block :uint64 +one+) 1)
      (%make-waiter block event))))

(defun watch (block others)
  "Have OTHERS be those other descriptors that are looked at; return how many they are."
  (loop for descriptor in others
        for place from +others+ by 8
        repeat +more+
        do (setf (mem-ref block :int place) descriptor
                 (mem-ref block :short (+ place 4)) +pollin+)
        count t))

(defun waiter-wait (waiter writable timeout &optional others)
  "Wait until the descriptor can be read, or with WRITABLE also written, or one of OTHERS can be read, a list of
+MORE+ descriptors at most, or somebody wakes WAITER. Return true then, and NIL after TIMEOUT microseconds or at a signal. Signal SYSTEM-FAILURE if the
system cannot wait."
  (let ((block (waiter-block waiter)))
    (setf (mem-ref block :short (+ +watched+ 4)) (if writable (logior +pollin+ +pollout+) +pollin+))
    (multiple-value-bind (seconds microseconds) (floor (max timeout 0) 1000000)
      (setf (mem-ref block :long +timeout+) seconds
            (mem-ref block :long (+ +timeout+ 8)) (* 1000 microseconds)))
    (let ((ready (%ppoll block (+ 2 (watch block others)) (inc-pointer block +timeout+) (cffi:null-pointer))))
      (cond ((plusp ready)
             (unless (zerop (mem-ref block :short (+ +woken+ 6)))
               ;; All that woke it until now is answered by one return.
               (%read (waiter-event waiter) (inc-pointer block +count+) 8))
             t)
            ((or (zerop ready) (= (error-number) +eintr+)) nil)
            (t (failed "waiting failed"))))))

(defun waiter-wake (waiter)
  "Have the `waiter-wait` of another thread return now, or the next one at once.
Any thread may call this at any time; nothing happens after `waiter-close`."
  (sb-thread:with-recursive-lock ((waiter-lock waiter))
    (when (waiter-event waiter)
      (%write (waiter-event waiter) (inc-pointer (waiter-block waiter) +one+) 8)))
  nil)

(defun waiter-close (waiter)
  "Free what WAITER has; no thread may be in `waiter-wait`."
  (sb-thread:with-recursive-lock ((waiter-lock waiter))
    (when (waiter-event waiter)
      (%close (waiter-event waiter))
      (cffi:foreign-free (waiter-block waiter))
      (setf (waiter-event waiter) nil)))
  nil)
