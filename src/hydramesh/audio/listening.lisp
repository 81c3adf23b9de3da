(defpackage #:hydramesh/audio/listening
  (:use #:cl)
  (:import-from #:hydramesh/audio/codec #:codec-number)
  (:import-from #:hydramesh/audio/dcf-frames
                #:+everybody+ #:assembly-add #:frame-destination #:frame-source #:read-frame)
  (:import-from #:hydramesh/audio/definition
                #:audio-stream-block #:audio-stream-channel #:audio-stream-codec #:audio-stream-count
                #:audio-stream-handlers #:audio-stream-name #:audio-stream-packets #:audio-stream-rate #:audio-stream-send
                #:audio-stream-speakers)
  (:import-from #:hydramesh/audio/limits #:+silence+ #:+speakers-per-peer+)
  (:import-from #:hydramesh/audio/packet
                #:packet-block #:packet-channel #:packet-codec #:packet-rate #:packet-speaker
                #:read-packet #:+report+)
  (:import-from #:hydramesh/audio/reception #:read-report #:report-share #:write-report)
  (:import-from #:hydramesh/audio/running
                #:handle #:new-talker #:running-definition #:running-node #:running-number #:running-speakers
                #:running-talker #:tell-once)
  (:import-from #:hydramesh/audio/speaker
                #:close-speaker #:make-speaker #:speaker #:speaker-assembly #:speaker-delay #:speaker-hear #:speaker-heard-at
                #:speaker-number #:speaker-peer #:speaker-reception #:speaker-talker #:speaker-utterance)
  (:import-from #:hydramesh/audio/talker #:talker-losses)
  (:import-from #:hydramesh/audio/utterance #:make-utterance #:utterance-end)
  (:import-from #:hydramesh/domain/node #:count-one #:node-now)
  (:import-from #:hydramesh/domain/sending #:send-bare)
  (:import-from #:hydramesh/domain/types #:+audio+)
  (:import-from #:hydramesh/events #:message-payload #:message-peer #:message-type #:seconds)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:export #:hear-message #:drop-silent #:drop-speaker #:all-speakers #:send-reports)
  (:documentation "Who is heard on a stream: who is let in, what they send, and when they are forgotten."))
(in-package #:hydramesh/audio/listening)

(defun all-speakers (running)
  "Return who are heard on RUNNING, a list."
  (loop for speaker being the hash-values of (running-speakers running) collect speaker))

(defun refuse (running what control &rest arguments)
  "Count that a packet is of no use, by WHAT, and say so in the logs the first time."
  (count-one (running-node running) (format nil "audio ~(~A~)" (substitute #\Space #\- (string what))))
  (when (tell-once running what)
    (log-warning (format nil "the audio stream ~A ignores packets: ~?"
                         (audio-stream-name (running-definition running)) control arguments)))
  nil)

(defun fits-p (running packet)
  "Return whether PACKET has what RUNNING is declared for."
  (let ((definition (running-definition running)))
    (flet ((other (what its own)
             (refuse running :of-another-kind "somebody sends ~A ~A, and this is declared for ~A" what its own)))
      (cond ((/= (packet-codec packet) (codec-number (audio-stream-codec definition)))
             (other "codec" (packet-codec packet) (codec-number (audio-stream-codec definition))))
            ((/= (packet-rate packet) (audio-stream-rate definition))
             (other "samples a second" (packet-rate packet) (audio-stream-rate definition)))
            ((/= (packet-block packet) (* 2/5 (audio-stream-block definition)))
             (other "blocks of so many times 2.5 ms,"
                    (packet-block packet) (* 2/5 (audio-stream-block definition))))
            (t t)))))

(defun hear-message (running message)
  "Take MESSAGE if it is for RUNNING; return whether it is."
  (when (= +audio+ (message-type message))
    (if (eq :dcf (audio-stream-packets (running-definition running)))
        (hear-frame running (read-frame (message-payload message)) (message-peer message))
        (hear-packet running (read-packet (message-payload message)) (message-peer message)))))

(defun hear-packet (running packet peer)
  "Take PACKET, or NIL, from PEER if it is on the channel of RUNNING; return whether it is."
  (when (and packet (= (packet-channel packet) (audio-stream-channel (running-definition running))))
    (cond ((= +report+ (packet-codec packet)) (hear-report running packet peer))
          ((fits-p running packet)
           (let ((speaker (speaker-at running peer (packet-speaker packet))))
             (when speaker
               (hear-block running speaker packet)))))
    t))

(defun hear-frame (running frame peer)
  "Take FRAME of DCF's, or NIL, from PEER if it is on the channel of RUNNING; return whether it is."
  (when (and frame
             (or (= (frame-destination frame) +everybody+)
                 (= (frame-destination frame) (audio-stream-channel (running-definition running)))))
    (let ((speaker (speaker-at running peer (frame-source frame))))
      (when speaker
        (let ((packet (assembly-add (speaker-assembly speaker) frame (node-now (running-node running)))))
          (when (and packet (fits-p running packet))
            (hear-block running speaker packet)))))
    t))

(defun hear-block (running speaker packet)
  "Take PACKET, with a block, of SPEAKER."
  (let ((outcome (speaker-hear speaker packet (node-now (running-node running)))))
    (when (member outcome '(:refused :broken :strange))
      (count-one (running-node running) (format nil "audio ~(~A~)" outcome)))))

(defun speaker-at (running peer number)
  "Return who is NUMBER at PEER, somebody new if nobody is; NIL if there is no room."
  (or (gethash (cons peer number) (running-speakers running))
      (let-in running peer number)))

(defun from-peer (running peer)
  "Return how many speakers have the address PEER."
  (count peer (all-speakers running) :key #'speaker-peer))

(defun let-in (running peer number)
  "Return a new speaker, who is NUMBER at PEER; NIL if there is no room."
  (let ((definition (running-definition running)) (node (running-node running)))
    (cond ((>= (hash-table-count (running-speakers running)) (audio-stream-speakers definition))
           (refuse running :too-many-speakers "~D speak already, which is what it is declared for"
                   (audio-stream-speakers definition)))
          ((>= (from-peer running peer) +speakers-per-peer+)
           (refuse running :too-many-of-a-peer "~D speakers have one address already" +speakers-per-peer+))
          (t
           (let ((speaker (make-speaker
                           peer number (audio-stream-codec definition)
                           (audio-stream-rate definition) (audio-stream-count definition) (node-now node)
                           :utterance (and (getf (audio-stream-handlers definition) :utterance)
                                           (make-utterance (audio-stream-rate definition)))
                           :talker (and (eq :mix (audio-stream-send definition))
                                        (new-talker definition node (running-number running) '())))))
             (setf (gethash (cons peer number) (running-speakers running)) speaker)
             (handle running :join speaker)
             speaker)))))

(defun drop-speaker (running speaker)
  "Hear SPEAKER no more, after what they were saying."
  (remhash (cons (speaker-peer speaker) (speaker-number speaker)) (running-speakers running))
  (close-speaker speaker)
  (let ((said (and (speaker-utterance speaker) (utterance-end (speaker-utterance speaker)))))
    (when said
      (handle running :utterance speaker said)))
  (handle running :leave speaker))

(defun drop-silent (running)
  "Forget who have sent nothing for long."
  (dolist (speaker (all-speakers running))
    (when (> (- (node-now (running-node running)) (speaker-heard-at speaker)) (seconds +silence+))
      (drop-speaker running speaker))))

;;; Reports

(defun send-reports (running)
  "Tell those who speak what became of their packets, if they understand it."
  (let* ((node (running-node running)) (now (node-now node)))
    (dolist (speaker (all-speakers running))
      (when (and (eq :own (audio-stream-packets (running-definition running)))
                 (< (- now (speaker-heard-at speaker)) (seconds 2)))
        (send-bare node (speaker-peer speaker) +audio+
                   (write-report (speaker-reception speaker)
                                 (audio-stream-channel (running-definition running))
                                 (speaker-number speaker) (speaker-delay speaker now)))))))

(defun hear-report (running packet peer)
  "Take PACKET, in which PEER says what became of what was sent to it, if it is meant for RUNNING."
  (when (= (packet-speaker packet) (running-number running))
    (let* ((report (read-report packet))
           (speaker (find-if (lambda (speaker) (and (= peer (speaker-peer speaker)) (speaker-talker speaker)))
                             (all-speakers running))))
      (talker-losses (if speaker (speaker-talker speaker) (running-talker running)) (report-share report))
      (handle running :report peer report))))
