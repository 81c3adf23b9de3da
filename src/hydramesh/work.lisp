(defpackage #:hydramesh/work
  (:use #:cl)
  (:import-from #:hydramesh/schema)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:capabilities #:+no-needs+ #:capability-set #:capability-list #:can-p #:ability
           #:work-kind #:work-kind-name #:work-kind-field #:work-kind-unit #:work-kind-usual-rate
           #:work-kind-shared #:work-kind-seeded #:work-kind-size #:work-kind-reading
           #:work-kind-made #:work-kind-loads #:work-kind-raced
           #:+work+ #:+read-per-written+ #:work-of #:needs-of #:bytes-to-read #:getting-ready-p #:capabilities-of)
  (:documentation "The registry of work: what a head needs to know of each kind of task, and of model.

A new kind of task is an entry here, an engine that does it, and an endpoint that asks for it. A
head branches on nothing else.

Capabilities are in sets: whole numbers, in which the bit of a Capability's number says whether it
is in. That makes `can it do all of this?` one operation. Workers may tell capabilities that are
newer than this head; they are left out of sets, as no task can need one that is not known here."))
(in-package #:hydramesh/work)

;;; Capabilities

(defconstant +most-capabilities+ 62 "Numbers from this one on are in no set.")

(deftype capabilities ()
  "A set of capabilities."
  `(unsigned-byte ,+most-capabilities+))

(defconstant +no-needs+ 0 "The empty set.")

(declaim (inline can-p bit-of))

(defun bit-of (capability)
  "Return the set of CAPABILITY alone."
  (if (< -1 capability +most-capabilities+) (ash 1 capability) 0))

(defun capability-set (&rest capabilities)
  "Return the set of CAPABILITIES, which are numbers such as PB:+CHAT+."
  (reduce #'logior capabilities :key #'bit-of :initial-value 0))

(defun capability-list (set)
  "Return the numbers of the capabilities in SET, the least first."
  (declare (type capabilities set))
  (loop for capability from 0 below (integer-length set)
        when (logbitp capability set) collect capability))

(defun can-p (capabilities needs)
  "Return whether all of NEEDS are among CAPABILITIES; both are sets."
  (declare (type capabilities capabilities needs))
  (zerop (logandc2 needs capabilities)))

(defparameter +abilities+
  (list (cons pb:+chat+ "answer a conversation")
        (cons pb:+complete+ "continue a text")
        (cons pb:+embed+ "make embeddings")
        (cons pb:+see+ "see images")
        (cons pb:+hear+ "hear audio")
        (cons pb:+speak+ "make speech")
        (cons pb:+paint+ "make images")
        (cons pb:+edit+ "edit images")
        (cons pb:+rerank+ "rank texts")
        (cons pb:+tools+ "call tools")
        (cons pb:+schema+ "keep to a format")
        (cons pb:+sampling+ "sample in this way")
        (cons pb:+adapters+ "use adapters")
        (cons pb:+tokens+ "take tokens in place of texts")
        (cons pb:+dimensions+ "make shorter embeddings")
        (cons pb:+prompts+ "embed by what the inputs are")
        (cons pb:+formats+ "write WebP and JPEG")))

(defun ability (capability)
  "Return what a model with CAPABILITY can do, for sentences; NIL if that is not known here."
  (cdr (assoc capability +abilities+)))

;;; Kinds of tasks

(defconstant +usual-tokens+ 256 "Tokens that a text is reckoned to get if the task does not limit them.")
(defconstant +bytes-per-token+ 4)
(defconstant +read-per-written+ 20
  "Tokens of a prompt that are read in the time in which one token is written.")
(defconstant +tokens-of-media+ 1024 "Tokens of a prompt that an image or a recording is reckoned as.")
(defconstant +bytes-per-spoken-token+ 4000
  "Bytes of a recording, which may be compressed or not, in which a token is reckoned to be said.")
(defconstant +characters-per-sentence+ 80)

(defstruct (work-kind (:copier nil))
  "A kind of task.

FIELD is what PB:TASK-WORK says of its tasks, and NAME the same as a string. UNIT is what is made,
of which SIZE reckons how much a task asks for, READING how much could be made while a byte of the
task is read, and MADE tells how much a part of an answer has. A worker that was not measured makes
USUAL-RATE of it a second. SHARED says whether a worker's tasks of this kind run together rather
than one after the other, SEEDED whether its work has a seed, LOADS whether its model has to be in
memory: if not, the task names its worker. RACED says whether any worker with the model gives the same
answer, so that two may be asked. NEEDS tells what a model must be
capable of for a task."
  (name "" :type string :read-only t)
  (field nil :type keyword :read-only t)
  (unit "" :type string :read-only t)
  (usual-rate 1d0 :type double-float :read-only t)
  (shared nil :read-only t)
  (seeded nil :read-only t)
  (size nil :type function :read-only t)
  (reading 0d0 :type double-float :read-only t)
  (made nil :type function :read-only t)
  (needs nil :type function :read-only t)
  (loads t :read-only t)
  (raced t :read-only t))

(defun text-needs (task)
  "Return what a model needs for TASK, a text."
  (let* ((text (pb:task-text task))
         (messages (pb:text-task-messages text))
         (choice (pb:text-task-tool-choice text))
         (constraint (pb:text-task-constraint text))
         (sampling (pb:text-task-sampling text))
         (needs (bit-of (if messages pb:+chat+ pb:+complete+))))
    (flet ((need (capability)
             (setf needs (logior needs (bit-of capability)))))
      (declare (inline need))
      (dolist (message messages)
        (when (or (pb:chat-message-tool-calls message)
                  (string/= (pb:chat-message-tool-call-id message) "")
                  (string= (pb:chat-message-role message) "tool"))
          (need pb:+tools+))
        (dolist (part (pb:chat-message-parts message))
          (cond ((pb:content-part-image part) (need pb:+see+))
                ((pb:content-part-audio part) (need pb:+hear+)))))
      (when (and (null messages) (plusp (length (pb:text-task-prompt-tokens text))))
        (need pb:+tokens+))
      (when (or (pb:text-task-tools text) (and choice (must-call-p choice)))
        (need pb:+tools+))
      (when (and constraint (pb:constraint-form constraint))
        (need pb:+schema+))
      (when (and sampling (plusp (pb:encoded-size sampling)))
        (need pb:+sampling+)))
    needs))

(defun must-call-p (choice)
  "Return whether CHOICE, a PB:TOOL-CHOICE, demands a call."
  (or (plusp (length (pb:tool-choice-name choice)))
      (eql (pb:tool-choice-mode choice) pb:+tool-choice-required+)))

(defun image-needs (task)
  "Return what a model needs for TASK, an image."
  (let ((image (pb:task-image task)))
    (logior (bit-of (if (or (pb:image-task-image image) (pb:image-task-mask image))
                        pb:+edit+
                        pb:+paint+))
            (if (plusp (length (pb:image-task-type image))) (bit-of pb:+formats+) +no-needs+))))

(defun embed-needs (task)
  "Return what a model needs for TASK, texts to embed."
  (let ((embed (pb:task-embed task)))
    (logior (bit-of pb:+embed+)
            (if (pb:embed-task-token-inputs embed) (bit-of pb:+tokens+) +no-needs+)
            (if (plusp (pb:embed-task-dimensions embed)) (bit-of pb:+dimensions+) +no-needs+)
            (if (plusp (length (pb:embed-task-prompt-name embed)))
                (bit-of pb:+prompts+)
                +no-needs+))))

(defun or-else (number usual)
  "Return NUMBER, or USUAL if that is 0, as a double float."
  (float (if (zerop number) usual number) 1d0))

(defun left (task whole)
  "Return what is left of WHOLE, in tokens, after those that TASK resumes."
  (let ((resume (pb:task-resume task)))
    (max (- whole (if resume (length (pb:resume-tokens resume)) 0))
         1d0)))

(defun text-size (task)
  "Return how many tokens TASK, a text, asks for."
  (left task (or-else (pb:text-task-max-tokens (pb:task-text task)) +usual-tokens+)))

(defun transcribe-size (task)
  "Return how many tokens TASK, a recording to be written down, is reckoned to give."
  (let ((audio (pb:transcribe-task-audio (pb:task-transcribe task))))
    (left task (/ (float (if audio (length (pb:media-data audio)) 0) 1d0) +bytes-per-spoken-token+))))

(defun speak-size (task)
  "Return how many sentences TASK, a text to be said, is reckoned to have."
  (left task (/ (float (length (pb:speak-task-input (pb:task-speak task))) 1d0)
                +characters-per-sentence+)))

(defparameter +work+
  (list (make-work-kind
         :name "text" :field :text :unit "tokens" :usual-rate 50d0 :shared t :seeded t
         :size #'text-size
         :reading (/ 1d0 (* +bytes-per-token+ +read-per-written+))
         :made (lambda (part) (length (pb:result-tokens part)))
         :needs #'text-needs)
        (make-work-kind
         :name "image" :field :image :unit "images" :usual-rate 0.2d0 :shared nil :seeded t
         :size (lambda (task) (or-else (pb:image-task-n (pb:task-image task)) 1))
         :made (lambda (part) (length (pb:result-images part)))
         :needs #'image-needs)
        (make-work-kind
         :name "embed" :field :embed :unit "embeddings" :usual-rate 100d0 :shared t :seeded nil
         :size (lambda (task)
                 (let ((embed (pb:task-embed task)))
                   (or-else (+ (length (pb:embed-task-inputs embed))
                               (length (pb:embed-task-token-inputs embed)))
                            1)))
         :made (lambda (part) (length (pb:result-embeddings part)))
         :needs #'embed-needs)
        (make-work-kind
         :name "transcribe" :field :transcribe :unit "tokens" :usual-rate 50d0 :shared nil :seeded t
         :size #'transcribe-size
         :made (lambda (part) (length (pb:result-tokens part)))
         :needs (constantly (bit-of pb:+hear+)))
        (make-work-kind
         :name "speak" :field :speak :unit "sentences" :usual-rate 2d0 :shared nil :seeded t
         :size #'speak-size
         :made (lambda (part) (length (pb:result-tokens part)))
         :needs (constantly (bit-of pb:+speak+)))
        (make-work-kind
         :name "rerank" :field :rerank :unit "texts" :usual-rate 50d0 :shared t :seeded nil
         :size (lambda (task)
                 (or-else (length (pb:rerank-task-documents (pb:task-rerank task))) 1))
         :made (lambda (part) (length (pb:result-scores part)))
         :needs (constantly (bit-of pb:+rerank+)))
        (make-work-kind
         :name "load" :field :load :unit "models" :usual-rate 1d0 :shared t :seeded nil :raced nil
         :size (constantly 1d0)
         :made (constantly 0)
         :needs (constantly +no-needs+))
        (make-work-kind
         :name "manage" :field :manage :unit "models" :usual-rate 1d0 :shared t :seeded nil
         :size (constantly 1d0)
         :made (constantly 0)
         :needs (constantly +no-needs+)
         :loads nil :raced nil))
  "What workers do; a StatusTask is answered by a head itself.")

(defun work-of (task)
  "Return the kind of TASK; NIL if it has no work, or none for workers."
  (find (pb:task-work task) +work+ :key #'work-kind-field))

(defun needs-of (task)
  "Return the set of what a model must be capable of to run TASK."
  (let* ((kind (work-of task))
         (needs (if kind (funcall (work-kind-needs kind) task) +no-needs+)))
    (if (pb:task-adapters task) (logior needs (bit-of pb:+adapters+)) needs)))

(defun bytes-to-read (task size needs)
  "Return how many bytes of text it takes as long to read as TASK, which has SIZE bytes and NEEDS."
  (if (zerop (logand needs (capability-set pb:+see+ pb:+hear+)))
      size
      (loop with bytes = (pb:encoded-size task)
            with text = (pb:task-text task)
            for message in (and text (pb:text-task-messages text))
            do (dolist (part (pb:chat-message-parts message))
                 (unless (pb:content-part-text part)
                   (incf bytes (- (* +bytes-per-token+ +tokens-of-media+)
                                  (pb:encoded-size part)))))
            finally (return bytes))))

;;; Answers

(defun getting-ready-p (part)
  "Return whether PART, a PB:RESULT, only says that its worker gets the model first."
  (let ((progress (pb:result-progress part)))
    (and progress (string/= (pb:progress-phase progress) "steps"))))

;;; Models

(defun capabilities-of (model)
  "Return the set of what MODEL, a PB:MODEL-STATUS, can do; NIL if that is not known before it is loaded.
A model that tells none can do what models of its kind could before they told."
  (let ((told (pb:model-status-capabilities model))
        (kind (pb:model-status-kind model)))
    (cond ((plusp (length told)) (reduce #'logior told :key #'bit-of :initial-value 0))
          ((= kind pb:+text+) (capability-set pb:+chat+ pb:+complete+ pb:+embed+))
          ((= kind pb:+image+) (capability-set pb:+paint+))
          ((= kind pb:+embedding+) (capability-set pb:+embed+))
          ((= kind pb:+transcription+) (capability-set pb:+hear+))
          ((= kind pb:+speech+) (capability-set pb:+speak+))
          ((= kind pb:+reranking+) (capability-set pb:+rerank+))
          (t nil))))
