(defpackage #:hydramesh/domain/asking
  (:use #:cl)
  (:import-from #:hydramesh/client/client #:submit-task #:cancel-task)
  (:import-from #:hydramesh/errors #:make-task-error #:task-error #:task-error-name)
  (:import-from #:hydramesh/events #:octets)
  (:import-from #:hydramesh/domain/limits #:+calls+ #:+answer-bytes+ #:+prompt-bytes+)
  (:import-from #:hydramesh/domain/node #:*node* #:*acting* #:*service* #:node-client #:node-calls #:acting)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/service/logs #:log-warning)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:ask #:paint #:embed #:transcribe #:cancel-call)
  (:documentation "Tasks for the cluster, from any handler of a program. None of these blocks: what they
return is a call, and THEN or ELSE is called later, on the same loop. ELSE gets a TASK-ERROR; without it that
is logged.

DEADLINE is in seconds; without it the head's holds."))
(in-package #:hydramesh/domain/asking)

(defstruct (asked (:constructor make-asked (node name service then else)))
  "A task that SERVICE, called NAME, has given to the cluster. TEXT are pieces of its answer, the newest
first."
  node
  (name "" :type string)
  (service nil)
  (then nil :type (or null function))
  (else nil :type (or null function))
  (call nil)
  (over nil)
  (text '() :type list)
  (size 0 :type fixnum))

(defun cancel-call (asked)
  "Want no answer to what ASK, PAINT, EMBED or TRANSCRIBE returned; nothing is called any more."
  (unless (asked-over asked)
    (end asked)
    (when (asked-call asked)
      (cancel-task (node-client (asked-node asked)) (asked-call asked)))))

(defun end (asked)
  (setf (asked-over asked) t)
  (decf (node-calls (asked-node asked))))

(defun finish (asked function &rest arguments)
  (unless (asked-over asked)
    (end asked)
    (when function
      (acting ((asked-node asked) (asked-name asked) (asked-service asked))
        (apply function arguments)))))

(defun fail (asked error)
  (if (asked-else asked)
      (finish asked (asked-else asked) error)
      (finish asked (lambda ()
                      (log-warning "a task was not answered" :program (asked-name asked)
                                                             :code (task-error-name error)
                                                             :reason (princ-to-string error))))))

(defun submit (task then else part)
  "Give TASK to the cluster. PART is called with what is asked and each part of the answer, and calls FINISH."
  (unless *node*
    (error "a program can ask only in its handlers, while it runs"))
  (let* ((node *node*) (asked (make-asked node *acting* *service* then else)) (client (node-client node))
         ;; What has something else where a text belongs is found here, and is no call.
         (size (pb:encoded-size task)))
    (incf (node-calls node))
    (cond ((null client)
           (fail asked (make-task-error pb:+head-unreachable+ "this program knows no heads" "set `heads`")))
          ((> (node-calls node) +calls+)
           (fail asked (make-task-error pb:+queue-full+
                                        (format nil "~D tasks of this program are not answered yet" +calls+)
                                        "ask again when one of them is")))
          ((> size +prompt-bytes+)
           (fail asked (make-task-error pb:+bad-request+
                                        (format nil "the task has more than ~D MiB"
                                                (floor +prompt-bytes+ (ash 1 20)))
                                        "ask for less at once")))
          (t
           (let ((call (submit-task client task
                                    (lambda (result) (unless (asked-over asked) (funcall part asked result)))
                                    (lambda (error) (fail asked error)))))
             (setf (asked-call asked) call))))
    asked))

(defun milliseconds (deadline)
  (if deadline
      (max 1 (min #xffffffff (round (* 1000 deadline))))
      0))

(defun float-of (number)
  (and number (coerce number 'single-float)))

;;; Texts

(defun add-text (asked text)
  "Keep TEXT, a piece of the answer; return whether that is not too much."
  (when (plusp (length text))
    (push text (asked-text asked))
    (incf (asked-size asked) (length text)))
  (<= (asked-size asked) +answer-bytes+))

(defun whole-text (asked)
  (let ((whole (make-string (asked-size asked))) (end (asked-size asked)))
    (dolist (text (asked-text asked) whole)
      (decf end (length text))
      (replace whole text :start1 end))))

(defun too-long (asked)
  (let ((call (asked-call asked)))
    (when call
      (cancel-task (node-client (asked-node asked)) call))
    (fail asked (make-task-error pb:+internal+ (format nil "the answer has more than ~D MiB"
                                                       (floor +answer-bytes+ (ash 1 20)))
                                 "ask for less, as with max-tokens"))))

(defun text-part (piece)
  "Return what takes the parts of an answer that is a text; PIECE gets each piece of it, or is NIL."
  (lambda (asked result)
    (flet ((tell (text)
             (when piece
               (acting ((asked-node asked) (asked-name asked) (asked-service asked)) (funcall piece text)))))
      (when (pb:result-started-over result)
        (setf (asked-text asked) '()
              (asked-size asked) 0)
        (tell nil))
      (let ((text (pb:result-text result)))
        (cond ((not (add-text asked text)) (too-long asked))
              (t
               (when (plusp (length text))
                 (tell text))
               (when (pb:result-final result)
                 (finish asked (asked-then asked) (whole-text asked)))))))))

(defun messages (prompt system)
  "Return the conversation that PROMPT is, a text or a list of (role . text)."
  (append (and system (list (pb:make-chat-message :role "system" :content system)))
          (if (stringp prompt)
              (list (pb:make-chat-message :role "user" :content prompt))
              (loop for (role . text) in prompt
                    collect (pb:make-chat-message :role (string-downcase role) :content text)))))

(defun ask (model prompt &key system max-tokens temperature seed stop deadline then part else)
  "Ask the language model MODEL; PROMPT is what the user says, or a conversation, a list of (role . text).
THEN gets the answer, a text. PART gets each piece of it as it comes, and NIL when all pieces so far are
void, as another model begins again."
  (submit (pb:make-task :model model
                        :stream (and part t)
                        :deadline-ms (milliseconds deadline)
                        :text (pb:make-text-task :messages (messages prompt system)
                                                 :max-tokens (or max-tokens 0)
                                                 :temperature (float-of temperature)
                                                 :seed seed
                                                 :stop (if (stringp stop) (list stop) stop)))
          then else (text-part part)))

(defun transcribe (model wav &key language deadline then else)
  "Have the model MODEL write down what is said in WAV, the octets of such a file. THEN gets the text."
  (submit (pb:make-task :model model
                        :deadline-ms (milliseconds deadline)
                        :transcribe (pb:make-transcribe-task
                                     :audio (pb:make-media :data (coerce wav 'octets) :type "audio/wav")
                                     :language (or language "")))
          then else (text-part nil)))

;;; Images, numbers

(defun final-part (value error)
  "Return what takes an answer of one part: VALUE of it is for THEN, or there is none, as ERROR says."
  (lambda (asked result)
    (when (pb:result-final result)
      (let ((found (funcall value result)))
        (if found
            (finish asked (asked-then asked) found)
            (fail asked (make-task-error pb:+internal+ error "see the worker's log")))))))

(defun paint (model prompt &key negative width height steps seed deadline then else)
  "Have the model MODEL paint PROMPT. THEN gets the octets of a PNG."
  (submit (pb:make-task :model model
                        :deadline-ms (milliseconds deadline)
                        :image (pb:make-image-task :prompt prompt
                                                   :negative-prompt (or negative "")
                                                   :width (or width 0)
                                                   :height (or height 0)
                                                   :steps (or steps 0)
                                                   :seed seed))
          then else
          (final-part (lambda (result)
                        (let ((image (first (pb:result-images result))))
                          (and image (pb:image-png image))))
                      "the answer has no image")))

(defun embed (model texts &key deadline then else)
  "Have the model MODEL make numbers of TEXTS, one or a list of them, that are near where the texts mean the
same. THEN gets a list of vectors of single-floats."
  (let ((inputs (if (stringp texts) (list texts) texts)))
    (submit (pb:make-task :model model
                          :deadline-ms (milliseconds deadline)
                          :embed (pb:make-embed-task :inputs inputs))
            then else
            (final-part (lambda (result)
                          (let ((embeddings (pb:result-embeddings result)))
                            (and (= (length embeddings) (length inputs))
                                 (mapcar #'pb:embedding-values embeddings))))
                        "the answer has not one embedding for each text"))))
