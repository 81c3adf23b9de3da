(defpackage #:hydramesh/protobuf/payload
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire
                #:index #:malformed #:+varint+ #:+length+ #:+depth+ #:read-tag #:read-varint
                #:read-length #:read-fixed32 #:read-fixed64 #:varint-size #:write-varint)
  (:import-from #:hydramesh/protobuf/descriptors
                #:message-type-fields #:field-number #:field-kind #:field-label #:field-type)
  (:import-from #:hydramesh/protobuf/codec
                #:codec-named #:codec-type #:decode #:encode-from)
  (:export #:+max-fields+ #:+surely-cheap+ #:+long+ #:split #:joined #:id-in)
  (:documentation "Reads messages that others have sent, within a bound of what they may cost.

Two octets can stand for an empty message that takes a hundred in memory, so a large payload has its
fields counted before it is decoded.

A large payload that is passed on is not decoded and encoded again. `split` returns what has to be
read of it, and the rest as it came. Two encodings one after the other are the encoding of both
messages merged, so the rest followed by the encoding of what was read and changed is the message
with its changes; `joined` makes that."))
(in-package #:hydramesh/protobuf/payload)

(defconstant +max-fields+ 20000
  "Fields of a large message, those of messages within it included.")

(defconstant +surely-cheap+ (ash 1 16)
  "Octets of a message whose fields are not counted, and that is not split.")

(defconstant +long+ (ash 1 10)
  "Octets and packed floats that are longer are left out of what is read of a large message.")

(defun split (name payload aside)
  "Return the message of the type NAME in PAYLOAD, and its fields with the numbers ASIDE as they came.

The second value is a list of parts of PAYLOAD, as pairs of where one begins and where it ends. A
small message is returned whole, with nothing aside. In a large one, long octets and packed floats of
the fields that are aside are left empty. Clear these fields before encoding the message, and put the
pieces first, as `joined` does.

Signal MALFORMED if there is none, or it is large and has more than +MAX-FIELDS+ fields."
  (declare (type octets payload))
  (if (<= (length payload) +surely-cheap+)
      (values (decode name payload) '())
      (let ((outline (outline name payload aside)))
        (values (decode name (if outline (assembled payload outline) payload))
                (pieces payload aside)))))

(defun joined (payload pieces message)
  "Return PIECES, parts of PAYLOAD, and MESSAGE, encoded, behind them."
  (fill-in (encode-from (reduce #'+ pieces :key #'piece-size) message) payload pieces))

(defun id-in (payload)
  "Return the `id` of a task's message that may not be decoded, 0 if none is found.
It has the number 1 in all of them, and is looked for in the first +MAX-FIELDS+ fields."
  (declare (type octets payload))
  (let ((position 0) (end (length payload)))
    (handler-case
        (loop repeat +max-fields+
              while (< position end)
              do (multiple-value-bind (number wire-type start next)
                     (field-at payload position end)
                   (when (and (= number 1) (= wire-type +varint+))
                     (return (values (read-varint payload start next))))
                   (setf position next))
              finally (return 0))
      (malformed () 0))))

(defun field-at (payload position end)
  "Return number, wire type, and where the value begins and ends, of the field at POSITION."
  (declare (type octets payload) (type index position end))
  (multiple-value-bind (tag start) (read-tag payload position end)
    (declare (type index start))
    (when (< tag 8)
      (malformed "a field has the number 0"))
    (multiple-value-bind (start next)
        (case (logand tag 7)
          (0 (values start (nth-value 1 (read-varint payload start end))))
          (1 (values start (nth-value 1 (read-fixed64 payload start end))))
          (2 (read-length payload start end))
          (5 (values start (nth-value 1 (read-fixed32 payload start end))))
          (t (malformed "groups are not known")))
      (declare (type index start next))
      (values (ash tag -3) (logand tag 7) start next))))

(defun pieces (payload aside)
  "Return where the fields with the numbers ASIDE are in PAYLOAD."
  (let ((position 0) (end (length payload)) (pieces '()))
    (declare (type index position))
    (loop while (< position end)
          do (multiple-value-bind (number wire-type start next) (field-at payload position end)
               (declare (ignore wire-type start))
               (when (member number aside)
                 (if (and pieces (= (cdr (first pieces)) position))
                     (setf (cdr (first pieces)) next)
                     (push (cons position next) pieces)))
               (setf position next)))
    (nreverse pieces)))

;;; Outlines: lists of parts of the payload, pairs as above, and of octets that are put between them.

(defun piece-size (piece)
  "Return how many octets PIECE has."
  (if (consp piece)
      (- (the index (cdr piece)) (the index (car piece)))
      (length (the octets piece))))

(defun assembled (payload pieces)
  "Return the octets of PIECES one after the other."
  (fill-in (make-array (reduce #'+ pieces :key #'piece-size) :element-type '(unsigned-byte 8))
           payload pieces))

(defun fill-in (whole payload pieces)
  "Put the octets of PIECES one after the other at the beginning of WHOLE; return WHOLE."
  (declare (type octets whole payload))
  (let ((at 0))
    (declare (type index at))
    (dolist (piece pieces whole)
      (if (consp piece)
          (replace whole payload :start1 at :start2 (car piece) :end2 (cdr piece))
          (replace whole (the octets piece) :start1 at))
      (incf at (piece-size piece)))))

(defun encoded-header (number length)
  "Return the tag of the field with NUMBER, and the LENGTH of its value, encoded."
  (let* ((tag (logior (ash number 3) +length+))
         (size (+ (varint-size tag) (varint-size length)))
         (octets (make-array size :element-type '(unsigned-byte 8))))
    (write-varint tag octets (write-varint length octets size))
    octets))

(defun field-with (number name)
  "Return what is known of the field with NUMBER in messages whose type is NAME, or NIL."
  (find number (message-type-fields (codec-type (codec-named name))) :key #'field-number))

(defun left-out-p (field length)
  "Return whether a value of that LENGTH is long, and well-formed whatever is in it."
  (and (> length +long+)
       (case (field-kind field)
         (:float (zerop (mod length 4)))
         (:bytes t))))

(defun outline (name payload aside)
  "Return PAYLOAD without the long values in the fields ASIDE, as pieces; NIL if it has none.
Signal MALFORMED as `split` does."
  (declare (type octets payload))
  (let ((left +max-fields+))
    (declare (type fixnum left))
    (labels ((of (name start end aside depth)
               (declare (type index start end))
               (let ((pieces '()) (position start) (copied start))
                 (declare (type index position copied))
                 (loop while (< position end)
                       do (when (minusp (decf left))
                            (malformed "it has too many fields"))
                          (let ((began position))
                            (multiple-value-bind (number wire-type value next)
                                (field-at payload position end)
                              (setf position next)
                              (when (= wire-type +length+)
                                (let ((inner (inner number name value next aside depth)))
                                  (when inner
                                    (setf pieces
                                          (append (reverse (rest inner))
                                                  (list (encoded-header
                                                         number
                                                         (reduce #'+ (rest inner) :key #'piece-size))
                                                        (cons copied began))
                                                  pieces)
                                          copied next)))))))
                 (unless (= copied start)
                   (nreverse (acons copied end pieces)))))
             (inner (number name start end aside depth)
               ;; :SHORTER and the pieces of a value that is to be replaced.
               (let ((field (field-with number name)))
                 (when field
                   (let ((within (or (eq aside t) (member number aside))))
                     (cond ((and (eq (field-kind field) :message) (not (eq (field-label field) :map)))
                            (when (zerop depth)
                              (malformed "messages are too deep"))
                            (let ((pieces (of (field-type field) start end (and within t) (1- depth))))
                              (when pieces
                                (cons :shorter pieces))))
                           ((eq (field-label field) :map)
                            (count-entry start end)
                            nil)
                           ((and within (left-out-p field (- end start)))
                            (list :shorter)))))))
             (count-entry (start end)
               (loop while (< start end)
                     do (when (minusp (decf left))
                          (malformed "it has too many fields"))
                        (setf start (nth-value 3 (field-at payload start end))))))
      (of name 0 (length payload) aside +depth+))))
