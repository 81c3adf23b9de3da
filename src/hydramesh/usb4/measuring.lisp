(defpackage #:hydramesh/usb4/measuring
  (:use #:cl)
  (:import-from #:hydramesh/foreign/dcf #:clock-free #:clock-new #:clock-now)
  (:import-from #:hydramesh/foreign/links
                #:all-links #:links-fd #:links-free #:links-measure #:links-step #:neighbour-address
                #:neighbour-at
                #:neighbour-echoed #:neighbour-largest #:neighbour-rtt #:neighbour-under-way
                #:neighbours #:open-links)
  (:import-from #:hydramesh/foreign/poll #:poll)
  (:export #:measure-cables
           #:measured #:measured-address #:measured-answers #:measured-rtt #:measured-worst #:measured-rate
           #:measured-size)
  (:documentation "How far away those at the other ends of cables are, and how much goes there, by probes that
they answer."))
(in-package #:hydramesh/usb4/measuring)

(defconstant +looking+ 2500000 "Microseconds in which others are looked for, who speak once a second.")
(defconstant +probes+ 50 "Round trips that are measured.")
(defconstant +patience+ 1000000 "Microseconds until an answer counts as lost.")
(defconstant +losses+ 3 "Answers lost after which no more are asked for.")
(defconstant +flood+ 1000000 "Microseconds in which as much is sent as is answered.")
(defconstant +window+ 32 "Probes under way in that time.")
(defconstant +most+ 8 "Neighbours that are measured.")

(defstruct (measured (:copier nil))
  "What was measured with the neighbour at ADDRESS. ANSWERS came to +PROBES+ small probes; of their round
trips, in microseconds, RTT is the median and WORST the longest, or NIL. RATE is the bytes a second of probes
of SIZE bytes that were answered, or NIL."
  (address 0 :type unsigned-byte :read-only t)
  (answers 0 :type unsigned-byte :read-only t)
  (rtt nil :read-only t)
  (worst nil :read-only t)
  (rate nil :read-only t)
  (size 0 :type unsigned-byte :read-only t))

(defun turn (links clock until)
  "Do what is due, before and after waiting until something comes or the time is UNTIL, ten milliseconds at
most."
  (links-step links (clock-now clock))
  (let ((left (- until (clock-now clock))))
    (when (plusp left)
      (poll (list (cons (links-fd links) :input)) (min 10 (ceiling left 1000)))
      (links-step links (clock-now clock)))))

(defun one-answer (links clock index size)
  "Send the neighbour INDEX a probe of SIZE bytes; return the microseconds until it is answered, or NIL."
  (let ((before (neighbour-echoed (neighbour-at links index)))
        (end (+ (clock-now clock) +patience+)))
    (links-measure links index size (clock-now clock))
    (loop
      (turn links clock end)
      (let ((neighbour (neighbour-at links index)))
        (cond ((null neighbour) (return nil))
              ((> (neighbour-echoed neighbour) before) (return (neighbour-rtt neighbour)))
              ((>= (clock-now clock) end) (return nil)))))))

(defun flood (links clock index size)
  "Return how many bytes a second the neighbour INDEX answers of probes of SIZE bytes, or NIL if it falls
silent."
  (let* ((begin (clock-now clock))
         (end (+ begin +flood+))
         (before (neighbour-echoed (neighbour-at links index)))
         (echoed before)
         (heard begin))
    (loop
      (let ((neighbour (neighbour-at links index)) (now (clock-now clock)))
        (when (or (null neighbour) (> now (+ heard +patience+)))
          (return nil))
        (when (> (neighbour-echoed neighbour) echoed)
          (setf echoed (neighbour-echoed neighbour) heard now))
        (when (>= now end)
          (return (floor (* 1000000 (- echoed before)) (- now begin))))
        (loop repeat (- +window+ (neighbour-under-way neighbour))
              do (links-measure links index size now))
        (turn links clock end)))))

(defun measure (links clock index)
  (let* ((neighbour (neighbour-at links index))
         (times (sort (loop with lost = 0
                            repeat +probes+
                            for time = (one-answer links clock index 0)
                            if time
                              collect time
                            else
                              do (incf lost)
                            until (= lost +losses+))
                      #'<))
         (largest (neighbour-largest neighbour))
         (size (if (one-answer links clock index largest) largest 1200)))
    (make-measured :address (neighbour-address neighbour)
                   :answers (length times)
                   :rtt (nth (floor (length times) 2) times)
                   :worst (first (last times))
                   :size size
                   :rate (and times (flood links clock index size)))))

(defun measure-cables (prefix key)
  "Return a list of the links whose devices' names begin with PREFIX, and one of what was measured with those
at their other ends. KEY is the cluster's, 32 octets or NIL. Signal as OPEN-LINKS does."
  (let ((links (open-links prefix key)) (clock (clock-new)))
    (unwind-protect
         (let ((end (+ (clock-now clock) +looking+)))
           (links-step links (clock-now clock))
           (when (all-links links)
             (loop while (< (clock-now clock) end)
                   do (turn links clock end)))
           (values (all-links links)
                   (loop for index below (min +most+ (length (neighbours links)))
                         collect (measure links clock index))))
      (clock-free clock)
      (links-free links))))
