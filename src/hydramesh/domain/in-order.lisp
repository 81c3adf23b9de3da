(defpackage #:hydramesh/domain/in-order
  (:use #:cl)
  (:import-from #:hydramesh/events #:microseconds #:octets #:seconds)
  (:import-from #:hydramesh/domain/limits
                #:+reliable-window+ #:+reliable-window-bytes+ #:+reliable-waiting+ #:+skip-after+)
  (:import-from #:hydramesh/domain/packing #:packed #:with-unpacking #:take #:rest-octets #:malformed-payload)
  (:export #:sender #:make-sender #:sender-put #:sender-next #:sender-sent #:sender-delivered #:sender-idle-p
           #:receiver #:make-receiver #:receiver-accept #:receiver-gap-p #:receiver-skip
           #:receiver-early-bytes
           #:read-reliable)
  (:documentation "The order of RELIABLE messages on a channel, see docs/transport.md. The transport delivers
each once, in any order; this puts numbers before them, and puts them in order again."))
(in-package #:hydramesh/domain/in-order)

;;; Sending

(defstruct (sender (:constructor make-sender (channel epoch)))
  "The messages on CHANNEL to a peer. Those before BASE were acknowledged; NUMBER is that of the next one to
be sent. IN-FLIGHT has those in between, as (number sequence size), the newest first; a SEQUENCE of NIL:
acknowledged. WAITING are bodies that are not sent yet, in order."
  (channel 0 :type (unsigned-byte 8))
  (epoch 0 :type (unsigned-byte 64))
  (number 0 :type (unsigned-byte 33))
  (in-flight '() :type list)
  (bytes 0 :type fixnum)
  (waiting (cons '() '()) :type cons)
  (waiting-count 0 :type fixnum))

(defun base (sender)
  (let ((last (last (sender-in-flight sender))))
    (if last (first (first last)) (sender-number sender))))

(defun sender-put (sender body)
  "Have BODY sent; return whether there is room for it."
  (when (< (sender-waiting-count sender) +reliable-waiting+)
    (let ((cell (list body)) (queue (sender-waiting sender)))
      (if (car queue)
          (setf (cddr queue) cell)
          (setf (car queue) cell))
      (setf (cdr queue) cell)
      (incf (sender-waiting-count sender))
      t)))

(defun sender-next (sender)
  "Return the payload of the message that may be sent now, NIL if there is none."
  (let ((body (first (car (sender-waiting sender)))) (behind (- (sender-number sender) (base sender))))
    (when (and body
               (< behind +reliable-window+)
               (or (zerop (sender-bytes sender))
                   (<= (+ (sender-bytes sender) (length body)) +reliable-window-bytes+)))
      (packed (:u8 (sender-channel sender)) (:u8 behind) (:u64 (sender-epoch sender))
              (:u32 (sender-number sender)) (:octets body)))))

(defun sender-sent (sender sequence)
  "Note that what `sender-next` returned has the transport's number SEQUENCE."
  (let ((body (pop (car (sender-waiting sender)))))
    (decf (sender-waiting-count sender))
    (push (list (sender-number sender) sequence (length body)) (sender-in-flight sender))
    (incf (sender-bytes sender) (length body))
    (incf (sender-number sender))))

(defun sender-delivered (sender sequence)
  "Note that the message with the transport's number SEQUENCE was acknowledged; return whether it was one of
these."
  (let ((entry (find sequence (sender-in-flight sender) :key #'second)))
    (when entry
      (setf (second entry) nil)
      (let ((open (reverse (sender-in-flight sender))))
        (loop while (and open (null (second (first open))))
              do (decf (sender-bytes sender) (third (pop open))))
        (setf (sender-in-flight sender) (nreverse open)))
      t)))

(defun sender-idle-p (sender)
  "Return whether all was acknowledged."
  (and (null (sender-in-flight sender)) (zerop (sender-waiting-count sender))))

;;; Receiving

(defun read-reliable (payload)
  "Return channel, behind, epoch, number and body of a RELIABLE's payload. Signal MALFORMED-PAYLOAD."
  (with-unpacking (payload)
    (let ((channel (take :u8)) (behind (take :u8)) (epoch (take :u64)) (number (take :u32)))
      (when (> behind number)
        (error 'malformed-payload))
      (values channel behind epoch number (rest-octets)))))

(defconstant +overhead+ 64 "Bytes that a message which waits takes beside its body.")

(defun early-size (body)
  (+ +overhead+ (length body)))

(defstruct (receiver (:constructor make-receiver ()))
  "The messages on a channel from a peer. EXPECTED is the next number of EPOCH; EARLY are those that came
before their turn, as (number . body), in order, EARLY-BYTES what they take, and GAP-SINCE is when the first
of them came. At HEARD-AT the last one of EPOCH came."
  (epoch nil :type (or null (unsigned-byte 64)))
  (expected 0 :type (unsigned-byte 33))
  (early '() :type list)
  (early-bytes 0 :type fixnum)
  (gap-since 0 :type microseconds)
  (heard-at 0 :type microseconds))

(defun receiver-accept (receiver behind epoch number body now room)
  "Take a message; return the bodies whose turn it is, in order, and what else is to be counted: NIL,
:SKIPPED if some will never come, or :REFUSED if this one is dropped. It may keep ROOM bytes more for later."
  (declare (type octets body))
  (let ((base (- number behind)) (skipped nil) (bodies '()))
    (flet ((pass (body) (push body bodies)))
      (when (outdated-p receiver epoch now)
        (return-from receiver-accept (values '() :refused)))
      (unless (eql epoch (receiver-epoch receiver))
        (begin receiver epoch base))
      (setf (receiver-heard-at receiver) now)
      (when (> base (receiver-expected receiver))
        (setf skipped t)
        (follow receiver base #'pass))
      (let ((expected (receiver-expected receiver)))
        (cond ((= number expected)
               (pass body)
               (incf (receiver-expected receiver))
               (follow receiver 0 #'pass))
              ((and (> number expected) (not (keep-early receiver number body now room)))
               (return-from receiver-accept (values (nreverse bodies) :refused)))))
      (values (nreverse bodies) (and skipped :skipped)))))

(defun outdated-p (receiver epoch now)
  "Return whether what is of EPOCH was sent before a newer epoch began. When that is quiet for longer than
messages are repeated, its sender's clock was set back, or it was made up."
  (and (receiver-epoch receiver)
       (< epoch (receiver-epoch receiver))
       (< now (+ (receiver-heard-at receiver) (seconds +skip-after+)))))

(defun begin (receiver epoch base)
  (setf (receiver-epoch receiver) epoch
        (receiver-expected receiver) base
        (receiver-early receiver) '()
        (receiver-early-bytes receiver) 0))

(defun keep-early (receiver number body now room)
  "Keep what came before its turn; return whether it is kept, or was."
  (cond ((assoc number (receiver-early receiver)) t)
        ((or (> (early-size body) room)
             (> (+ (early-size body) (receiver-early-bytes receiver))
                (+ +reliable-window-bytes+ (* +overhead+ +reliable-window+))))
         nil)
        (t
         (when (null (receiver-early receiver))
           (setf (receiver-gap-since receiver) now))
         (setf (receiver-early receiver)
               (merge 'list (receiver-early receiver) (list (cons number body)) #'< :key #'car))
         (incf (receiver-early-bytes receiver) (early-size body))
         t)))

(defun follow (receiver least pass)
  "Call PASS with the bodies whose turn it is, and with those of numbers below LEAST, which then is expected."
  (loop for (number . body) = (first (receiver-early receiver))
        while (and number (or (< number least) (= number (receiver-expected receiver))))
        do (pop (receiver-early receiver))
           (decf (receiver-early-bytes receiver) (early-size body))
           (setf (receiver-expected receiver) (1+ number))
           (funcall pass body))
  (setf (receiver-expected receiver) (max least (receiver-expected receiver)))
  ;; What LEAST has reached may be followed by more.
  (let ((first (first (receiver-early receiver))))
    (when (and first (= (car first) (receiver-expected receiver)))
      (follow receiver 0 pass))))

(defun receiver-gap-p (receiver)
  "Return whether messages wait for an earlier one."
  (and (receiver-early receiver) t))

(defun receiver-skip (receiver now)
  "Return the bodies whose turn it is because what they wait for will not come any more."
  (let ((bodies '()))
    (when (and (receiver-early receiver)
               (>= now (+ (receiver-gap-since receiver) (seconds +skip-after+))))
      (follow receiver (car (first (receiver-early receiver))) (lambda (body) (push body bodies)))
      (setf (receiver-gap-since receiver) now))
    (nreverse bodies)))
