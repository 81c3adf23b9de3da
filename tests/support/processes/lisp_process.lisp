;;;; Frames between a test and a process of Lisp: a length of 4 octets, and as many octets.

(defpackage #:lisp-process
  (:use #:cl)
  (:export #:number-in #:octets-of #:receive #:send))
(in-package #:lisp-process)

(defvar *in* (sb-sys:make-fd-stream 0 :element-type '(unsigned-byte 8) :buffering :full))
(defvar *out* (sb-sys:make-fd-stream 1 :element-type '(unsigned-byte 8) :buffering :full :output t :input nil))

(defun number-in (octets start count)
  "Return the number of COUNT octets from START, the highest first."
  (loop with number = 0
        for at from start below (+ start count)
        do (setf number (logior (ash number 8) (aref octets at)))
        finally (return number)))

(defun octets-of (number count)
  "Return a list of the COUNT octets of NUMBER, the highest first."
  (loop for place from (* 8 (1- count)) downto 0 by 8
        collect (ldb (byte 8 place) number)))

(defun receive ()
  "Return the next frame, or NIL at the end."
  (let ((header (make-array 4 :element-type '(unsigned-byte 8))))
    (when (= 4 (read-sequence header *in*))
      (let ((frame (make-array (number-in header 0 4) :element-type '(unsigned-byte 8))))
        (read-sequence frame *in*)
        frame))))

(defun send (&rest parts)
  "Send a frame of PARTS, sequences of octets."
  (write-sequence (octets-of (reduce #'+ parts :key #'length) 4) *out*)
  (dolist (part parts)
    (write-sequence part *out*))
  (finish-output *out*))
