;;;; A room: what several microphones send is mixed, each hears the others, and the words that are said are
;;;; counted.
;;;;
;;;;   hydramesh run room.lisp --domain-listen 127.0.0.1:7720 --heads 127.0.0.1:7717
;;;;   MICROPHONE=one-two.wav hydramesh run microphone.lisp --domain-listen 127.0.0.1:0 --domain-peers 127.0.0.1:7720
;;;;
;;;; It needs a worker with a model that transcribes. ROOM_WAV, if it is set, names a file for what was heard.

(defvar *model* "daiic-tiny-hear")

(defvar *counts* (make-hash-table :test 'equal) "How often each word has been said.")

(defun words (text)
  "Return the words of TEXT in lower case."
  (loop with start = 0
        for end = (position-if-not #'alphanumericp text :start start)
        for word = (string-downcase (subseq text start end))
        unless (string= word "")
          collect word
        while end
        do (setf start (1+ end))))

(defun counted ()
  "Return what was said, the most frequent words first."
  (let ((all (loop for word being the hash-keys of *counts* using (hash-value count)
                   collect (cons word count))))
    (format nil "~{~A~^, ~}"
            (loop for (word . count) in (sort (sort all #'string< :key #'car) #'> :key #'cdr)
                  collect (format nil "~A ~D" word count)))))

(defun note-words (speaker text)
  (dolist (word (words text))
    (incf (gethash word *counts* 0)))
  (log-info "said" :speaker speaker :text text :counts (counted)))

(defaudio-stream room
  (:codec :opus)
  (:send :mix)
  (:speakers 16)
  (:to (uiop:getenvp "ROOM_WAV"))
  (:on join (speaker)
    (log-info "somebody comes" :speaker (speaker-number speaker)))
  (:on leave (speaker)
    (log-info "somebody leaves" :speaker (speaker-number speaker)))
  (:on utterance (speaker samples)
    (let ((number (speaker-number speaker)))
      (transcribe *model* (audio-wav samples)
                  :language "en"
                  :then (lambda (text) (note-words number text))
                  :else (lambda (error)
                          (log-warning "not understood" :speaker number :reason (princ-to-string error)))))))
