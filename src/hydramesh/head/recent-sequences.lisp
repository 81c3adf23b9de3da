(defpackage #:hydramesh/head/recent-sequences
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds)
  (:import-from #:hydramesh/id-table
                #:make-id-table #:id-table #:id-table-count #:id-table-get #:id-table-put
                #:id-table-remove #:id-table-clear)
  (:export #:recent-sequences #:make-recent-sequences #:recent-sequences-capacity
           #:recent-sequences-member-p #:recent-sequences-add #:recent-sequences-discard)
  (:documentation "The memory of numbers seen lately, long enough to recognise what is repeated.

There are two generations of sets: the younger one becomes the older when it holds CAPACITY numbers or
is LIFETIME old. No order of the numbers is assumed."))
(in-package #:hydramesh/head/recent-sequences)

(defstruct (recent-sequences (:constructor %make-recent-sequences))
  (capacity 4096 :type (integer 1))
  (lifetime 0 :type microseconds :read-only t)
  (younger nil :type id-table)
  (older nil :type id-table)
  (since 0 :type microseconds))

(defun make-recent-sequences (entropy lifetime &key (capacity 4096))
  "Return an empty memory; see HYDRAMESH/ID-TABLE for what ENTROPY is for."
  (%make-recent-sequences :capacity capacity
                          :lifetime lifetime
                          :younger (make-id-table entropy :valued nil)
                          :older (make-id-table entropy :valued nil)))

(defun recent-sequences-member-p (recent number)
  "Return whether NUMBER is remembered."
  (or (id-table-get (recent-sequences-younger recent) number)
      (id-table-get (recent-sequences-older recent) number)))

(defun recent-sequences-add (recent number now)
  "Remember NUMBER, seen at NOW."
  (let ((count (id-table-count (recent-sequences-younger recent))))
    (cond ((zerop count)
           (setf (recent-sequences-since recent) now))
          ((or (>= count (recent-sequences-capacity recent))
               (> (- now (recent-sequences-since recent)) (recent-sequences-lifetime recent)))
           (rotatef (recent-sequences-younger recent) (recent-sequences-older recent))
           (id-table-clear (recent-sequences-younger recent))
           (setf (recent-sequences-since recent) now))))
  (id-table-put (recent-sequences-younger recent) number t))

(defun recent-sequences-discard (recent number)
  "Forget NUMBER."
  (id-table-remove (recent-sequences-younger recent) number)
  (id-table-remove (recent-sequences-older recent) number))
