(defpackage #:hydramesh/policy/explain
  (:use #:cl)
  (:import-from #:hydramesh/address #:ipv4)
  (:import-from #:hydramesh/answer-order #:make-answer-limits)
  (:import-from #:hydramesh/bounded-file
                #:read-bounded #:read-standard-input #:unreadable-file #:unreadable-file-reason)
  (:import-from #:hydramesh/entropy #:make-entropy)
  (:import-from #:hydramesh/errors #:task-error)
  (:import-from #:hydramesh/events #:seconds #:wall-clock)
  (:import-from #:hydramesh/foreign/float-traps #:without-float-traps)
  (:import-from #:hydramesh/head/as-told #:registry-as-told #:unusable-status)
  (:import-from #:hydramesh/head/clients #:make-client)
  (:import-from #:hydramesh/head/dialect #:+json+ #:dialect-read)
  (:import-from #:hydramesh/head/in-force #:in-force-replace #:in-force-set-clock)
  (:import-from #:hydramesh/head/job #:make-job)
  (:import-from #:hydramesh/head/limits #:+limits+ #:head-limits-json-task)
  (:import-from #:hydramesh/head/registry #:registry-in-force #:registry-workers)
  (:import-from #:hydramesh/head/task-errors)
  (:import-from #:hydramesh/policy/explaining #:print-explanation)
  (:import-from #:hydramesh/policy/local-time #:local-time-in)
  (:import-from #:hydramesh/policy/mistakes #:policy-errors #:policy-errors-lines)
  (:import-from #:hydramesh/policy/policy #:load-policy)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/shown #:printable #:shown)
  (:import-from #:hydramesh/work #:work-kind-loads #:work-of)
  (:local-nicknames (#:pb #:hydramesh/schema)
                    (#:task-errors #:hydramesh/head/task-errors))
  (:export #:explain-main)
  (:documentation "`hydramesh policy explain`: what a policy decides for one task, and why, without a head."))
(in-package #:hydramesh/policy/explain)

(defparameter +explain-help+ "usage: hydramesh policy explain FILE --task TASK [--cluster STATUS] [--at TIME]

Tells what the policy in FILE says of a task, to which worker it sends it, and why not to the others.

  --task TASK       a Task of daiic.proto in JSON: a file, - for the standard input, or the text itself
  --cluster STATUS  the workers: a file, or -, with what `daiic status --json` prints;
                    without it, only what the policy says of the task is told
  --at TIME         decide as if the local time were this, as 2026-11-30T18:30; else it is now

What a status does not tell is taken to be as at a head that has just started, and the task to come from
127.0.0.1. Exit status: 0 if the task is explained, 1 if the policy, the task or the status is wrong, 2 if the
arguments are not understood.
")

(defconstant +status+ (ash 1 24) "Bytes of a status.")
(defconstant +values+ 1000000 "Values in it.")

(defparameter +now+ (seconds 1000) "What the head's clock shows; only what passes by it counts.")
(defparameter +threshold+ (seconds 0.05d0) "The default of group_threshold.")
(defparameter +deadline+ (seconds 600) "The default of task_deadline.")

(define-condition wrong (error)
  ((status :initarg :status :reader wrong-status)
   (text :initarg :text))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'text) stream)))
  (:documentation "An argument or what it names is wrong, for which the program exits with STATUS."))

(defun refuse (status control &rest arguments)
  (error 'wrong :status status :text (apply #'format nil control arguments)))

;;; Arguments

(defparameter +flags+ '("--task" "--cluster" "--at"))

(defun parsed (arguments)
  "Return the file of the policy and an alist of the values of flags in ARGUMENTS."
  (let ((file nil) (given '()))
    (loop while arguments
          do (let* ((argument (pop arguments))
                    (equals (position #\= argument))
                    (flag (find (subseq argument 0 equals) +flags+ :test #'string=)))
               (cond (flag
                      (when (assoc flag given :test #'string=)
                        (refuse 2 "~A is given twice" flag))
                      (unless (or equals arguments)
                        (refuse 2 "~A needs a value" flag))
                      (push (cons flag (if equals (subseq argument (1+ equals)) (pop arguments))) given))
                     ((and (> (length argument) 1) (char= (char argument 0) #\-))
                      (refuse 2 "there is no option ~A" (printable argument)))
                     (file (refuse 2 "name one policy, not ~A too" (printable argument)))
                     (t (setf file argument)))))
    (unless file
      (refuse 2 "name the file of a policy"))
    (unless (assoc "--task" given :test #'string=)
      (refuse 2 "name a task with --task"))
    (values file given)))

(defun input (name most what)
  "Return what is in the file NAME, or comes from the standard input if that is -; WHAT it is to be."
  (handler-case (if (string= name "-") (read-standard-input most) (read-bounded name most))
    (unreadable-file (condition)
      (refuse 1 "~A ~A cannot be read: ~A" what (printable name) (unreadable-file-reason condition)))))

(defun inline-p (text)
  (and (plusp (length text)) (char= (char text 0) #\{)))

;;; What is explained

(defun task-in (name)
  "Return the task that NAME, a value of --task, says, and its size in JSON."
  (let* ((most (head-limits-json-task +limits+))
         (octets (if (inline-p name)
                     (sb-ext:string-to-octets name :external-format '(:utf-8 :replacement #\?))
                     (input name most "the task"))))
    (when (> (length octets) most)
      (error (task-errors:too-large (length octets) most)))
    (values (dialect-read +json+ (coerce octets '(simple-array (unsigned-byte 8) (*)))) (length octets))))

(defun job-in (name workers)
  "Return the job of the task that NAME says, as a head with WORKERS makes it."
  (multiple-value-bind (task size) (task-in name)
    (let ((kind (work-of task)) (asked (pb:task-deadline-ms task)) (entropy (make-entropy)))
      (when (pb:task-status task)
        (refuse 1 "a status task is answered by the head itself, and never placed"))
      (unless kind
        (error (task-errors:nothing-to-do)))
      (when (string= (pb:task-model task) "")
        (error (task-errors:no-model workers)))
      (unless (or (work-kind-loads kind) (string/= (pb:task-worker-id task) ""))
        (error (task-errors:no-worker-named)))
      (make-job task nil (pb:task-id task) kind (make-client (ipv4 #x7f000001 0) entropy) +json+ size
                (make-answer-limits) 1 +now+
                (+ +now+ (if (zerop asked) +deadline+ (min +deadline+ (* 1000 asked))))
                entropy))))

(defun status-in (name)
  "Return the PB:CLUSTER-STATUS that NAME, a value of --cluster, names; an empty one if it is NIL."
  (if (null name)
      (pb:make-cluster-status)
      (handler-case (pb:from-json 'pb:cluster-status (input name +status+ "the status") +values+)
        (pb:malformed (malformed)
          (refuse 1 "the status ~A cannot be read: ~A; write what `daiic status --json` prints"
                  (printable name) (pb:malformed-reason malformed))))))

(defun explain (file task cluster at)
  "Print what the policy in FILE decides for TASK; the others are values of flags, NIL if they are not given."
  (let* ((seconds (if at
                      (or (local-time-in at)
                          (refuse 2 "--at ~A is no local time; write it as 2026-11-30T18:30" (printable at)))
                      (floor (wall-clock) 1000000)))
         (policy (load-policy file))
         (status (status-in cluster))
         (registry (registry-as-told status +limits+ +threshold+ +now+))
         (in-force (registry-in-force registry))
         (job (job-in task (registry-workers registry))))
    (in-force-replace in-force policy)
    (in-force-set-clock in-force seconds +now+)
    (print-explanation registry job (pb:cluster-status-queued status) (and cluster t) +now+)))

(defun explain-main (arguments environment stream errors)
  "Do what ARGUMENTS of `hydramesh policy explain` ask for; return the exit status."
  (declare (ignore environment))
  (flet ((complain (condition status)
           (format errors "hydramesh policy: explain: ~A~%" (shown (princ-to-string condition) 1000))
           status))
    (if (intersection '("-h" "--help") arguments :test #'string=)
        (progn (write-string +explain-help+ stream) 0)
        (handler-case
            (multiple-value-bind (file given) (parsed arguments)
              (flet ((value (flag) (cdr (assoc flag given :test #'string=))))
                (when (and (equal "-" (value "--task")) (equal "-" (value "--cluster")))
                  (refuse 2 "only one of --task and --cluster can be the standard input"))
                (let ((*standard-output* stream))
                  ;; Numbers in a task or a status may be any.
                  (without-float-traps
                    (explain file (value "--task") (value "--cluster") (value "--at"))))
                0))
          (wrong (condition) (complain condition (wrong-status condition)))
          (task-error (condition) (complain condition 1))
          (unusable-status (condition) (complain condition 1))
          (policy-errors (condition)
            (format errors "~{~A~%~}" (policy-errors-lines condition))
            1)))))
