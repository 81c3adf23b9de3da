(defpackage #:hydramesh/tests/head/capabilities
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/head/limits
                #:+limits+ #:head-limits-tags #:head-limits-name #:head-limits-capabilities)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:new-cluster #:pass-time #:add-worker #:add-client #:worker-heartbeat
                #:ask #:status #:task #:tasks #:answer #:task-error #:task-errors)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Tasks go to models that can do them on workers with their tags; a refusal says who could."))
(in-package #:hydramesh/tests/head/capabilities)

(fiveam:def-suite capabilities :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite capabilities)

(defun numbers (&rest numbers)
  (make-array (length numbers) :element-type '(signed-byte 32) :initial-contents numbers))

(defun model (name capabilities &rest fields &key (state pb:+loaded+) (kind pb:+text+) &allow-other-keys)
  (apply #'pb:make-model-status :name name :capabilities (apply #'numbers capabilities)
                                :state state :kind kind fields))

(defun look ()
  "Return a text that needs SEE."
  (pb:make-text-task
   :messages (list (pb:make-chat-message
                    :role "user"
                    :parts (list (pb:make-content-part
                                  :image (pb:make-media :data (coerce #(1 2) '(simple-array (unsigned-byte 8) (*)))
                                                        :type "image/png")))))))

(defun call ()
  "Return a text that needs TOOLS."
  (pb:make-text-task :messages (list (pb:make-chat-message :content "hi"))
                     :tools (list (pb:make-tool :name "f"))))

(defun is-error (client code &optional message remedy)
  "Check the only error that CLIENT got."
  (let ((error (task-error client)))
    (is (= code (pb:error-code error)))
    (when message
      (is (string= message (pb:error-message error))))
    (when remedy
      (is (search remedy (pb:error-remedy error))))))

(test only-a-worker-whose-model-can-gets-the-task
  (let* ((cluster (new-cluster))
         (blind (add-worker cluster :id "blind" :models (list (model "m" (list pb:+chat+))) :slots 99))
         (seeing (add-worker cluster :id "seeing"
                                     :models (list (model "m" (list pb:+chat+ pb:+see+)
                                                          :state pb:+available+)))))
    (ask (add-client cluster) :text (look))
    (is (task seeing))
    (is (null (tasks blind)))))

(test what-the-model-cannot-do-is-refused-at-once-with-models-that-can
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :models (list (model "tiny-chat" '())))
    (add-worker cluster :id "lab2" :models (list (model "gemma-3" (list pb:+chat+ pb:+see+))
                                                 (model "other" (list pb:+chat+))))
    (ask client :model "tiny-chat" :text (look))
    (is-error client pb:+unsupported+ "tiny-chat cannot see images"
              "models that can: gemma-3 on worker lab2")))

(test what-no-model-of-the-cluster-can-do-is-refused-with-a-remedy
  (let* ((cluster (new-cluster))
         (client (add-client cluster))
         (both (look)))
    (add-worker cluster :models (list (model "m" (list pb:+chat+))
                                      (model "n" (list pb:+chat+ pb:+tools+))))
    (setf (pb:text-task-tools both) (list (pb:make-tool :name "f")))
    (ask client :text both)
    (is-error client pb:+unsupported+
              "m cannot see images or call tools, and no other model of this cluster can"
              "add a model")))

(test a-model-that-tells-nothing-can-do-what-its-kind-can
  (loop for (kind can . work)
          in (list (list pb:+text+ t :text (pb:make-text-task :prompt "p"))
                   (list pb:+text+ t :text (pb:make-text-task
                                            :messages (list (pb:make-chat-message :content "c"))))
                   (list pb:+text+ t :embed (pb:make-embed-task :inputs '("i")))
                   (list pb:+text+ nil :image (pb:make-image-task :prompt "p"))
                   (list pb:+text+ nil :text (call))
                   (list pb:+image+ t :image (pb:make-image-task :prompt "p"))
                   (list pb:+image+ nil :image (pb:make-image-task :image (pb:make-media :type "i")))
                   (list pb:+image+ nil :text (pb:make-text-task :prompt "p"))
                   (list pb:+embedding+ t :embed (pb:make-embed-task :inputs '("i")))
                   (list pb:+embedding+ nil :text (pb:make-text-task :prompt "p"))
                   (list pb:+transcription+ t :transcribe (pb:make-transcribe-task))
                   (list pb:+text+ nil :transcribe (pb:make-transcribe-task))
                   (list pb:+speech+ t :speak (pb:make-speak-task :input "s"))
                   (list pb:+reranking+ t :rerank (pb:make-rerank-task :documents '("d")))
                   (list pb:+embedding+ nil :rerank (pb:make-rerank-task :documents '("d")))
                   (list pb:+embedding+ nil :embed (pb:make-embed-task :inputs '("i") :dimensions 8))
                   (list pb:+image+ t :load (pb:make-load-task))
                   (list pb:+model-kind-unspecified+ t :text (call)))
        do (let* ((cluster (new-cluster))
                  (worker (add-worker cluster :models (list (model "m" '() :kind kind))))
                  (client (add-client cluster)))
             (apply #'ask client work)
             (is (= (if can 1 0) (length (tasks worker))))
             (is (equal (if can '() (list pb:+unsupported+))
                        (mapcar #'pb:error-code (task-errors client)))))))

(test what-a-task-asks-for-needs-what-the-specification-says
  (flet ((text (&rest fields) (apply #'pb:make-text-task :prompt "p" fields))
         (chat (&rest fields) (pb:make-text-task :messages (list (apply #'pb:make-chat-message fields)))))
    (loop for (lacked text)
            in (list (list pb:+complete+ (text))
                     (list pb:+chat+ (chat :content "c"))
                     (list pb:+hear+ (chat :parts (list (pb:make-content-part
                                                         :audio (pb:make-media :type "audio/wav")))))
                     (list pb:+tools+ (chat :tool-calls (list (pb:make-tool-call :id "1"))))
                     (list pb:+tools+ (chat :role "tool"))
                     (list pb:+tools+ (chat :tool-call-id "1"))
                     (list pb:+tools+ (text :tool-choice (pb:make-tool-choice
                                                          :mode pb:+tool-choice-required+)))
                     (list pb:+tools+ (text :tool-choice (pb:make-tool-choice :name "f")))
                     (list pb:+schema+ (text :constraint (pb:make-constraint :json t)))
                     (list pb:+sampling+ (text :sampling (pb:make-sampling :min-p 0.1)))
                     (list pb:+tokens+ (pb:make-text-task
                                        :prompt-tokens (make-array 1 :element-type '(unsigned-byte 32)
                                                                     :initial-element 1))))
          do (let* ((cluster (new-cluster))
                    (all (loop for number from 1 to 17 collect number))
                    (client (add-client cluster))
                    (able (add-worker cluster :id "able"
                                              :models (list (model "m" all :state pb:+available+)))))
               (add-worker cluster :id "less" :models (list (model "m" (remove lacked all))))
               (ask client :text text)
               (is (= 1 (length (tasks able))))))
    (dolist (text (list (text :tool-choice (pb:make-tool-choice :mode pb:+tool-choice-none+))
                        (text :tool-choice (pb:make-tool-choice :name ""))
                        (text :constraint (pb:make-constraint))
                        (text :sampling (pb:make-sampling))))
      (let* ((cluster (new-cluster))
             (worker (add-worker cluster :models (list (model "m" (list pb:+complete+))))))
        (ask (add-client cluster) :text text)
        (is (= 1 (length (tasks worker))))))))

(test a-model-that-nobody-has-on-disk-is-tried
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :models '() :can-download t)))
    (ask (add-client cluster) :model "owner/name" :text (look))
    (is (string= "owner/name" (pb:task-model (task worker))))))

(test a-model-that-is-known-to-lack-something-is-not-downloaded-for-it
  (loop for choice in '(() (:worker-id "other") (:tags ("b")))
        do (let* ((cluster (new-cluster))
                  (other (add-worker cluster :id "other" :models '() :can-download t :tags '("b")))
                  (client (add-client cluster)))
             (add-worker cluster :id "has" :models (list (model "owner/name" (list pb:+chat+))))
             (apply #'ask client :model "owner/name" :text (look) choice)
             (is-error client pb:+unsupported+)
             (is (null (tasks other))))))

(test a-pinned-worker-is-asked-for-no-more-than-it-can
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :id "blind" :models (list (model "m" (list pb:+chat+))))
    (let ((seeing (add-worker cluster :id "seeing" :models (list (model "m" (list pb:+chat+ pb:+see+))))))
      (ask client :text (look) :worker-id "blind")
      (is-error client pb:+unsupported+)
      (ask client :text (look) :worker-id "seeing")
      (is (tasks seeing)))))

(test a-task-that-waits-for-a-capable-worker-holds-up-no-other
  (let* ((cluster (new-cluster))
         (blind (add-worker cluster :id "blind" :slots 1
                                    :models (list (model "m" (list pb:+chat+ pb:+complete+)))))
         (seeing (add-worker cluster :id "seeing" :slots 1
                                     :models (list (model "m" (list pb:+chat+ pb:+see+)))))
         (client (add-client cluster)))
    (ask client :text (look))
    (ask client :text (look))
    (ask client)
    (is (= 1 (length (tasks blind))))
    (answer seeing (task seeing))
    (is (tasks seeing))
    (is (null (task-errors client)))))

(test a-worker-whose-model-lost-the-ability-leaves-waiting-tasks-an-error
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :models (list (model "m" (list pb:+chat+ pb:+see+))) :slots 1))
         (client (add-client cluster)))
    (ask client :text (look))
    (let ((waiting (ask client :text (look))))
      (setf (pb:heartbeat-models (worker-heartbeat worker)) (list (model "m" (list pb:+chat+))))
      (pass-time cluster 13)
      (let ((error (task-error client)))
        (is (equal (list waiting pb:+unsupported+) (list (pb:error-id error) (pb:error-code error))))))))

;;; Tags

(test only-workers-with-all-tags-get-the-task
  (let* ((cluster (new-cluster))
         (some (add-worker cluster :id "some" :tags '("eu") :slots 99))
         (every (add-worker cluster :id "every" :tags '("more" "eu" "fast"))))
    (ask (add-client cluster) :tags '("fast" "eu" "fast"))
    (is (and (tasks every) (null (tasks some))))))

(test tags-that-no-worker-has-are-named
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :tags '("eu"))
    (ask client :tags '("us" "eu" "fast"))
    (is-error client pb:+no-worker+ "no worker has the tags \"fast\", \"us\"" "\"eu\"")))

(test tags-that-no-worker-has-together-are-named
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :id "a" :tags '("eu"))
    (add-worker cluster :id "b" :tags '("fast"))
    (ask client :tags '("fast" "eu"))
    (is-error client pb:+no-worker+ "no worker has all of the tags \"eu\", \"fast\"")))

(test a-model-that-only-workers-without-the-tags-have-is-not-found
  (let* ((cluster (new-cluster))
         (client (add-client cluster)))
    (add-worker cluster :id "a" :models '("m"))
    (add-worker cluster :id "b" :models '("n") :tags '("eu"))
    (ask client :tags '("eu"))
    (is-error client pb:+model-not-found+ "no worker with the tags \"eu\" has the model \"m\"")))

(test tags-and-capabilities-of-a-hostile-worker-are-cut
  (let* ((cluster (new-cluster))
         (long (make-string 500 :initial-element #\x)))
    (add-worker cluster
                :models (list (model "m" (make-list 1000 :initial-element pb:+chat+)
                                     :identity (pb:make-model-identity :weights long)))
                :tags (make-list 100 :initial-element long))
    (let* ((worker (first (pb:cluster-status-workers (status (add-client cluster)))))
           (beat (pb:worker-status-heartbeat worker))
           (model (first (pb:heartbeat-models beat))))
      (is (= (head-limits-tags +limits+) (length (pb:heartbeat-tags beat))))
      (is (= (head-limits-name +limits+) (length (first (pb:heartbeat-tags beat)))))
      (is (= (head-limits-capabilities +limits+) (length (pb:model-status-capabilities model))))
      (is (= (head-limits-name +limits+)
             (length (pb:model-identity-weights (pb:model-status-identity model))))))))
