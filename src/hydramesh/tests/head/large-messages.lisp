(defpackage #:hydramesh/tests/head/large-messages
  (:use #:cl)
  (:import-from #:fiveam #:is #:test)
  (:import-from #:hydramesh/events #:+result+ #:+task+)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/tests/cluster
                #:add-client #:add-worker #:answer #:ask #:new-cluster #:next-number #:received #:result
                #:results #:send #:task #:unreachable)
  (:import-from #:hydramesh/tests/suite)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "Large answers and tasks pass the head as they came, whatever else happens to them."))
(in-package #:hydramesh/tests/head/large-messages)

(fiveam:def-suite large-messages :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite large-messages)

(defun octets (count)
  (let ((octets (make-array count :element-type '(unsigned-byte 8))))
    (dotimes (at count octets)
      (setf (aref octets at) (mod (* 7 at) 251)))))

(defun picture ()
  (pb:make-image :png (octets 130000) :seed 3))

(defun seen (&optional seed)
  "Return a text with an image in it."
  (pb:make-text-task
   :seed seed
   :max-tokens 9
   :messages (list (pb:make-chat-message
                    :role "user"
                    :parts (list (pb:make-content-part :text "what is it?")
                                 (pb:make-content-part
                                  :image (pb:make-media :data (octets 130000) :type "image/png")))))))

(defun seeing ()
  (list (pb:make-model-status
         :name "m" :state pb:+loaded+ :kind pb:+text+
         :capabilities (coerce (list pb:+chat+ pb:+see+) '(simple-array (signed-byte 32) (*))))))

(test a-large-answer-arrives-under-the-clients-id
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster))
         (id (ask client :image (pb:make-image-task :prompt "p"))))
    (answer worker (task worker) :images (list (picture) (picture)) :text "t" :worker-id "w")
    (is (equalp (pb:make-result :id id :final t :images (list (picture) (picture)) :text "t"
                                :worker-id "w")
                (result client)))))

(test large-parts-are-passed-on-in-order
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (ask client :image (pb:make-image-task :prompt "p") :stream t)
    (let ((task (task worker)))
      (loop for index from 2 downto 0
            do (answer worker task :index index :final (= index 2) :images (list (picture))
                                   :text (format nil "~d" index))))
    (let ((results (results client)))
      (is (equal '("0" "1" "2") (mapcar #'pb:result-text results)))
      (is (every (lambda (part) (equalp (list (picture)) (pb:result-images part))) results)))))

(test a-large-answer-to-a-json-task-is-json
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster))
         (client (add-client cluster)))
    (send client +task+ (map '(vector (unsigned-byte 8)) #'char-code
                             "{\"model\": \"m\", \"image\": {\"prompt\": \"p\"}}"))
    (answer worker (task worker) :images (list (picture)))
    (let ((answer (first (received client +result+))))
      (is (= (char-code #\{) (aref answer 0)))
      (is (> (length answer) 130000)))))

(test a-large-task-reaches-its-worker-as-it-is-with-a-seed
  (dolist (seed '(nil 0 7))
    (let* ((cluster (new-cluster))
           (worker (add-worker cluster :models (seeing)))
           (client (add-client cluster)))
      (ask client :text (seen seed) :deadline-ms 5000 :client "somebody")
      (let* ((task (task worker))
             (drawn (pb:text-task-seed (pb:task-text task))))
        (is (= 5000 (pb:task-deadline-ms task)))
        (is (string= "" (pb:task-client task)))
        (is (if seed (eql seed drawn) drawn))
        (is (equalp (seen drawn) (pb:task-text task)))))))

(test a-large-task-that-moves-is-the-same-and-resumed
  (let* ((cluster (new-cluster))
         (first (add-worker cluster :id "first" :models (seeing)))
         (client (add-client cluster)))
    (ask client :text (seen) :stream t)
    (let* ((before (task first))
           (second (progn (answer first before :index 0 :text "a" :final nil)
                          (add-worker cluster :id "second" :models (seeing))))
           (after (progn (unreachable first) (task second))))
      (is (equalp (pb:make-resume :text "a" :index 1) (pb:task-resume after)))
      (is (equalp (pb:task-text before) (pb:task-text after))))))

(defun take-seed (expected task)
  "Give EXPECTED the seed of TASK, if it has work with a seed."
  (flet ((seeded (task)
           (or (pb:task-text task) (pb:task-image task)
               (pb:task-transcribe task) (pb:task-speak task))))
    (let ((work (seeded expected)) (made (seeded task)))
      (when (and work made)
        (setf (slot-value work 'pb::seed) (slot-value made 'pb::seed))))))

(test work-that-other-work-has-replaced-reaches-no-worker
  (let* ((cluster (new-cluster))
         (worker (add-worker cluster :slots 99
                                     :models (list (pb:make-model-status :name "m" :state pb:+loaded+))))
         (client (add-client cluster))
         (works (list (pb:make-task :text (seen))
                      (pb:make-task :image (pb:make-image-task :prompt "p" :n 2))
                      (pb:make-task :embed (pb:make-embed-task :inputs (list (make-string 70000))))
                      (pb:make-task :transcribe (pb:make-transcribe-task :language "en"))
                      (pb:make-task :speak (pb:make-speak-task :input (make-string 70000)))
                      (pb:make-task :rerank (pb:make-rerank-task :query (make-string 70000)))
                      (pb:make-task :load (pb:make-load-task)))))
    (dolist (before works)
      (dolist (last works)
        (let ((payload (concatenate '(vector (unsigned-byte 8))
                                    (pb:encode (pb:make-task :model "m"))
                                    (pb:encode before)
                                    (pb:encode last))))
          (send client +task+ payload (next-number cluster))
          (let ((expected (pb:decode 'pb:task (coerce payload '(simple-array (unsigned-byte 8) (*)))))
                (task (task worker)))
            (setf (pb:task-id expected) (pb:task-id task))
            (take-seed expected task)
            (is (equalp expected task))))))))
