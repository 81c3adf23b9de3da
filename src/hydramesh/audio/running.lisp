(defpackage #:hydramesh/audio/running
  (:use #:cl)
  (:import-from #:hydramesh/audio/dcf-frames #:+most-frame-data+)
  (:import-from #:hydramesh/audio/definition
                #:audio-stream #:audio-stream-block #:audio-stream-channel #:audio-stream-codec
                #:audio-stream-bitrate #:audio-stream-count #:audio-stream-filters #:audio-stream-handlers
                #:audio-stream-name #:audio-stream-packets #:audio-stream-priority #:audio-stream-rate
                #:audio-stream-signal #:audio-stream-speaker)
  (:import-from #:hydramesh/audio/mixing #:make-mixer #:mixer)
  (:import-from #:hydramesh/audio/packet #:+most-data+)
  (:import-from #:hydramesh/audio/samples #:make-samples #:samples)
  (:import-from #:hydramesh/audio/speaker #:speaker #:speaker-level)
  (:import-from #:hydramesh/audio/talker #:make-talker #:talker)
  (:import-from #:hydramesh/audio/wav #:wav-file)
  (:import-from #:hydramesh/domain/node #:*node* #:acting #:node #:node-random #:node-services)
  (:import-from #:hydramesh/events #:microseconds)
  (:export #:running #:make-running #:running-definition #:running-node #:running-speakers #:running-talker
           #:running-number #:running-mixer #:running-mix #:running-spare #:running-gain #:running-start
           #:running-time #:running-file #:running-ended #:running-timer #:running-period
           #:handle #:new-talker #:running-named #:ducked-p #:tell-once)
  (:documentation "A stream that a node sends and hears: what it consists of, and how its handlers are called."))
(in-package #:hydramesh/audio/running)

(defconstant +heard+ -50.0 "Decibels from which a speaker makes streams of lower priority softer.")

(defvar *audio* nil "The stream whose handler is running.")

(defstruct (running (:constructor %make-running))
  "A stream of NODE. SPEAKERS are who are heard, by (address . number). TALKER sends its own sound, as the speaker
NUMBER. MIX is what all say together, made in MIXER, SPARE a block to work in, GAIN how loud the mix was last.
START is when TIME, in blocks, was 0. FILE is where the mix is written. ENDED is whether all of the sound from a file
was sent, and TOLD what has been said in logs."
  (definition nil :type audio-stream)
  (node nil :type node)
  (speakers (make-hash-table :test 'equal) :type hash-table)
  (talker nil :type (or null talker))
  (number 0 :type (unsigned-byte 16))
  (mixer nil :type mixer)
  (mix nil :type samples)
  (spare nil :type samples)
  (gain 1.0 :type (single-float 0.0 1.0))
  (start 0 :type microseconds)
  (time 0 :type unsigned-byte)
  (file nil :type (or null wav-file))
  (ended t :type boolean)
  (told '() :type list)
  (timer nil))

(defun new-talker (definition node number filters)
  "Return a talker for DEFINITION on NODE that speaks as NUMBER, through FILTERS."
  (make-talker (audio-stream-codec definition) (audio-stream-rate definition) (audio-stream-count definition)
               (audio-stream-signal definition) (audio-stream-bitrate definition) filters
               (audio-stream-channel definition) number (random (ash 1 32) (node-random node))
               (if (eq :dcf (audio-stream-packets definition)) +most-frame-data+ +most-data+)))

(defun make-running (definition node start)
  "Return what DEFINITION is on NODE, from the time START on. Signal OPUS-MISSING."
  (let ((count (audio-stream-count definition))
        (number (or (audio-stream-speaker definition) (random 65535 (node-random node)))))
    (%make-running :definition definition :node node :number number :start start
                   :talker (new-talker definition node number (audio-stream-filters definition))
                   :mixer (make-mixer count) :mix (make-samples count) :spare (make-samples count))))

(defun running-period (running)
  "Return how many microseconds a block lasts."
  (* 1000 (audio-stream-block (running-definition running))))

(defun handle (running event &rest arguments)
  "Call the handler of EVENT, if there is one, with ARGUMENTS. If it fails, that is logged, and sound goes on."
  (let* ((definition (running-definition running))
         (handler (getf (audio-stream-handlers definition) event)))
    (when handler
      (acting ((running-node running) (audio-stream-name definition))
        (let ((*audio* running))
          (apply handler arguments))))))

(defun others (running)
  "Return all streams on the same node, this one too."
  (loop for (nil . service) in (node-services (running-node running))
        when (running-p service) collect service))

(defun running-named (name)
  "Return the stream NAME, a symbol or a string, of the node whose handler is running; NIL for the only one or the one
whose handler is running. Signal an error if there is none."
  (let ((all (and *node* (loop for (nil . service) in (node-services *node*)
                               when (running-p service) collect service))))
    (or (if name
            (find (string name) all :test #'string-equal
                                    :key (lambda (one) (audio-stream-name (running-definition one))))
            (or *audio* (and (null (rest all)) (first all))))
        (error "there is no audio stream ~:[here; name one of them with :stream~;~:*~A in this program~]" name))))

(defun loud-p (running)
  "Return whether anybody is heard on RUNNING now."
  (loop for speaker being the hash-values of (running-speakers running)
          thereis (> (speaker-level speaker) +heard+)))

(defun ducked-p (running)
  "Return whether a stream of higher priority is heard on the same node."
  (let ((priority (audio-stream-priority (running-definition running))))
    (some (lambda (other)
            (and (> (audio-stream-priority (running-definition other)) priority)
                 (loud-p other)))
          (others running))))

(defun tell-once (running reason)
  "Return whether REASON, a keyword, has not been told of in logs yet; it is then."
  (unless (member reason (running-told running))
    (push reason (running-told running))
    t))
