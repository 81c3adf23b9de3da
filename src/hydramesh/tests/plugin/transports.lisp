(defpackage #:hydramesh/tests/plugin/transports
  (:use #:cl)
  (:import-from #:cffi)
  (:import-from #:fiveam #:test #:is #:is-true)
  (:import-from #:sb-posix)
  (:import-from #:hydramesh/events #:+task+ #:message-p)
  (:import-from #:hydramesh/head/link #:link-send #:link-trust)
  (:import-from #:hydramesh/mesh
                #:close-mesh #:mesh-attach #:mesh-flush #:mesh-local-address #:mesh-next-timeout #:mesh-now
                #:mesh-receive #:mesh-wait #:open-mesh)
  (:import-from #:hydramesh/plugin/define #:define-plugin)
  (:import-from #:hydramesh/plugin/plugin #:*plugins* #:find-plugin #:plugin-state #:unusable)
  (:import-from #:hydramesh/plugin/transport
                #:transport-close #:transport-descriptors #:transport-next-timeout #:transport-receive
                #:transport-send)
  (:import-from #:hydramesh/plugins #:begin-plugins)
  (:import-from #:hydramesh/tests/mesh #:with-meshes #:run-until)
  (:import-from #:hydramesh/tests/plugin/life #:with-plugins)
  (:import-from #:hydramesh/tests/suite)
  (:documentation "Transports of plugins beside the socket of a real mesh."))
(in-package #:hydramesh/tests/plugin/transports)

(fiveam:def-suite transports :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite transports)

(defclass sample ()
  ((descriptors :initarg :descriptors :initform '())
   (at :initarg :at :initform nil)
   (broken :initarg :broken :initform nil)
   (calls :initform '() :accessor calls))
  (:documentation "Writes down what it is called for, and fails in the function that BROKEN names."))

(defun note (sample call)
  (with-slots (calls broken) sample
    (push call calls)
    (when (eq call broken)
      (error "it breaks, as a test wants it"))))

(defmethod transport-descriptors ((sample sample))
  (note sample :descriptors)
  (slot-value sample 'descriptors))

(defmethod transport-receive ((sample sample) mesh)
  (note sample :receive))

(defmethod transport-send ((sample sample) mesh)
  (note sample :send))

(defmethod transport-next-timeout ((sample sample))
  (note sample :next-timeout)
  (slot-value sample 'at))

(defmethod transport-close ((sample sample) mesh)
  (push :close (calls sample)))

(defun reach (one other)
  "Return whether a message goes from ONE to OTHER, each with turns of its own."
  (let ((came nil))
    (link-trust one (mesh-local-address other))
    (link-send one (mesh-local-address other) +task+ (make-array 9 :element-type '(unsigned-byte 8)
                                                                   :initial-element 7))
    (run-until (lambda () came)
               (list (list one #'identity)
                     (list other (lambda (event) (when (message-p event) (setf came t))))))))

(test a-mesh-waits-for-a-transports-descriptors-and-its-time
  (let ((sample (make-instance 'sample)))
    (with-plugins ((way (:transport (it mesh settings) sample)))
      (with-meshes ((mesh))
        (begin-plugins '() mesh)
        (multiple-value-bind (out in) (sb-posix:pipe)
          (unwind-protect
               (progn
                 (setf (slot-value sample 'descriptors) (list out))
                 (sb-posix:write in (sb-sys:vector-sap (make-array 1 :element-type '(unsigned-byte 8))) 1)
                 (let ((before (mesh-now mesh)))
                   (mesh-wait mesh 30000000)
                   (is (< (- (mesh-now mesh) before) 20000000) "it waits although something came")))
            (sb-posix:close out)
            (sb-posix:close in)))
        (mesh-flush mesh)
        (setf (slot-value sample 'at) 5)
        (is (= 5 (mesh-next-timeout mesh)))))))

(test a-transport-has-its-turn-before-what-the-socket-does
  (let ((sample (make-instance 'sample)))
    (with-plugins ((way (:transport (it mesh settings) sample)))
      (with-meshes ((mesh) (other))
        (begin-plugins '() mesh)
        (is-true (reach mesh other))
        (is (member :receive (calls sample)))
        (is (member :send (calls sample))))
      (is (eq :close (first (calls sample))))
      (is (= 1 (count :close (calls sample)))))))

(test a-transport-that-breaks-is-closed-and-the-mesh-goes-on
  (dolist (broken '(:receive :send :descriptors :next-timeout))
    (let ((sample (make-instance 'sample :broken broken)) (fine (make-instance 'sample)))
      (with-plugins ((way (:transport (it mesh settings) sample))
                     (other-way (:transport (it mesh settings) fine)))
        (with-meshes ((mesh) (other))
          (begin-plugins '() mesh)
          (mesh-next-timeout mesh)
          (is-true (reach mesh other) "after ~A" broken)
          (is-true (reach mesh other) "after ~A" broken)
          (is (eq :disabled (plugin-state (find-plugin "way"))))
          (is (eq :running (plugin-state (find-plugin "other-way"))))
          (is (eq :close (first (calls sample))))
          (is (= 1 (count :close (calls sample))))
          (is (= 1 (count broken (calls sample))))
          (is (not (member :close (calls fine)))))))))

(test a-transport-that-cannot-be-opened-disables-its-plugin
  (with-plugins ((way (:transport (it mesh settings) (unusable "there is no cable: plug one in"))))
    (with-meshes ((mesh) (other))
      (begin-plugins '() mesh)
      (is (eq :disabled (plugin-state (find-plugin "way"))))
      (is-true (reach mesh other)))))
