(defpackage #:hydramesh/tests/plugin/life
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals #:finishes)
  (:import-from #:uiop)
  (:import-from #:hydramesh/head/metrics #:metrics-text)
  (:import-from #:hydramesh/plugin/define #:define-plugin)
  (:import-from #:hydramesh/plugin/plugin
                #:*plugins* #:find-plugin #:plugin-reason #:plugin-report-text #:plugin-state
                #:plugin-unusable #:plugins #:start-plugin #:start-wanted #:stop-plugins #:unusable)
  (:import-from #:hydramesh/plugins #:disabled-text #:plugin-samples)
  (:import-from #:hydramesh/storage/opening #:open-storage #:storage-broken)
  (:import-from #:hydramesh/storage/store
                #:storage-damaged #:storage-failure-reason #:storage-unavailable #:store-read)
  (:import-from #:hydramesh/tests/cluster #:new-cluster #:cluster-core)
  (:import-from #:hydramesh/tests/suite)
  (:export #:with-plugins)
  (:documentation "How a plugin starts, ends and fails."))
(in-package #:hydramesh/tests/plugin/life)

(fiveam:def-suite life :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite life)

(defvar *did* '() "What the plugins of a test have done, the last first.")

(defun did (what)
  (push what *did*)
  what)

(defmacro with-plugins ((&rest definitions) &body body)
  "Do BODY where DEFINITIONS, of name and fields, are the only plugins."
  `(let ((*plugins* '()) (*did* '()))
     ,@(loop for (name . fields) in definitions
             collect `(define-plugin ,name (:documentation "A sample.") (:version "1.2.3") ,@fields))
     ,@body))

(defun state (name)
  (plugin-state (find-plugin name)))

(test those-that-are-wanted-run-and-are-stopped-in-turn
  (with-plugins ((one (:wanted (settings) (getf settings :one))
                      (:start () (did :one))
                      (:stop (it) (did (list :end it))))
                 (two (:start () (did :two)) (:stop (it) (did (list :end it))))
                 (three (:wanted (settings) (getf settings :three)) (:start () (did :three)))
                 (four (:start () (did :four)) (:store "four" (it path writing) it)))
    (start-wanted '(:one t))
    (is (equal '(:two :one) *did*))
    (is (equal '(:running :idle :running :idle) (mapcar #'state '("one" "three" "two" "four"))))
    (setf *did* '())
    (stop-plugins)
    (is (equal '((:end :one) (:end :two)) *did*))
    (is (every (lambda (name) (eq :idle (state name))) '("one" "two")))))

(test one-that-fails-is-disabled-with-the-reason-and-the-others-run
  (with-plugins ((needy (:start () (unusable "there is no tape: put one in")))
                 (broken (:start () (error "a mistake, as a test wants it")))
                 (deep (:start () (labels ((down (n) (1+ (down (1+ n))))) (down 0))))
                 (fine (:start () t)))
    (start-wanted '())
    (is (equal '(:disabled :disabled :disabled :running) (mapcar #'state '("needy" "broken" "deep" "fine"))))
    (is (string= "there is no tape: put one in" (plugin-reason (find-plugin "needy"))))
    (is (search "a mistake, as a test wants it" (plugin-reason (find-plugin "broken"))))
    (is (search "plugin needy disabled: there is no tape" (disabled-text)))
    (is (null (search "fine" (disabled-text))))
    (let ((text (metrics-text (cluster-core (new-cluster)) '() (plugin-samples))))
      (is (search "hydramesh_plugins{plugin=\"needy\",state=\"disabled\",version=\"1.2.3\"} 1" text))
      (is (search "hydramesh_plugins{plugin=\"fine\",state=\"running\",version=\"1.2.3\"} 1" text)))))

(test one-that-was-disabled-may-be-started-again
  (let ((there nil))
    (with-plugins ((late (:start () (if there (did :late) (unusable "not yet")))))
      (start-wanted '())
      (is (eq :disabled (state "late")))
      (setf there t)
      (is (eq t (start-plugin (find-plugin "late"))))
      (is (eq :running (state "late")))
      (is (null (disabled-text))))))

(test what-it-says-of-itself-cannot-end-it
  (with-plugins ((mute (:start () t) (:report (it) (error "no words, as a test wants it"))))
    (start-wanted '())
    (is (search "no words" (plugin-report-text (find-plugin "mute"))))
    (is (eq :running (state "mute")))))

(test defining-it-again-ends-the-old-one
  (with-plugins ((same (:start () 1) (:stop (it) (did it))))
    (start-wanted '())
    (define-plugin same (:documentation "A sample.") (:version "2.0"))
    (is (equal '(1) *did*))
    (is (= 1 (length (plugins))))
    (is (eq :idle (state "same")))))

(test two-cannot-have-a-store-of-one-name
  (with-plugins ((one (:store "tape" (it path writing) nil)))
    (signals plugin-unusable
      (define-plugin two (:documentation "A sample.") (:version "1") (:store "tape" (it path writing) nil)))
    (is (null (find-plugin "two")))))

;;; Stores

(defmethod store-read ((store (eql :tape)) kind number)
  (list kind number))

(defmacro with-folder ((path) &body body)
  `(uiop:with-temporary-file (:pathname ,path)
     (let ((,path (namestring ,path))) ,@body)))

(defun why-not (path storage)
  "Return the type and the text of what OPEN-STORAGE says; NIL if it opens one."
  (handler-case (progn (open-storage path storage) nil)
    (storage-unavailable (condition) (list 'storage-unavailable (storage-failure-reason condition)))
    (storage-damaged (condition) (list 'storage-damaged (storage-failure-reason condition)))))

(test a-store-starts-its-plugin
  (with-plugins ((tape (:start () (did :start)) (:store "tape" (it path writing) (did writing) :tape)))
    (with-folder (path)
      (is (equal '(1 2) (store-read (open-storage path "tape") 1 2)))
      (open-storage path "tape" :writing nil))
    (is (equal '(nil t :start) *did*))))

(test a-store-that-fails-leaves-its-plugin-and-one-with-a-fault-does-not
  (with-plugins ((full (:store "full" (it path writing) (error 'storage-damaged :reason "torn")))
                 (faulty (:store "faulty" (it path writing) (error "another, as a test wants it")))
                 (empty (:store "empty" (it path writing) nil))
                 (needy (:start () (unusable "no tape")) (:store "needy" (it path writing) :tape)))
    (with-folder (path)
      (is (equal '(storage-damaged "torn") (why-not path "full")))
      (is (eq :running (state "full")))
      (is (search "the plugin faulty is disabled: a fault in it" (second (why-not path "faulty"))))
      (is (eq :disabled (state "faulty")))
      (is (eq 'storage-unavailable (first (why-not path "empty"))))
      (is (equal '(storage-unavailable "the plugin needy is disabled: no tape") (why-not path "needy")))
      (is (search "no plugin that has a store called disk" (second (why-not path "disk")))))))

(test a-fault-while-a-store-is-used-disables-its-plugin
  (with-plugins ((tape (:stop (it) (did :end)) (:store "tape" (it path writing) :tape)))
    (with-folder (path)
      (open-storage path "tape")
      (storage-broken "tape" (make-condition 'simple-error :format-control "torn"))
      (storage-broken "sqlite" (make-condition 'simple-error :format-control "torn")))
    (is (eq :disabled (state "tape")))
    (is (equal '(:end) *did*))))
