(defpackage #:hydramesh/tests/sync/vectors
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:is-true #:skip)
  (:import-from #:hydramesh/protobuf/json/reader #:read-json #:object-members)
  (:import-from #:hydramesh/schema)
  (:import-from #:hydramesh/sync/messages #:facts-in #:read-sync)
  (:import-from #:hydramesh/sync/replica
                #:make-replica #:replica-apply #:replica-assigned #:replica-fact #:replica-version
                #:replica-workers)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/tests/vector-file #:at #:bytes #:vectors)
  (:local-nicknames (#:pb #:hydramesh/schema))
  (:documentation "What heads tell each other is read as tests/vectors/sync.json says."))
(in-package #:hydramesh/tests/sync/vectors)

(fiveam:def-suite sync-vectors :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite sync-vectors)

(defparameter +groups+ '("messages" "readers"))

(defun meaning (value)
  "Return VALUE of JSON with the members of its objects in order, so that it can be compared."
  (cond ((stringp value) value)
        ((vectorp value) (map 'list #'meaning value))
        ((and value (not (atom (ignore-errors (object-members value)))))
         (sort (loop for (name . member) in (object-members value) collect (list name (meaning member)))
               #'string< :key #'first))
        (t value)))

(test messages-mean-what-the-file-says
  (let ((file (vectors "sync.json" +groups+)))
    (if (null file)
        (skip "There is no tests/vectors/sync.json.")
        (loop for case across (at file "messages")
              for sync = (read-sync (bytes (at case "payload")))
              do (if (at case "drop")
                     (is (null sync) "~A is read." (at case "name"))
                     (let ((json (at case "json")))
                       (is-true sync "~A is not read." (at case "name"))
                       (is (equalp (meaning json) (meaning (read-json (pb:to-json sync))))
                           "~A" (at case "name"))
                       (is (equalp (bytes (at case "payload")) (pb:encode sync)) "~A" (at case "name"))))))))

(test readers-have-what-the-file-says
  (let ((file (vectors "sync.json" +groups+)))
    (if (null file)
        (skip "There is no tests/vectors/sync.json.")
        (loop for story across (at file "readers")
              for replica = (make-replica)
              do (loop for step across (at story "steps")
                       for sync = (read-sync (bytes (at step "payload")))
                       for workers = (object-members (at step "workers"))
                       do (replica-apply replica (pb:sync-base sync) (pb:sync-version sync) (facts-in sync))
                          (is (= (at step "version") (replica-version replica)) "~A" (at story "name"))
                          (is (= (at step "queued") (replica-fact replica :queued 0)) "~A" (at story "name"))
                          (is (= (length workers) (hash-table-count (replica-workers replica))))
                          (loop for (id . assigned) in workers
                                do (is (= assigned (replica-assigned replica id))
                                       "~A" (at story "name"))))))))
