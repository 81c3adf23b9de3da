(defpackage #:hydramesh/head/heartbeats
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/head/limits
                #:head-limits-heartbeat #:head-limits-name #:head-limits-slots #:head-limits-heads
                #:head-limits-tags #:head-limits-models #:head-limits-detail
                #:head-limits-capabilities #:head-limits-cards #:head-limits-shards)
  (:import-from #:hydramesh/protobuf/codec #:message-unknown)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:read-heartbeat)
  (:documentation "What workers say of themselves, cut down to what a head keeps."))
(in-package #:hydramesh/head/heartbeats)

(defun read-heartbeat (payload limits)
  "Return the heartbeat of a worker, NIL if PAYLOAD is not one or too large."
  (when (<= (length payload) (head-limits-heartbeat limits))
    (let ((said (handler-case (pb:decode 'pb:heartbeat payload)
                  (pb:malformed () nil))))
      (when (and said (<= 1 (length (pb:heartbeat-worker-id said)) (head-limits-name limits)))
        (discard-unknown-fields said)
        (cut-heartbeat said limits)
        said))))

(defun discard-unknown-fields (said)
  "Keep nothing of SAID, a PB:HEARTBEAT, that this head does not know."
  (flet ((discard (message)
           (when message
             (setf (message-unknown message) nil))))
    (discard said)
    (discard (pb:heartbeat-vram said))
    (discard (pb:heartbeat-ram said))
    (dolist (card (pb:heartbeat-cards said))
      (discard card)
      (discard (pb:card-vram card)))
    (let ((offer (pb:heartbeat-shard said)))
      (discard offer)
      (when offer
        (mapc #'discard (pb:shard-offer-links offer))))
    (dolist (model (pb:heartbeat-models said))
      (discard model)
      (discard (pb:model-status-identity model))
      (discard (pb:model-status-slices model))
      (discard (pb:model-status-speculation model))
      (mapc #'discard (pb:model-status-shards model)))))

(declaim (inline cut few))

(defconstant +most-bytes+ (ash 1 56)
  "No machine has as much memory, and sums of it stay numbers that messages can hold.")

(defmacro cut-bytes (message &rest readers)
  "Cut down the fields that READERS read of MESSAGE, which are numbers of bytes, if there is one."
  (let ((said (gensym)))
    `(let ((,said ,message))
       (when ,said
         ,@(loop for reader in readers
                 collect `(when (> (,reader ,said) +most-bytes+)
                            (setf (,reader ,said) +most-bytes+)))))))

(defun cut (text most)
  "Return the first MOST characters of TEXT."
  (declare (type string text) (type fixnum most))
  (if (<= (length text) most) text (subseq text 0 most)))

(defun few (list most)
  "Return the first MOST of LIST."
  (declare (type list list) (type fixnum most))
  (if (nthcdr most list) (subseq list 0 most) list))

(defun cut-heartbeat (said limits)
  "Cut down SAID, a PB:HEARTBEAT."
  (let ((name (head-limits-name limits)))
    (cut-bytes (pb:heartbeat-vram said) pb:memory-total pb:memory-free)
    (cut-bytes (pb:heartbeat-ram said) pb:memory-total pb:memory-free)
    (when (pb:heartbeat-shard said)
      (cut-offer (pb:heartbeat-shard said) limits))
    (setf (pb:heartbeat-slots said) (min (pb:heartbeat-slots said) (head-limits-slots limits))
          (pb:heartbeat-name said) (cut (pb:heartbeat-name said) name)
          (pb:heartbeat-version said) (cut (pb:heartbeat-version said) name)
          (pb:heartbeat-device said) (cut (pb:heartbeat-device said) name)
          (pb:heartbeat-heads said) (few (pb:heartbeat-heads said) (head-limits-heads limits))
          (pb:heartbeat-tags said) (loop for tag in (few (pb:heartbeat-tags said)
                                                         (head-limits-tags limits))
                                         collect (cut tag name))
          (pb:heartbeat-cards said) (loop for card in (few (pb:heartbeat-cards said)
                                                           (head-limits-cards limits))
                                          collect (cut-card card limits))
          (pb:heartbeat-models said) (loop for model in (few (pb:heartbeat-models said)
                                                             (head-limits-models limits))
                                           when (<= (length (pb:model-status-name model)) name)
                                             collect (cut-model model limits)))))

(defun cut-card (card limits)
  "Cut down CARD, a PB:CARD, and return it; what cannot be was not measured."
  (flet ((if-measured (value most)
           (when (and value (finite-p value) (<= 0 value) (or (null most) (<= value most)))
             value)))
    (let ((temperature (pb:card-temperature card)))
      (setf (pb:card-name card) (cut (pb:card-name card) (head-limits-name limits))
            (pb:card-temperature card) (when (and temperature (finite-p temperature)) temperature)
            (pb:card-power card) (if-measured (pb:card-power card) nil)
            (pb:card-power-limit card) (if-measured (pb:card-power-limit card) nil)
            (pb:card-load card) (if-measured (pb:card-load card) 1))))
  card)

(defconstant +most+ 1d15
  "No way between machines takes as many milliseconds, or brings as many bytes a second.")

(defun cut-offer (offer limits)
  "Cut down OFFER, a PB:SHARD-OFFER; a way that cannot be was not measured."
  (let ((name (head-limits-name limits)))
    (cut-bytes offer pb:shard-offer-bytes pb:shard-offer-slice-bytes)
    (flet ((measured-way-p (link)
             (and (measured-p (pb:shard-link-rtt-ms link))
                  (< (pb:shard-link-rtt-ms link) +most+)
                  (measured-p (pb:shard-link-bytes-per-second link))
                  (< (pb:shard-link-bytes-per-second link) +most+)
                  (<= 1 (length (pb:shard-link-worker-id link)) name))))
      (setf (pb:shard-offer-address offer) (cut (pb:shard-offer-address offer) name)
            (pb:shard-offer-slice-address offer) (cut (pb:shard-offer-slice-address offer) name)
            (pb:shard-offer-like offer) (cut (pb:shard-offer-like offer) name)
            (pb:shard-offer-links offer)
            (remove-if-not #'measured-way-p
                           (few (pb:shard-offer-links offer) (head-limits-shards limits)))))))

(defun cut-model (model limits)
  "Cut down MODEL, a PB:MODEL-STATUS, and return it."
  (let ((name (head-limits-name limits))
        (capabilities (pb:model-status-capabilities model))
        (identity (pb:model-status-identity model)))
    (setf (pb:model-status-quantization model) (cut (pb:model-status-quantization model) name)
          (pb:model-status-placement model) (cut (pb:model-status-placement model) name)
          (pb:model-status-detail model) (cut (pb:model-status-detail model)
                                              (head-limits-detail limits))
          (pb:model-status-engine model) (cut (pb:model-status-engine model) name)
          (pb:model-status-choice model) (cut (pb:model-status-choice model)
                                              (head-limits-detail limits))
          (pb:model-status-shards model) (few (pb:model-status-shards model)
                                              (head-limits-shards limits)))
    (cut-bytes model pb:model-status-bytes pb:model-status-needs pb:model-status-lead-needs
               pb:model-status-cache-tokens)
    (cut-bytes (pb:model-status-slices model) pb:model-slices-bytes pb:model-slices-each)
    (dolist (shard (pb:model-status-shards model))
      (cut-bytes shard pb:shard-bytes)
      (setf (pb:shard-worker-id shard) (cut (pb:shard-worker-id shard) name)
            (pb:shard-name shard) (cut (pb:shard-name shard) name)))
    (when (> (length capabilities) (head-limits-capabilities limits))
      (setf (pb:model-status-capabilities model)
            (subseq capabilities 0 (head-limits-capabilities limits))))
    (when identity
      (setf (pb:model-identity-weights identity) (cut (pb:model-identity-weights identity) name)
            (pb:model-identity-tokenizer identity) (cut (pb:model-identity-tokenizer identity) name)
            (pb:model-identity-quantization identity)
            (cut (pb:model-identity-quantization identity) name)
            (pb:model-identity-precision identity)
            (cut (pb:model-identity-precision identity) name)))
    (unless (measured-p (pb:model-status-rate model))
      (setf (pb:model-status-rate model) 0d0))
    model))

(defun finite-p (number)
  "Return whether NUMBER is one, and finite; to compare one that is not a number is an error."
  (declare (type float number))
  (not (or (sb-ext:float-nan-p number) (sb-ext:float-infinity-p number))))

(defun measured-p (rate)
  "Return whether RATE is a number from 0 up."
  (declare (type double-float rate))
  (and (finite-p rate) (not (minusp rate))))
