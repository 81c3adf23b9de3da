(defpackage #:hydramesh/protobuf/codec
  (:use #:cl)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/protobuf/wire #:index #:depth #:+depth+ #:copy-octets)
  (:export #:message #:message-unknown
           #:codec #:make-codec #:codec-type #:codec-allocate #:codec-decode #:codec-size #:codec-write
           #:codec-merge #:codec-named #:codec-of #:register
           #:encode #:encode-from #:encoded-size #:decode #:copy-message #:merge-message
           #:decode-again #:add-unknown #:keep-unknown #:write-octets #:ascending)
  (:documentation "What can be done with any message: encode, decode, copy, merge.

The functions for each kind of message are made when the schema is compiled, see
hydramesh/protobuf/define; here is what calls them, and what they have in common."))
(in-package #:hydramesh/protobuf/codec)

(defstruct (message (:constructor nil) (:copier nil))
  "What all messages have: the fields that came and that the schema does not know, encoded."
  (unknown nil :type (or null octets)))

(defmethod print-object ((message message) stream)
  (print-unreadable-object (message stream :type t)
    (format stream "of ~d octet~:p" (encoded-size message))))

(defstruct codec
  "The functions for one kind of message; hydramesh/protobuf/define says what each of them does."
  type
  (allocate nil :type function)
  (decode nil :type function)
  (size nil :type function)
  (write nil :type function)
  (merge nil :type function))

(defun register (name codec)
  "Make CODEC that of the messages whose type is NAME."
  (setf (get name 'codec) codec))

(declaim (inline codec-named codec-of))

(defun codec-named (name)
  "Return the codec of the messages whose type is NAME."
  (the codec (get name 'codec)))

(defun codec-of (message)
  "Return the codec of MESSAGE."
  (declare (type message message))
  (codec-named (type-of message)))

;;; Encoding

(defun encoded-size (message)
  "Return how many octets MESSAGE takes."
  (the index (funcall (codec-size (codec-of message)) message)))

(defun encode-from (first message)
  "Return octets with the encoded MESSAGE from FIRST on; what is before is for the caller to fill."
  (declare (type index first))
  (let* ((codec (codec-of message))
         (size (+ first (the index (funcall (codec-size codec) message))))
         (whole (make-array size :element-type '(unsigned-byte 8)))
         (start (funcall (codec-write codec) message whole size)))
    (assert (eql start first))
    whole))

(defun encode (message)
  "Return MESSAGE as octets."
  (encode-from 0 message))

(declaim (inline write-octets))
(defun write-octets (from octets position)
  "Write the octets FROM before POSITION; return where they begin."
  (declare (type octets from octets) (type index position))
  (let* ((count (length from))
         (start (- position count)))
    (unless (<= 0 start position (length octets))
      (error "There is no room for octets."))
    (copy-octets from 0 octets start count)
    start))

;;; Decoding

(defun decode (name octets &key (start 0) (end (length octets)))
  "Return the message of the type NAME that OCTETS are, or a part of them.
Signal MALFORMED if it is none."
  (declare (type octets octets) (type index start end))
  (unless (<= start end (length octets))
    (error "There are no octets from ~d to ~d." start end))
  (let* ((codec (codec-named name))
         (message (funcall (codec-allocate codec))))
    (funcall (codec-decode codec) message octets start end +depth+)
    message))

(defun decode-again (octets parts depth)
  "Read further parts of messages into these: PARTS are lists of message, start and end, newest first.
All of a message are read at once, so that many cost no more than one that is as large."
  (declare (type octets octets))
  (let ((ranges (make-hash-table :test #'eq)))
    (loop for (message . range) in parts
          do (push range (gethash message ranges)))
    (loop for message being the hash-keys of ranges using (hash-value these)
          for codec = (codec-of message)
          do (if (rest these)
                 (let ((whole '()))
                   ;; Each must be whole by itself.
                   (loop for (start . end) in these
                         do (funcall (codec-decode codec) (funcall (codec-allocate codec))
                                     octets start end depth)
                            (push (subseq octets start end) whole))
                   (let ((whole (apply-concatenate (nreverse whole))))
                     (funcall (codec-decode codec) message whole 0 (length whole) depth)))
                 (destructuring-bind ((start . end)) these
                   (funcall (codec-decode codec) message octets start end depth))))))

(defun apply-concatenate (vectors)
  "Return VECTORS of octets as one."
  (let ((whole (make-array (reduce #'+ vectors :key #'length) :element-type '(unsigned-byte 8)))
        (at 0))
    (declare (type index at))
    (dolist (vector vectors whole)
      (replace whole (the octets vector) :start1 at)
      (incf at (length (the octets vector))))))

(declaim (inline add-unknown))
(defun add-unknown (unknown start end)
  "Return the list UNKNOWN, newest first, with the octets from START to END added."
  (declare (type index start end))
  (let ((last (first unknown)))
    (cond ((and (consp last) (eql (cdr last) start))
           (setf (cdr last) end)
           unknown)
          (t (acons start end unknown)))))

(defun keep-unknown (message octets unknown)
  "Add to MESSAGE what is in UNKNOWN, newest first: parts of OCTETS by start and end, or vectors."
  (let* ((parts (reverse unknown))
         (old (message-unknown message))
         (size (loop for part in parts
                     sum (if (consp part) (- (cdr part) (car part)) (length part)) of-type index))
         (all (make-array (+ size (length old)) :element-type '(unsigned-byte 8)))
         (at (length old)))
    (replace all (or old #()))
    (dolist (part parts)
      (if (consp part)
          (replace all octets :start1 at :start2 (car part) :end2 (cdr part))
          (replace all part :start1 at))
      (incf at (if (consp part) (- (cdr part) (car part)) (length part))))
    (setf (message-unknown message) all)))

(defun ascending (map)
  "Return the alist MAP, whose keys are numbers, sorted by them; of equal ones it has the first."
  (if (loop for ((key) (next)) on map
            while next
            always (< key next))
      map
      (let ((sorted (stable-sort (copy-list map) #'< :key #'car)))
        (loop for (entry . rest) on sorted
              for before = nil then key
              for key = (car entry)
              unless (eql key before)
                collect entry))))

;;; Merging

(defun merge-message (into from)
  "Change INTO as if FROM's encoding had been read into it, and return it.
What FROM says replaces what INTO does, lists are appended, messages merged. Strings and octets
belong to both afterwards."
  (funcall (codec-merge (codec-of from)) into from)
  into)

(defun copy-message (message)
  "Return a message that is equal to MESSAGE and shares nothing with it but strings and octets."
  (merge-message (funcall (codec-allocate (codec-of message))) message))
