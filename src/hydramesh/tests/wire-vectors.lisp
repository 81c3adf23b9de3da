(defpackage #:hydramesh/tests/wire-vectors
  (:use #:cl #:hydramesh/mesh)
  (:import-from #:fiveam #:def-suite #:in-suite #:test #:is #:is-true #:skip)
  (:import-from #:hydramesh/address #:address-port)
  (:import-from #:hydramesh/events #:message-p #:message-payload #:message-sequence #:message-type)
  (:import-from #:hydramesh/keyfile #:load-key)
  (:import-from #:hydramesh/protobuf/json/reader #:read-json #:object-members)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:sb-bsd-sockets)
  (:import-from #:sb-posix))
(in-package #:hydramesh/tests/wire-vectors)

(def-suite wire-vectors :in hydramesh/tests/suite:hydramesh
  :description "Those of tests/vectors/wire.json that can be seen at a socket, whatever the time is; libdcf's own
tests read them all.")
(in-suite wire-vectors)

(defun vectors ()
  "Return what is in wire.json, or NIL if the tests are run without the repository."
  (let ((path (or (uiop:getenvp "DAIIC_WIRE_VECTORS")
                  (probe-file (merge-pathnames "../../tests/vectors/wire.json"
                                               (asdf:system-source-directory "hydramesh"))))))
    (when path
      (with-open-file (stream path :element-type '(unsigned-byte 8))
        (let ((octets (make-array (file-length stream) :element-type '(unsigned-byte 8))))
          (read-sequence octets stream)
          (read-json octets))))))

(defun at (object &rest names)
  "Return what OBJECT has under the first of NAMES, in that under the second, and so on; NIL for none."
  (dolist (name names object)
    (setf object (cdr (assoc name (object-members object) :test #'string=)))))

(defun bytes (text)
  (let ((bytes (make-array (floor (length text) 2) :element-type '(unsigned-byte 8))))
    (dotimes (at (length bytes) bytes)
      (setf (aref bytes at) (parse-integer text :start (* 2 at) :end (* 2 (1+ at)) :radix 16)))))

(defmacro with-vectors ((cases &rest names) &body body)
  "Do BODY with CASES, those under NAMES, one in the other."
  (let ((vectors (gensym)))
    `(let ((,vectors (vectors)))
       (if ,vectors
           (let ((,cases (coerce (at ,vectors ,@names) 'list)))
             (is-true ,cases)
             ,@body)
           (skip "There is no tests/vectors/wire.json.")))))

(defun delivered (mesh socket datagram)
  "Send DATAGRAM to MESH; return the events, what came back, and the counters that have grown."
  (let ((before (mesh-counters mesh)) (events '()))
    (sb-bsd-sockets:socket-send socket datagram (length datagram))
    (loop repeat 1000
          until (> (third (assoc "datagrams_received" (mesh-counters mesh) :test #'string=))
                   (third (assoc "datagrams_received" before :test #'string=)))
          do (mesh-wait mesh 10000)
             (mesh-receive mesh (lambda (event) (push event events))))
    (mesh-flush mesh)
    (values (reverse events)
            (loop for (bytes size) = (multiple-value-list
                                      (sb-bsd-sockets:socket-receive socket nil 2000 :dontwait t
                                                                     :element-type '(unsigned-byte 8)))
                  while size collect (subseq bytes 0 size))
            (loop for (name nil value) in (mesh-counters mesh)
                  unless (= value (third (assoc name before :test #'string=)))
                    collect name))))

(defmacro with-peer ((mesh socket &rest arguments) &body body)
  `(let ((,mesh (open-mesh "127.0.0.1:0" ,@arguments))
         (,socket (make-instance 'sb-bsd-sockets:inet-socket :type :datagram :protocol :udp)))
     (unwind-protect
          (progn
            (sb-bsd-sockets:socket-connect ,socket #(127 0 0 1) (address-port (mesh-local-address ,mesh)))
            ,@body)
       (sb-bsd-sockets:socket-close ,socket)
       (close-mesh ,mesh 0))))

(defun drops (mesh socket cases &rest also)
  "Each of CASES that is to be dropped is counted as it says, or as one of ALSO."
  (loop for case in cases
        for drop = (at case "drop")
        when drop
          do (multiple-value-bind (events answers counters)
                 (delivered mesh socket (bytes (at case "datagram")))
               (is (null events) "~A is an event." (at case "name"))
               (is (null answers) "~A is answered." (at case "name"))
               (is-true (intersection (cons drop also) counters :test #'string=)
                        "~A is counted as ~A." (at case "name") counters))))

(test each-message-arrives-as-it-was-sent
  (with-vectors (cases "messages")
    (with-peer (mesh socket)
      (dolist (case cases)
        (let ((events (delivered mesh socket (bytes (at case "datagram")))))
          (is (= 1 (length events)))
          (is-true (message-p (first events)))
          (is (= (at case "type") (message-type (first events))))
          (is (= (at case "sequence") (message-sequence (first events))))
          (is (equalp (bytes (at case "payload")) (message-payload (first events)))))))))

(test what-is-malformed-is-counted
  (with-vectors (cases "headers")
    (with-peer (mesh socket)
      (drops mesh socket cases)))
  (with-vectors (cases "batches")
    (with-peer (mesh socket)
      (drops mesh socket cases))))

(test what-is-not-sealed-with-the-key-is-counted
  (with-vectors (cases "sealing" "dropped")
    (with-peer (mesh socket :key (bytes (at (vectors) "sealing" "key")))
      ;; Of another time than now's, which is looked at first.
      (drops mesh socket cases "dropped_clock_skew"))))

(test answers-have-the-bytes-that-they-should
  (with-vectors (cases "answers")
    (with-peer (mesh socket)
      (dolist (case cases)
        (let ((answers (nth-value 1 (delivered mesh socket (bytes (at case "received"))))))
          ;; An address that has proved nothing is sent a PING, where there is room for one.
          (setf answers (remove 7 answers :key (lambda (answer) (aref answer 0))))
          (is (= (length (at case "sent")) (length answers)) "~A" (at case "name"))
          (loop for answer in answers
                for sent across (at case "sent")
                for type = (aref answer 0)
                for expected = (bytes sent)
                do (when (and (= type 6) (string/= (subseq (at case "received") 0 2) "01"))
                     (fill answer 0 :start 5 :end 13) ; the time is the real one
                     (fill expected 0 :start 5 :end 13))
                   (is (equalp expected answer) "~A" (at case "name"))))))))

(test the-key-file-has-the-key
  (with-vectors (text "sealing" "key_file")
    (uiop:with-temporary-file (:stream stream :pathname path)
      (write-string (coerce text 'string) stream)
      (finish-output stream)
      (sb-posix:chmod path #o600)
      (is (equalp (bytes (at (vectors) "sealing" "key")) (load-key (namestring path)))))))
