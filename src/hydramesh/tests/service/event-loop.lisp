(defpackage #:hydramesh/tests/service/event-loop
  (:use #:cl)
  (:import-from #:fiveam #:test #:is #:signals)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/service/event-loop
                #:make-event-loop #:run #:on-loop #:loop-unavailable)
  (:documentation "Questions to the loop's thread."))
(in-package #:hydramesh/tests/service/event-loop)

(fiveam:def-suite event-loop :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite event-loop)

(defmacro with-loop ((name thread) &body body)
  "Run BODY while a loop runs on THREAD, which ends with it."
  `(let* ((woken (sb-thread:make-semaphore))
          (going t)
          (,name (make-event-loop (lambda () (sb-thread:signal-semaphore woken))))
          (,thread (sb-thread:make-thread
                    (lambda ()
                      (run ,name (lambda ()
                                   (sb-thread:wait-on-semaphore woken)
                                   going))))))
     (declare (ignorable ,thread))
     (flet ((end-loop ()
              (setf going nil)
              (sb-thread:signal-semaphore woken)
              (sb-thread:join-thread ,thread)))
       (declare (ignorable #'end-loop))
       (unwind-protect (progn ,@body)
         (end-loop)))))

(test a-question-is-answered-on-the-loops-thread
  (with-loop (event-loop thread)
    (is (equal (list 1 thread)
               (multiple-value-list
                (on-loop event-loop (lambda () (values 1 sb-thread:*current-thread*))))))
    (is (eql 2 (on-loop event-loop
                        (lambda () (on-loop event-loop (lambda () 2))))))))

(test an-error-comes-back-to-the-asker-and-the-loop-goes-on
  (with-loop (event-loop thread)
    (signals division-by-zero (on-loop event-loop (lambda () (error 'division-by-zero))))
    (is (eql 3 (on-loop event-loop (lambda () 3))))))

(test a-question-to-a-busy-loop-is-given-up-and-never-answered
  (with-loop (event-loop thread)
    (let ((begun (sb-thread:make-semaphore))
          (release (sb-thread:make-semaphore))
          (called nil))
      (let ((other (sb-thread:make-thread
                    (lambda ()
                      (on-loop event-loop (lambda ()
                                            (sb-thread:signal-semaphore begun)
                                            (sb-thread:wait-on-semaphore release)
                                            7))))))
        (sb-thread:wait-on-semaphore begun)
        (signals loop-unavailable
          (on-loop event-loop (lambda () (setf called t)) :timeout 0.05))
        (sb-thread:signal-semaphore release)
        (is (eql 7 (sb-thread:join-thread other)))
        (on-loop event-loop (lambda ()))
        (is (not called))))))

(test a-loop-that-has-ended-answers-nobody
  (with-loop (event-loop thread)
    (end-loop)
    (signals loop-unavailable (on-loop event-loop (lambda () 1)))))

(test many-threads-ask-at-once
  (with-loop (event-loop thread)
    (let* ((count 0)
           (threads (loop repeat 8
                          collect (sb-thread:make-thread
                                   (lambda ()
                                     (loop repeat 500
                                           do (on-loop event-loop (lambda () (incf count)))))))))
      (mapc #'sb-thread:join-thread threads)
      (is (= 4000 count)))))
