(defpackage #:hydramesh/audio/stream
  (:use #:cl)
  (:import-from #:hydramesh/audio/dcf-frames #:frames-of)
  (:import-from #:hydramesh/audio/definition
                #:audio-stream #:audio-stream-block #:audio-stream-from #:audio-stream-name
                #:audio-stream-packets #:audio-stream-rate #:audio-stream-send #:audio-stream-to)
  (:import-from #:hydramesh/audio/limits #:+listeners+)
  (:import-from #:hydramesh/audio/listening
                #:all-speakers #:drop-silent #:drop-speaker #:hear-message #:send-reports)
  (:import-from #:hydramesh/audio/mixing
                #:mixer-add #:mixer-clear #:mixer-total #:mixer-without #:scale)
  (:import-from #:hydramesh/audio/running
                #:ducked-p #:handle #:make-running #:running #:running-definition #:running-ended #:running-file
                #:running-gain #:running-mix #:running-mixer #:running-node #:running-period #:running-spare
                #:running-start #:running-talker #:running-time #:running-timer)
  (:import-from #:hydramesh/audio/speaker
                #:speaker-block #:speaker-level #:speaker-peer #:speaker-play #:speaker-sounds #:speaker-talker
                #:speaker-utterance)
  (:import-from #:hydramesh/audio/talker
                #:close-talker #:talker-add #:talker-idle-p #:talker-next #:talker-payload #:talker-take)
  (:import-from #:hydramesh/audio/utterance #:utterance-add)
  (:import-from #:hydramesh/audio/wav #:append-wav #:close-wav #:open-wav #:read-wav)
  (:import-from #:hydramesh/domain/node #:node-now #:node-peers)
  (:import-from #:hydramesh/domain/service
                #:service-kind #:service-name #:service-needs-network-p #:start-service #:stop-service
                #:take-message)
  (:import-from #:hydramesh/domain/types #:+audio+)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:import-from #:hydramesh/domain/calling #:call-every #:stop-timer)
  (:import-from #:hydramesh/domain/sending #:send-bare)
  (:documentation "An audio stream as a service of a node: once for each length of a block, who speak are heard and
mixed, and what is to be said is sent."))
(in-package #:hydramesh/audio/stream)

(defconstant +soft+ 0.25 "The loudness of a stream while one of higher priority is heard: 12 dB less.")
(defconstant +gap+ 50 "Blocks of silence at most that are written for ticks that were left out.")

(defmethod service-kind ((definition audio-stream))
  :audio)

(defmethod service-name ((definition audio-stream))
  (audio-stream-name definition))

(defmethod service-needs-network-p ((definition audio-stream))
  t)

(defun path-of (definition name function)
  "Return the path that FUNCTION, what the clause NAME of DEFINITION is, returns; NIL for none."
  (let ((path (and function (funcall function))))
    (unless (typep path '(or null string))
      (error "~(~S~) of the audio stream ~A is ~S; it has to be a string, or nil for no file"
             name (audio-stream-name definition) path))
    path))

(defmethod start-service ((definition audio-stream) node)
  (let* ((rate (audio-stream-rate definition))
         (from (path-of definition :from (audio-stream-from definition)))
         (to (path-of definition :to (audio-stream-to definition)))
         (said (and from (read-wav from rate)))
         (running (make-running definition node (node-now node))))
    (when said
      (unless (talker-add (running-talker running) said)
        (error "the sound in :from of ~A is longer than an hour" (audio-stream-name definition)))
      (setf (running-ended running) nil))
    (when to
      (setf (running-file running) (open-wav to rate)))
    (setf (running-timer running)
          (call-every node (running-period running) (lambda (tick late) (declare (ignore late)) (act running tick))))
    (handle running :start)
    running))

(defmethod take-message ((running running) message)
  (hear-message running message))

(defmethod stop-service ((running running))
  (stop-timer (running-node running) (running-timer running))
  (dolist (speaker (all-speakers running))
    (drop-speaker running speaker))
  (close-talker (running-talker running))
  (when (running-file running)
    (handler-case (close-wav (running-file running))
      (stream-error (condition)
        (log-warning "the end of what is heard cannot be written" :reason (princ-to-string condition))))))

(defun act (running tick)
  "Do what is due for the block TICK."
  (let ((left-out (- tick (running-time running) 1)))
    (setf (running-time running) tick)
    (hear running)
    (when (running-file running)
      (record running (min +gap+ left-out)))
    (handle running :block (running-mix running))
    (gather-utterances running)
    (say running)
    (when (zerop (mod tick (ceiling 1000 (audio-stream-block (running-definition running)))))
      (send-reports running)
      (drop-silent running))))

(defun record (running left-out)
  "Write what is heard to RUNNING's file, after LEFT-OUT blocks of silence. What cannot be written ends the file."
  (handler-case (let ((file (running-file running)))
                  (loop repeat left-out
                        do (append-wav file (fill (running-spare running) 0)))
                  (append-wav file (running-mix running)))
    (stream-error (condition)
      (setf (running-file running) nil)
      (log-warning "what is heard is written no more" :stream (service-name (running-definition running))
                                                      :reason (princ-to-string condition)))))

;;; Hearing

(defun hear (running)
  "Have RUNNING's mix be what all say now."
  (let ((mixer (running-mixer running))
        (now (+ (running-start running) (floor (* (running-time running) (running-period running)))))
        (gain (if (ducked-p running) +soft+ 1.0)))
    (mixer-clear mixer)
    (dolist (speaker (all-speakers running))
      (when (speaker-play speaker now)
        (mixer-add mixer (speaker-block speaker))))
    (scale (mixer-total mixer (running-mix running)) (running-gain running) gain)
    (setf (running-gain running) gain)))

(defun gather-utterances (running)
  "Add what each speaker says now to what they have been saying, and hand on what has ended."
  (dolist (speaker (all-speakers running))
    (when (speaker-utterance speaker)
      (let ((said (utterance-add (speaker-utterance speaker)
                                 (if (speaker-sounds speaker)
                                     (speaker-block speaker)
                                     (fill (running-spare running) 0))
                                 (speaker-level speaker))))
        (when said
          (handle running :utterance speaker said))))))

;;; Saying

(defun say (running)
  "Send what is to be said now to those who listen."
  (ecase (audio-stream-send (running-definition running))
    (:peers (say-to running (node-peers (running-node running))))
    (:speakers (say-to running (remove-duplicates (mapcar #'speaker-peer (all-speakers running)))))
    (:mix (say-mix running)))
  (when (and (not (running-ended running)) (talker-idle-p (running-talker running)))
    (setf (running-ended running) t)
    (handle running :end)))

(defun say-to (running peers)
  "Send PEERS the next block of what RUNNING has to say."
  (let ((payload (talker-next (running-talker running) (running-time running))))
    (when payload
      (loop with messages = (messages-of running payload)
            for peer in peers
            repeat +listeners+
            do (send-all running peer messages)))))

(defun messages-of (running payload)
  "Return what is sent of PAYLOAD, a packet, as RUNNING is declared: octets each."
  (if (eq :dcf (audio-stream-packets (running-definition running)))
      (frames-of payload)
      (list payload)))

(defun send-all (running peer messages)
  "Send PEER MESSAGES, octets each."
  (dolist (octets messages)
    (send-bare (running-node running) peer +audio+ octets)))

(defun say-mix (running)
  "Send everyone who is heard what the others say, and what this node itself plays."
  (let ((mixer (running-mixer running)) (spare (running-spare running)) (own (running-talker running)))
    (unless (talker-idle-p own)
      (mixer-add mixer (talker-take own)))
    (dolist (speaker (all-speakers running))
      (let ((payload (talker-payload (speaker-talker speaker)
                                     (if (speaker-sounds speaker)
                                         (mixer-without mixer (speaker-block speaker) spare)
                                         (mixer-total mixer spare))
                                     (running-time running))))
        (when payload
          (send-all running (speaker-peer speaker) (messages-of running payload)))))))
