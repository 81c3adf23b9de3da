(defpackage #:hydramesh/replay/tasks
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4 #:host-of)
  (:import-from #:hydramesh/policy/mistakes #:noting-mistakes)
  (:import-from #:hydramesh/policy/policy #:policy-name #:policy-text)
  (:import-from #:hydramesh/policy/reader #:form-kind #:form-value #:read-forms)
  (:import-from #:hydramesh/prompt-blocks #:hashes)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/storage/pseudonym #:pseudonym)
  (:import-from #:hydramesh/storage/traffic
                #:passage-bytes-in #:passage-client #:passage-deadline #:passage-host #:passage-kind
                #:passage-model #:passage-needs #:passage-pinned-p #:passage-reading #:passage-streamed-p
                #:passage-tags #:passage-wanted #:passage-weight #:passage-worker)
  (:import-from #:hydramesh/work #:capability-set #:+bytes-per-token+ #:+read-per-written+)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:export #:names-in #:task-of #:address-of)
  (:documentation "Tasks that a head treats as those which were recorded, with nothing in them.

Of clients and their addresses only pseudonyms are known. A policy that names one is asked about that name
where the pseudonym fits."))
(in-package #:hydramesh/replay/tasks)

(defconstant +most-made+ 100000 "Of what a task that is made up asks for.")
(defconstant +most-bytes+ 4000000)
(defconstant +surroundings+ 40 "Bytes of a task that are not its prompt.")

(defun names-in (policies salt)
  "Return a table from pseudonyms, made with SALT or NIL, to the names in POLICIES for which they stand."
  (let ((table (make-hash-table)))
    (labels ((look (form)
               (case (form-kind form)
                 (:text (setf (gethash (pseudonym (form-value form) salt) table) (form-value form)))
                 (:list (mapc #'look (form-value form))))))
      (when salt
        (dolist (policy (remove nil policies))
          (noting-mistakes ((policy-name policy) (policy-text policy))
            (mapc #'look (read-forms (policy-text policy)))))))
    table))

(defun numeric-ip (text)
  "Return the number of the IPv4 address TEXT; NIL if it is none."
  (let ((number 0) (parts 0) (start 0))
    (loop for end = (position #\. text :start start)
          for part = (parse-integer text :start start :end end :junk-allowed t)
          do (unless (and part (<= 0 part 255) (< parts 4))
               (return nil))
             (setf number (+ (* 256 number) part))
             (incf parts)
             (unless end
               (return (and (= parts 4) (string= text (host-of (ipv4 number 1))) number)))
             (setf start (1+ end)))))

(defun address-of (passage names)
  "Return the address from which PASSAGE comes: one in 10.0.0.0/8 unless NAMES has the real one."
  (let ((name (gethash (passage-host passage) names)))
    (ipv4 (or (and name (numeric-ip name))
              (+ (ash 10 24) (passage-host passage)))
          40000)))

(defun client-of (passage names)
  (let ((client (passage-client passage)))
    (cond ((zerop client) "")
          ((gethash client names))
          (t (format nil "client ~D" client)))))

(defun text (bytes)
  (make-string (max 1 (min bytes +most-bytes+)) :initial-element #\x))

(defun text-task (passage prefix)
  (let ((text (pb:make-text-task :max-tokens (passage-wanted passage)))
        (prompt (text (- (* (passage-reading passage) +bytes-per-token+ +read-per-written+)
                         +surroundings+ (length prefix)))))
    (cond ((not (need-p passage pb:+chat+))
           (if (need-p passage pb:+tokens+)
               (setf (pb:text-task-prompt-tokens text)
                     (make-array (ceiling (length prompt) +bytes-per-token+)
                                 :element-type '(unsigned-byte 32) :initial-element 1000))
               (setf (pb:text-task-prompt text) prompt)))
          (t
           (push (pb:make-chat-message :role "user" :content prompt) (pb:text-task-messages text))
           (when (need-p passage pb:+see+)
             (push (pb:make-chat-message :role "user"
                                         :parts (list (pb:make-content-part :image (pb:make-media))))
                   (pb:text-task-messages text)))
           (when (need-p passage pb:+hear+)
             (push (pb:make-chat-message :role "user"
                                         :parts (list (pb:make-content-part :audio (pb:make-media))))
                   (pb:text-task-messages text)))))
    (when (need-p passage pb:+tools+)
      (setf (pb:text-task-tools text) (list (pb:make-tool :name "f"))))
    (when (need-p passage pb:+schema+)
      (setf (pb:text-task-constraint text) (pb:make-constraint :json t)))
    (when (need-p passage pb:+sampling+)
      (setf (pb:text-task-sampling text) (pb:make-sampling :min-p 0.1)))
    text))

(defun need-p (passage capability)
  (logtest (passage-needs passage) (capability-set capability)))

(defun work (passage prefix)
  "Return the work of PASSAGE, as a part of what PB:MAKE-TASK takes beside PREFIX."
  (let ((kind (passage-kind passage))
        (count (max 1 (min (passage-wanted passage) +most-made+)))
        (bytes (passage-bytes-in passage)))
    (cond ((string= kind "text")
           (list :text (text-task passage prefix)))
          ((string= kind "image")
           (list :image (pb:make-image-task :prompt "x" :n count
                                            :type (if (need-p passage pb:+formats+) "image/webp" "")
                                            :image (and (need-p passage pb:+edit+) (pb:make-media)))))
          ((string= kind "embed")
           (list :embed (pb:make-embed-task
                         :inputs (loop repeat count collect (text (floor bytes (* 2 count))))
                         :dimensions (if (need-p passage pb:+dimensions+) 1 0)
                         :prompt-name (if (need-p passage pb:+prompts+) "x" ""))))
          ((string= kind "transcribe")
           (list :transcribe (pb:make-transcribe-task
                              :audio (pb:make-media
                                      :data (make-array (min (* 4000 count) +most-bytes+)
                                                        :element-type '(unsigned-byte 8)
                                                        :initial-element 0)))))
          ((string= kind "speak")
           (list :speak (pb:make-speak-task :input (text (* 80 count)))))
          (t
           (list :rerank (pb:make-rerank-task
                          :query "x"
                          :documents (loop repeat count collect (text (floor bytes (* 2 count))))))))))

(defun prefix-of (hashes)
  "Return HASHES as Task.prefix has them."
  (declare (type hashes hashes))
  (let ((prefix (make-array (* 8 (length hashes)) :element-type '(unsigned-byte 8))))
    (loop for hash across hashes
          for start from 0 by 8
          do (dotimes (place 8)
               (setf (aref prefix (+ start place)) (ldb (byte 8 (* 8 (- 7 place))) hash))))
    prefix))

(defun task-of (passage id names hashes &aux (prefix (prefix-of hashes)))
  "Return the PB:TASK that PASSAGE was, with the number ID and a prompt that begins with the blocks HASHES."
  (apply #'pb:make-task
         :id id
         :prefix prefix
         :model (passage-model passage)
         :deadline-ms (min #xffffffff (ceiling (passage-deadline passage) 1000))
         :stream (passage-streamed-p passage)
         :worker-id (if (passage-pinned-p passage) (passage-worker passage) "")
         :client (client-of passage names)
         :weight (min 1000 (passage-weight passage))
         :tags (passage-tags passage)
         :adapters (and (need-p passage pb:+adapters+) (list (pb:make-adapter :name "x")))
         (work passage prefix)))
