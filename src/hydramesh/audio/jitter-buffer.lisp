(defpackage #:hydramesh/audio/jitter-buffer
  (:use #:cl)
  (:import-from #:hydramesh/audio/delays
                #:delays #:make-delays #:note-delay #:delays-clear #:delays-needed #:delays-least)
  (:import-from #:hydramesh/audio/limits #:+buffered+ #:+delay+ #:+concealed+)
  (:import-from #:hydramesh/audio/packet #:number-ahead #:packet #:packet-time #:packet-last)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:jitter-buffer #:make-jitter-buffer #:buffer-put #:buffer-take #:buffer-delay)
  (:documentation "Blocks that come irregularly, out of order, twice or not at all, are given out one at a time, as
regularly as they were made.

How long a block waits follows from how late others have been: see hydramesh/audio/delays. The delay grows when
too many would be late, by a block that is made up; it shrinks when blocks wait too long, by two that become
one. Within a pause it changes unheard.

TIME in here is which block of a sound it is, without end; the wire's number of 32 bits is taken for the nearest
to what came last. A number far from that begins another sound if the next one follows on it, as in RFC 3550,
A.1; until then it is ignored."))
(in-package #:hydramesh/audio/jitter-buffer)

(defconstant +patience+ 1000000 "Microseconds for which blocks have waited too long before one is left out.")

(defstruct (jitter-buffer (:conc-name buffer-) (:constructor %make-jitter-buffer (block delays)))
  "Packets with blocks of BLOCK microseconds that wait in SLOTS, each where its time modulo their number is;
TIMES are those that were the last to come there, even if they have been played. NEXT is the time of
the block that is due, NIL in a pause; PLAYED the last that was. NEWEST is the latest time that came, and STRANGE
the wire's number that may begin another sound. MISSING were made up in a row. Blocks wait too long since EAGER."
  (block 0 :type microseconds)
  (slots (make-array +buffered+ :initial-element nil) :type simple-vector)
  (times (make-array +buffered+ :element-type 'fixnum :initial-element most-negative-fixnum)
   :type (simple-array fixnum (*)))
  (delays nil :type delays)
  (next nil :type (or null fixnum))
  (played most-negative-fixnum :type fixnum)
  (newest nil :type (or null fixnum))
  (strange nil :type (or null (unsigned-byte 32)))
  (missing 0 :type fixnum)
  (eager nil :type (or null microseconds)))

(defun make-jitter-buffer (block)
  "Return a buffer for a sound in blocks of BLOCK microseconds, of which nothing has come yet."
  (%make-jitter-buffer block (make-delays (min (* 1000 +delay+) (floor (* 3 +buffered+ block) 4)))))

;;; What comes

(declaim (inline slot))
(defun slot (buffer time)
  "Return where in BUFFER the block of TIME is, if it has come."
  (mod time (length (buffer-slots buffer))))

(defun came-p (buffer time)
  "Return whether the block of TIME has come, if it was not long ago."
  (= time (aref (buffer-times buffer) (slot buffer time))))

(defun held-at (buffer time)
  "Return the packet that BUFFER holds for TIME, or NIL."
  (and (came-p buffer time)
       (svref (buffer-slots buffer) (slot buffer time))))

(defun begin (buffer number)
  "Have BUFFER forget everything: another sound begins at the wire's NUMBER."
  (fill (buffer-slots buffer) nil)
  (fill (buffer-times buffer) most-negative-fixnum)
  (delays-clear (buffer-delays buffer))
  (setf (buffer-next buffer) nil
        (buffer-played buffer) most-negative-fixnum
        (buffer-strange buffer) nil
        (buffer-newest buffer) number))

(defun buffer-put (buffer packet now)
  "Keep PACKET, which has come NOW. Return :KEPT; :BEGUN if it begins a sound, for which all before was dropped;
:LATE, :DOUBLE or :STRANGE if it is of no use."
  (let* ((number (packet-time packet))
         (newest (buffer-newest buffer))
         (ahead (if newest (number-ahead number newest) 0)))
    (declare (type (signed-byte 33) ahead))
    (cond ((null newest)
           (begin buffer number)
           (keep buffer packet number now)
           :begun)
          ((< (abs ahead) +buffered+)
           (setf (buffer-strange buffer) nil)
           (keep buffer packet (+ newest ahead) now))
          ((eql number (buffer-strange buffer))
           (begin buffer number)
           (keep buffer packet number now)
           :begun)
          ;; After a pause the number is further on, and that is no other sound: the clock has gone on as well.
          ((continues-p buffer (+ newest ahead) now)
           (setf (buffer-strange buffer) nil)
           (keep buffer packet (+ newest ahead) now))
          (t
           (setf (buffer-strange buffer) (ldb (byte 32 0) (1+ number)))
           :strange))))

(defun continues-p (buffer time now)
  "Return whether a block of TIME is expected about NOW, by what came before a pause."
  (let ((least (delays-least (buffer-delays buffer))))
    (and least
         (<= (abs (- now (* time (buffer-block buffer)) least)) (* 1000 +delay+)))))

(defun keep (buffer packet time now)
  "Keep PACKET as the block of TIME, if it is not too late and the first; return what became of it."
  (let ((delay (- now (* time (buffer-block buffer)))))
    (cond ((came-p buffer time)
           :double)
          ((<= time (buffer-played buffer))
           (note-delay (buffer-delays buffer) delay)
           :late)
          (t
           (note-delay (buffer-delays buffer) delay)
           (setf (svref (buffer-slots buffer) (slot buffer time)) packet
                 (aref (buffer-times buffer) (slot buffer time)) time
                 (buffer-newest buffer) (max time (buffer-newest buffer)))
           :kept))))

;;; What is due

(defun buffer-delay (buffer now)
  "Return how many microseconds after the least delay of all blocks that due NOW is, or would be."
  (let* ((delays (buffer-delays buffer))
         (next (buffer-next buffer)))
    (cond ((null (delays-least delays)) 0)
          (next (max 0 (- now (* next (buffer-block buffer)) (delays-least delays))))
          (t (- (delays-needed delays) (delays-least delays))))))

(defun first-held (buffer)
  "Return the least time that is held and was not played, or NIL."
  (loop with least = nil
        for packet across (buffer-slots buffer)
        for time across (buffer-times buffer)
        when (and packet
                  (> time (buffer-played buffer))
                  (or (null least) (< time least)))
          do (setf least time)
        finally (return least)))

(defun resume (buffer now)
  "Go on after a pause if it is time for the first block that has come since."
  (let ((time (first-held buffer)))
    (when (and time
               (>= (- now (* time (buffer-block buffer))) (delays-needed (buffer-delays buffer))))
      (setf (buffer-next buffer) time
            (buffer-missing buffer) 0
            (buffer-eager buffer) nil))))

(defun pause (buffer)
  "Have nothing due in BUFFER until more has come."
  (setf (buffer-next buffer) nil))

(defun remove-held (buffer time)
  "Return the packet that is held for TIME, or NIL, and note that it is played."
  (let ((packet (held-at buffer time)))
    (setf (buffer-played buffer) time
          (buffer-next buffer) (1+ time))
    (when packet
      (setf (svref (buffer-slots buffer) (slot buffer time)) nil
            (buffer-missing buffer) 0)
      (when (packet-last packet)
        (pause buffer)))
    packet))

(defun buffer-take (buffer now)
  "Take what is to be heard for the length of a block from NOW on. To be called once for each such length.
Return one of these, and for a block the packet:
  :PAUSE   nothing; the speaker pauses
  :BLOCK   the packet
  :JOIN    two packets that become one block
  :LOST    a block that has to be made up; with the packet after it, if that has come
  :WAIT    a block that has to be made up, as the next one still has time"
  (unless (buffer-next buffer)
    (resume buffer now))
  (let ((next (buffer-next buffer)))
    (if (null next)
        :pause
        (let ((spare (- now (* next (buffer-block buffer)) (delays-needed (buffer-delays buffer)))))
          (cond ((>= (buffer-missing buffer) +concealed+)
                 (setf (buffer-played buffer) (1- next))
                 (pause buffer)
                 :pause)
                ((minusp spare)
                 (setf (buffer-eager buffer) nil)
                 (made-up buffer :wait))
                ((shorten-p buffer next spare now)
                 (setf (buffer-eager buffer) nil)
                 (let ((first (remove-held buffer next)))
                   (if (buffer-next buffer)
                       (values :join first (remove-held buffer (1+ next)))
                       (values :block first))))
                ((held-at buffer next)
                 (values :block (remove-held buffer next)))
                (t
                 (setf (buffer-played buffer) next
                       (buffer-next buffer) (1+ next))
                 (values (made-up buffer :lost) (held-at buffer (1+ next)))))))))

(defun made-up (buffer kind)
  "Count that a block of BUFFER has to be made up; return KIND."
  (incf (buffer-missing buffer))
  kind)

(defun shorten-p (buffer next spare now)
  "Return whether blocks have waited more than a block too long for a while, and two are here to become one."
  (cond ((<= spare (floor (* 5 (buffer-block buffer)) 4))
         (setf (buffer-eager buffer) nil))
        ((null (buffer-eager buffer))
         (setf (buffer-eager buffer) now)
         nil)
        (t
         (and (>= (- now (buffer-eager buffer)) +patience+)
              (held-at buffer next)
              (held-at buffer (1+ next))))))
