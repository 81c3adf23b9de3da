(defpackage #:hydramesh/plugin/carriers
  (:use #:cl)
  (:import-from #:hydramesh/plugin/plugin #:call-hook #:call-protected #:plugin-state)
  (:import-from #:hydramesh/plugin/transport
                #:transport-close #:transport-counters #:transport-descriptors #:transport-next-timeout
                #:transport-receive
                #:transport-send)
  (:export #:attach #:carriers-descriptors #:carriers-next-timeout #:carriers-receive #:carriers-send
           #:carriers-close #:carriers-counters)
  (:documentation "The transports that carry a mesh's datagrams beside its socket, each with its plugin.
One that fails is closed, and the others go on.

A mesh has a list of them, which is empty for who has no such plugin."))
(in-package #:hydramesh/plugin/carriers)

(defun attach (carriers plugin transport)
  "Return CARRIERS with TRANSPORT, of PLUGIN, as the last."
  (append carriers (list (cons plugin transport))))

(defun close-carrier (carrier mesh)
  ;; If that fails too, why the plugin was disabled before is what counts.
  (destructuring-bind (plugin . transport) carrier
    (call-protected plugin (lambda () (transport-close transport mesh)))))

(defun carriers-close (carriers mesh)
  "Close all of CARRIERS."
  (dolist (carrier carriers)
    (close-carrier carrier mesh)))

(defun each (carriers mesh function)
  "Call FUNCTION with each transport of CARRIERS and MESH; return those whose plugins run after that."
  (flet ((runs-p (carrier)
           (eq (plugin-state (car carrier)) :running)))
    (dolist (carrier carriers)
      (when (runs-p carrier)
        (call-hook (car carrier) (lambda (started)
                                   (declare (ignore started))
                                   (funcall function (cdr carrier) mesh)))))
    (if (every #'runs-p carriers)
        carriers
        (loop for carrier in carriers
              if (runs-p carrier)
                collect carrier
              else
                do (close-carrier carrier mesh)))))

(defun carriers-receive (carriers mesh)
  "Have CARRIERS give what has arrived to MESH's endpoint; return those that go on."
  (each carriers mesh #'transport-receive))

(defun carriers-send (carriers mesh)
  "Have CARRIERS send what goes their ways; return those that go on."
  (each carriers mesh #'transport-send))

(defun asked (carrier question default)
  "Return what the transport of CARRIER answers to QUESTION, a function, or DEFAULT."
  (destructuring-bind (plugin . transport) carrier
    (or (and (eq (plugin-state plugin) :running)
             (values (call-hook plugin (lambda (started)
                                         (declare (ignore started))
                                         (funcall question transport)))))
        default)))

(defun carriers-descriptors (carriers)
  "Return a list of the descriptors to wait for."
  (if (rest carriers)
      (loop for carrier in carriers append (asked carrier #'transport-descriptors '()))
      (and carriers (asked (first carriers) #'transport-descriptors '()))))

(defun carriers-next-timeout (carriers never)
  "Return when the first of CARRIERS has to have a turn, a time, or NEVER."
  (loop with soonest = never
        for carrier in carriers
        do (setf soonest (min soonest (asked carrier #'transport-next-timeout never)))
        finally (return soonest)))

(defun carriers-counters (carriers)
  "Return what CARRIERS have counted, as MESH-COUNTERS does."
  (loop for carrier in carriers append (asked carrier #'transport-counters '())))
