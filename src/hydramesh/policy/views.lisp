(defpackage #:hydramesh/policy/views
  (:use #:cl)
  (:export #:view #:view-numbers #:view-things
           #:field #:field-name #:field-type #:field-place #:field-subject #:field-about
           #:find-field #:field-names #:+subjects+ #:+fields+
           #:policy-task #:make-policy-task
           #:policy-task-model #:policy-task-kind #:policy-task-size #:policy-task-prompt
           #:policy-task-needs #:policy-task-client #:policy-task-address #:policy-task-tags
           #:policy-task-streaming #:policy-task-deadline #:policy-task-waited #:policy-task-attempts
           #:policy-worker #:make-policy-worker
           #:policy-worker-id #:policy-worker-name #:policy-worker-backend #:policy-worker-device
           #:policy-worker-address #:policy-worker-tags #:policy-worker-group #:policy-worker-rtt
           #:policy-worker-ram #:policy-worker-free-ram #:policy-worker-vram #:policy-worker-free-vram
           #:policy-worker-power #:policy-worker-slots #:policy-worker-load #:policy-worker-free-slots
           #:policy-worker-waiting #:policy-worker-rate #:policy-worker-loaded
           #:policy-worker-readiness #:policy-worker-inside
           #:situation #:make-situation #:situation-clock #:situation-weekday #:situation-waiting
           #:situation-workers #:situation-at)
  (:documentation "What a policy can see: plain views of a task, of a worker and of the moment.

Whoever decides fills them: the head from its jobs and workers, a simulation from what was recorded. A
view's numbers are in one array and all else in another, so that a comparison is one look at one place."))
(in-package #:hydramesh/policy/views)

(defstruct (view (:copier nil))
  "NUMBERS and THINGS are what the fields of its kind say."
  (numbers (make-array 0 :element-type 'double-float)
   :type (simple-array double-float (*)) :read-only t)
  (things #() :type simple-vector :read-only t))

(defstruct (field (:copier nil))
  "NAME is as policies write it, such as task.size; TYPE see HYDRAMESH/POLICY/TYPES. Its value is at PLACE of
the numbers or things of a view of SUBJECT: :TASK, :WORKER or :MOMENT. ABOUT says what it is."
  (name "" :type string :read-only t)
  (type nil :read-only t)
  (subject nil :type symbol :read-only t)
  (place 0 :type fixnum :read-only t)
  (about "" :type string :read-only t))

(defvar +fields+ '() "Every field, in the order in which they are told about.")

(defparameter +subjects+ '("task" "worker" "time" "head" "price")
  "What a name with a dot begins with.")

(defun find-field (name)
  "Return the field NAME, or NIL."
  (find name +fields+ :key #'field-name :test #'string=))

(defun field-names ()
  "Return the names of all fields."
  (mapcar #'field-name +fields+))

(eval-when (:compile-toplevel :load-toplevel :execute)
  (defun numeric-p (type)
    (or (eq type :clock) (and (consp type) (eq (first type) :number)))))

(defmacro define-view (name subject documentation &rest fields)
  "Define the kind of view NAME of SUBJECT, its constructor with a keyword for each of FIELDS, and their
accessors. A field is (NAME WRITTEN TYPE DEFAULT ABOUT), where policies write WRITTEN."
  (let* ((numbers (remove-if-not #'numeric-p fields :key #'third))
         (things (remove-if #'numeric-p fields :key #'third))
         (bare (intern (format nil "%MAKE-~A" name))))
    (flet ((place (field)
             (or (position field numbers) (position field things)))
           (accessor (field)
             (intern (format nil "~A-~A" name (first field)))))
      `(progn
         (defstruct (,name (:include view) (:copier nil) (:constructor ,bare (numbers things)))
           ,documentation)
         (setf +fields+
               (append (remove ,subject +fields+ :key #'field-subject)
                       (list ,@(loop for field in fields
                                     for (nil written type nil about) = field
                                     when written
                                       collect `(make-field :name ,written :type ',type
                                                            :subject ,subject :place ,(place field)
                                                            :about ,about)))))
         (declaim (inline ,@(loop for field in fields
                                  collect (accessor field) collect `(setf ,(accessor field)))))
         ,@(loop for field in fields
                 for array = (if (numeric-p (third field)) 'view-numbers 'view-things)
                 collect `(defun ,(accessor field) (view)
                            (declare (type ,name view))
                            (aref (,array view) ,(place field)))
                 collect `(defun (setf ,(accessor field)) (value view)
                            (declare (type ,name view))
                            (setf (aref (,array view) ,(place field))
                                  ,(if (numeric-p (third field)) '(float value 1d0) 'value))))
         (defun ,(intern (format nil "MAKE-~A" name))
             (&key ,@(loop for (field nil nil default) in fields collect (list field default)))
           ,documentation
           (let ((view (,bare (make-array ,(length numbers) :element-type 'double-float)
                              (make-array ,(length things)))))
             (setf ,@(loop for field in fields
                           append (list `(,(accessor field) view) (first field))))
             view))))))

(define-view policy-task :task
  "A view of a task. Times are seconds, NEEDS is a set of HYDRAMESH/WORK."
  (model "task.model" :text "" "the model that it asks for")
  (kind "task.kind" (:enum :kind) :text "what is to be done")
  (size "task.size" (:number :work) 0 "how much it is reckoned to make: tokens, images, texts …")
  (prompt "task.prompt" (:number :work) 0 "how many tokens it is reckoned to read first")
  (needs "task.needs" (:set :capability) 0 "what its model has to be capable of")
  (client "task.client" :text "" "for whom it is asked, as its sender says")
  (address "task.address" :text "" "the IP address of its sender")
  (tags "task.tags" (:set :text) '() "the tags that it wants its worker to have")
  (streaming "task.streaming" :truth nil "whether its answer is sent while it is made")
  (deadline "task.deadline" (:number :time) 0 "how long after its arrival it is given up")
  (waited "task.waited" (:number :time) 0 "the time that it has waited for a worker")
  (attempts "task.attempts" (:number :plain) 0 "how often it was begun before"))

(define-view policy-worker :worker
  "A view of a worker, for a task with a certain model. RTT is in seconds, POWER in watts. TAGS are a list of
strings. INSIDE is a vector that says, for each reservation of the policy by its index, how many of the
worker's tasks are of those that it is for; or NIL, which counts as none."
  (id "worker.id" :text "" "its id, which stays over restarts")
  (name "worker.name" :text "" "its name")
  (backend "worker.backend" (:enum :backend) nil "what it computes with")
  (device "worker.device" :text "" "its processor or card, as \"NVIDIA GeForce RTX 3090\"")
  (address "worker.address" :text "" "its IP address")
  (tags "worker.tags" (:set :text) '() "what its owner says of it")
  (group "worker.group" (:number :plain) 0 "by its distance: 0 is the nearest, -1 cannot be reached")
  (rtt "worker.rtt" (:number :time) 0 "the time that a datagram takes there and back; 0 if not measured")
  (ram "worker.ram" (:number :bytes) 0 "its memory")
  (free-ram "worker.free-ram" (:number :bytes) 0 "what is free of it")
  (vram "worker.vram" (:number :bytes) 0 "the memory of its cards")
  (free-vram "worker.free-vram" (:number :bytes) 0 "what is free of that")
  (power "worker.power" (:number :power) 0 "what its cards draw now; 0 if not measured")
  (slots "worker.slots" (:number :plain) 1 "how many tasks it runs at once")
  (load "worker.load" (:number :plain) 0 "how many tasks it has, from all heads")
  (free-slots "worker.free-slots" (:number :plain) 1 "how many more it could run at once")
  (waiting "worker.waiting" (:number :plain) 0 "how many tasks wait on it for a slot")
  (rate "worker.rate" (:number :rate) 0 "what one task with the model makes there; 0 if not measured")
  (loaded "worker.loaded" :truth nil "whether it has the model in memory")
  (readiness "worker.readiness" (:enum :readiness) nil "how soon it could run the model")
  (inside nil t nil "the tasks there for which something is reserved"))

(define-view situation :moment
  "The moment of a decision. CLOCK is in minutes since midnight, local time; WEEKDAY is a keyword."
  (clock "time.clock" :clock 0 "the local time of day")
  (weekday "time.weekday" (:enum :weekday) :monday "the day of the week")
  (waiting "head.waiting" (:number :plain) 0 "how many tasks wait at this head")
  (workers "head.workers" (:number :plain) 0 "how many workers it has"))

(defconstant +unix-epoch+ (encode-universal-time 0 0 0 1 1 1970 0))

(defun situation-at (seconds &key (waiting 0) (workers 0) zone)
  "Return the situation SECONDS since 1970, in this machine's time zone or ZONE, hours west of Greenwich."
  (multiple-value-bind (second minute hour day month year weekday)
      (if zone
          (decode-universal-time (+ (floor seconds) +unix-epoch+) zone)
          (decode-universal-time (+ (floor seconds) +unix-epoch+)))
    (declare (ignore second day month year))
    (make-situation :clock (+ (* 60 hour) minute)
                    :weekday (nth weekday '(:monday :tuesday :wednesday :thursday :friday :saturday
                                            :sunday))
                    :waiting waiting
                    :workers workers)))
