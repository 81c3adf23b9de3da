(defpackage #:hydramesh/audio/definition
  (:use #:cl)
  (:import-from #:hydramesh/audio/dcf-frames #:+most-frame-data+)
  (:import-from #:hydramesh/audio/limits #:+filters+ #:+speakers+)
  (:import-from #:hydramesh/audio/packet #:+most-data+)
  (:import-from #:hydramesh/audio/samples #:sample-count)
  (:import-from #:hydramesh/domain/definitions
                #:add-definition #:clause #:clauses-in #:mistake #:name-in #:number-within #:one-of
                #:printed #:whole-number #:with-definition)
  (:export #:defaudio-stream
           #:audio-stream #:audio-stream-name #:audio-stream-rate #:audio-stream-block #:audio-stream-codec
           #:audio-stream-bitrate #:audio-stream-signal #:audio-stream-filters #:audio-stream-priority
           #:audio-stream-speakers #:audio-stream-channel #:audio-stream-speaker #:audio-stream-send
           #:audio-stream-packets
           #:audio-stream-from #:audio-stream-to #:audio-stream-handlers #:audio-stream-count)
  (:documentation "The form that declares a sound that is sent and heard, and all that can be wrong with it."))
(in-package #:hydramesh/audio/definition)

(defstruct audio-stream
  "What DEFAUDIO-STREAM has declared. BLOCK is in milliseconds; FROM and TO are functions that return a path, or
NIL; HANDLERS are functions by event, a plist."
  (name "" :type string)
  (rate 48000 :type fixnum)
  (block 20 :type rational)
  (codec :opus :type (member :opus :pcm))
  (bitrate 32000 :type fixnum)
  (signal :voice :type (member :voice :music))
  (filters '() :type list)
  (priority 0 :type (integer 0 9))
  (speakers 8 :type fixnum)
  (channel 0 :type (unsigned-byte 16))
  (speaker nil :type (or null (unsigned-byte 16)))
  (send :peers :type (member :peers :speakers :mix))
  (packets :own :type (member :own :dcf))
  (from nil :type (or null function))
  (to nil :type (or null function))
  (handlers '() :type list))

(defun audio-stream-count (stream)
  "Return how many samples a block of STREAM has."
  (sample-count (audio-stream-rate stream) (audio-stream-block stream)))

(defparameter +clauses+
  '(:rate :block :codec :packets :filters :priority :speakers :channel :speaker :send :from :to :on))

(defparameter +events+
  '((:start) (:join speaker) (:leave speaker) (:block samples) (:utterance speaker samples)
    (:report peer report) (:end))
  "What handlers are for, and what they get.")

(defmacro defaudio-stream (name &body clauses)
  "Declare a sound, called NAME, which `hydramesh run` sends and hears. The CLAUSES, all optional:

  (:rate 48000)             samples a second: 8000, 12000, 16000, 24000 or 48000
  (:block 20)               milliseconds in a packet: 2.5, 5, 10, 20, 40 or 60
  (:codec :opus :bitrate 32000 :signal :voice)    or :signal :music; or (:codec :pcm)
  (:packets :own)           or :dcf, frames as other nodes of DCF send and hear them: Opus, 48000, blocks of 20 ms
  (:filters (:high-pass 80) (:low-pass 8000) (:gain -3) (:gate -50))    in hertz and decibels, before it is sent
  (:priority 0)             while a stream of the same program with a higher one, up to 9, is heard, this is softer
  (:speakers 8)             who are heard at a time
  (:channel 0)              which sound this is, where a node has several
  (:speaker 17)             this node's number; by chance if not given
  (:send :peers)            what is played goes to those whom the settings name; or :speakers, to all who are heard;
                            or :mix, to all who are heard goes what the others say
  (:from \"in.wav\")          what is played first
  (:to \"out.wav\")           where what is heard is written
  (:on event (arguments) form...)    START (), JOIN (speaker), LEAVE (speaker), BLOCK (samples),
                            UTTERANCE (speaker samples), REPORT (peer report), END (): all was sent

What is wrong is signalled while this is compiled, as BAD-DEFINITION."
  (with-definition ("defaudio-stream" name)
    (name-in nil name)
    (let* ((clauses (clauses-in clauses +clauses+))
           (fields (fields clauses)))
      (check-size fields)
      (check-packets fields)
      `(progn
         (add-definition :audio ',name
                         (make-audio-stream :name ,(string-downcase name)
                                            ,@(loop for (field value) on fields by #'cddr
                                                    append (list field `',value))
                                            :from ,(path-function :from clauses)
                                            :to ,(path-function :to clauses)
                                            :handlers (list ,@(handlers clauses))))
         ',name))))

(defun single (name clauses default &optional (example default))
  "Return what the clause NAME of CLAUSES says, which is one thing like EXAMPLE; DEFAULT if there is none."
  (let ((clause (clause name clauses)))
    (cond ((null clause) default)
          ((/= 2 (length clause)) (mistake name "write one thing after it, as (~(~S~) ~A)" name (printed example)))
          (t (second clause)))))

(defun fields (clauses)
  "Return what CLAUSES say of the fields of an AUDIO-STREAM that are known now, a plist."
  (let ((rate (among :rate (single :rate clauses 48000) '(8000 12000 16000 24000 48000)))
        (speaker (single :speaker clauses nil 17)))
    (append (list :rate rate
                  :block (rational (among :block (single :block clauses 20) '(2.5 5 10 20 40 60)))
                  :filters (filters clauses rate)
                  :priority (whole-number :priority (single :priority clauses 0) 0 9)
                  :speakers (whole-number :speakers (single :speakers clauses 8) 1 +speakers+)
                  :channel (whole-number :channel (single :channel clauses 0) 0 65535)
                  :speaker (and speaker (whole-number :speaker speaker 0 65534))
                  :packets (one-of :packets (single :packets clauses :own) '(:own :dcf))
                  :send (one-of :send (single :send clauses :peers) '(:peers :speakers :mix)))
            (codec clauses))))

(defun among (field value numbers)
  "Return VALUE, one of NUMBERS."
  (unless (and (realp value) (member value numbers :test #'=))
    (mistake field "~A is not possible; write ~{~A~#[~; or ~:;, ~]~}" (printed value) numbers))
  value)

(defun codec (clauses)
  "Return what CLAUSES say of the codec, a plist of :CODEC, :BITRATE and :SIGNAL."
  (destructuring-bind (&optional (codec :opus) &rest options) (rest (clause :codec clauses))
    (one-of :codec codec '(:opus :pcm))
    (when (and options (eq codec :pcm))
      (mistake :codec "PCM has no options; write (:codec :pcm)"))
    (unless (and (evenp (length options))
                 (loop for (key) on options by #'cddr always (member key '(:bitrate :signal))))
      (mistake :codec "write it as (:codec :opus :bitrate 32000 :signal :voice)"))
    (list :codec codec
          :bitrate (whole-number :codec (getf options :bitrate 32000) 6000 256000)
          :signal (one-of :codec (getf options :signal :voice) '(:voice :music)))))

(defun filters (clauses rate)
  "Return the filters in CLAUSES of a sound with RATE samples a second."
  (let ((filters (rest (clause :filters clauses))))
    (when (> (length filters) +filters+)
      (mistake :filters "there are ~D; ~D are possible" (length filters) +filters+))
    (dolist (filter filters filters)
      (unless (and (consp filter) (consp (rest filter)) (null (cddr filter)))
          (mistake :filters "~A is no filter; write each as (:high-pass 80), (:low-pass 8000), (:gain -3) or ~
                           (:gate -50)" (printed filter)))
      (destructuring-bind (kind value) filter
        (ecase (one-of :filters kind '(:high-pass :low-pass :gain :gate))
          ((:high-pass :low-pass) (number-within :filters value 10 (floor (* 45 rate) 100)))
          (:gain (number-within :filters value -60 40))
          (:gate (number-within :filters value -90 0)))))))

(defun check-size (fields)
  "Signal a mistake if a block does not fit a packet."
  (destructuring-bind (&key (rate 0) (block 0) codec (bitrate 0) &allow-other-keys) fields
    (let ((size (if (eq codec :pcm)
                    (* 2 (sample-count rate block))
                    (ceiling (* bitrate block) 8000))))
      (when (> size +most-data+)
        (mistake :block "a block of ~A ms takes ~D bytes, and a packet has room for ~D; ~
                         ~:[write a lower :bitrate~;write a shorter :block, a lower :rate, or (:codec :opus)~]"
                 (if (integerp block) block (float block)) size +most-data+ (eq codec :pcm))))))

(defun check-packets (fields)
  "Signal a mistake if other nodes of DCF would not understand the blocks."
  (destructuring-bind (&key packets rate block codec (bitrate 0) &allow-other-keys) fields
    (when (and (eq packets :dcf)
               (not (and (eq codec :opus) (eql rate 48000) (eql block 20)
                         (<= bitrate (* 50 8 +most-frame-data+)))))
      (mistake :packets "other nodes of DCF hear Opus with 48000 samples a second, blocks of 20 ms and at most ~D ~
                         bits a second; write (:rate 48000) (:block 20) (:codec :opus :bitrate 24000), or ~
                         (:packets :own)" (* 50 8 +most-frame-data+)))))

(defun path-function (name clauses)
  "Return the form of a function that returns the path that the clause NAME of CLAUSES says, or NIL."
  (when (clause name clauses)
    (let ((path (single name clauses nil "sound.wav")))
      (unless (or (stringp path) (consp path) (and path (symbolp path) (not (keywordp path))))
        (mistake name "~A is no path; write a string, or a form that makes one" (printed path)))
      `(lambda () ,path))))

(defun handlers (clauses)
  "Return forms that make a plist of the handlers in CLAUSES."
  (let ((seen '()))
    (loop for clause in (remove :on clauses :key #'first :test-not #'eq)
          append (destructuring-bind (&optional event (arguments nil arguments-p) &rest body) (rest clause)
                   (let* ((event (event event))
                          (wanted (rest (assoc event +events+))))
                     (unless (and arguments-p (listp arguments)
                                  (eql (length wanted) (ignore-errors (list-length arguments)))
                                  (every #'symbolp arguments))
                       (mistake :on "a handler of ~(~A~) gets ~:[nothing~;~:*~{~(~A~)~^ and ~}~]; write ~
                                     (:on ~(~A~) (~{~(~A~)~^ ~}) …)" event wanted event wanted))
                     (when (member event seen)
                       (mistake :on "there are two handlers of ~(~A~); leave one" event))
                     (push event seen)
                     (list event `(lambda ,arguments (declare (ignorable ,@arguments)) ,@body)))))))

(defun event (name)
  "Return the event that NAME, a symbol of any package, stands for."
  (let ((known (mapcar #'first +events+)))
    (unless (and name (symbolp name))
      (mistake :on "write what it is for, as (:on utterance (speaker samples) …)"))
    (or (find name known :test #'string=)
        (one-of :on name known))))
