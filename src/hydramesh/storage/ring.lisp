(defpackage #:hydramesh/storage/ring
  (:use #:cl)
  (:export #:ring #:make-ring #:ring-put #:ring-take #:ring-lost)
  (:documentation "A bounded queue from one thread to one other, at which neither ever waits."))
(in-package #:hydramesh/storage/ring)

(defstruct (ring (:constructor make-ring (size &aux (slots (make-array size :initial-element nil)))))
  "TAKEN and PUT-COUNT count what was taken out and put in; each is changed by one of the two threads only.
LOST counts what was put while there was no room."
  (slots #() :type simple-vector :read-only t)
  (taken 0 :type (unsigned-byte 62))
  (put-count 0 :type (unsigned-byte 62))
  (lost 0 :type (unsigned-byte 62)))

(defun ring-put (ring item)
  "Put ITEM, which is not NIL, into RING; without room it is lost and counted."
  (let ((slots (ring-slots ring)) (put (ring-put-count ring)))
    (if (>= (- put (ring-taken ring)) (length slots))
        (incf (ring-lost ring))
        (progn
          (setf (svref slots (mod put (length slots))) item)
          ;; The other thread must not see the count before the item.
          (sb-thread:barrier (:write))
          (setf (ring-put-count ring) (1+ put))))))

(defun ring-take (ring)
  "Return the oldest item and take it out, or NIL if there is none."
  (let ((slots (ring-slots ring)) (taken (ring-taken ring)))
    (when (< taken (ring-put-count ring))
      (sb-thread:barrier (:read))
      (let ((place (mod taken (length slots))))
        (prog1 (shiftf (svref slots place) nil)
          (sb-thread:barrier (:memory))
          (setf (ring-taken ring) (1+ taken)))))))
