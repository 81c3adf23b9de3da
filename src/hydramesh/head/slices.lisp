(defpackage #:hydramesh/head/slices
  (:use #:cl)
  (:import-from #:hydramesh/head/groups
                #:+rings+ #:before-p #:best-led #:host #:host-id #:host-lends #:host-room
                #:make-formation #:ring-of)
  (:export #:make-slicer #:form-slices)
  (:documentation "Which like workers together compute a model that none of them can hold, a slice each.

As with groups of lenders, nothing is kept here or measured. All slices are of one size, and their number
divides one that the model has, such as that of its heads. There are as few as suffice, as near to each
other as can be."))
(in-package #:hydramesh/head/slices)

(defstruct (slicer (:copier nil))
  "A worker that has the model, and could compute a slice of it.

HOST is it as groups see it: its room is what it has for a slice if it leads, what it lends if it does not.
Of the model, DIVIDED bytes are shared by all and EACH needs so many besides; the number of slices divides
MOST. Only those that are LIKE each other, and have the same model, work together."
  (host nil :type host :read-only t)
  (like "" :type string :read-only t)
  (divided 0 :type unsigned-byte :read-only t)
  (each 0 :type unsigned-byte :read-only t)
  (most 0 :type unsigned-byte :read-only t))

(defun needs (slicer slices)
  "Return the bytes of one of so many slices."
  (+ (slicer-each slicer) (ceiling (slicer-divided slicer) slices)))

(defun works-with-p (one other)
  "Return whether both compute the same, as far as can be told from here."
  (and (string/= "" (slicer-like one))
       (string= (slicer-like one) (slicer-like other))
       (= (slicer-divided one) (slicer-divided other))
       (= (slicer-each one) (slicer-each other))
       (= (slicer-most one) (slicer-most other))))

(defun form-slices (slicers most)
  "Return the FORMATION of at most MOST members besides the one that leads, NIL if none can.
SLICERS is an alist: each comes with whether it can lead."
  (let ((all (mapcar #'car slicers)))
    (best-led (mapcar #'car (remove nil slicers :key #'cdr))
              #'slicer-host
              (lambda (lead)
                (led-by lead (remove-if-not (lambda (one) (works-with-p one lead)) all) most)))))

(defun led-by (lead others most)
  (let* ((own (slicer-host lead))
         (ways (sort (loop for one in others
                           for host = (slicer-host one)
                           unless (string= (host-id host) (host-id own))
                             collect (list (ring-of own host) (- (host-lends host)) (host-id host)))
                     #'before-p)))
    (loop for ring to (1+ (length +rings+))
          do (loop for slices from 2 to (min (1+ most) (slicer-most lead))
                   for needed = (needs lead slices)
                   do (when (and (zerop (mod (slicer-most lead) slices))
                                 (<= needed (host-room own)))
                        (let ((able (loop for (away lends id) in ways
                                          when (and (<= away ring) (>= (- lends) needed))
                                            collect (cons id needed))))
                          (when (>= (length able) (1- slices))
                            (return-from led-by
                              (make-formation :lead (host-id own)
                                              :lead-bytes needed
                                              :members (subseq able 0 (1- slices))
                                              :ring ring)))))))))
