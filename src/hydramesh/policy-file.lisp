(defpackage #:hydramesh/policy-file
  (:use #:cl)
  (:import-from #:hydramesh/head/dispatcher
                #:dispatcher-policy #:dispatcher-workers #:policy-hedging)
  (:import-from #:hydramesh/head/enforcing #:enforce #:refuse)
  (:import-from #:hydramesh/head/hedging #:hedging-share)
  (:import-from #:hydramesh/head/in-force #:in-force-policy)
  (:import-from #:hydramesh/head/registry #:registry-in-force)
  (:import-from #:hydramesh/policy/mistakes
                #:policy-errors #:policy-errors-left-out #:policy-errors-lines #:policy-errors-list)
  (:import-from #:hydramesh/policy/policy
                #:load-policy #:policy-digest #:policy-name #:policy-rule-count)
  (:import-from #:hydramesh/policy/warnings #:policy-warnings)
  (:import-from #:hydramesh/service/lifecycle #:cannot-start)
  (:import-from #:hydramesh/service/logs #:log-error #:log-info #:log-warning)
  (:import-from #:hydramesh/shown #:counted)
  (:export #:begin-policy #:follow-policy #:put-in-force)
  (:documentation "The policy that the settings name: read when the head starts, and again on SIGHUP."))
(in-package #:hydramesh/policy-file)

(defun named (path)
  "Return the policy in the file PATH, NIL if that is empty. Log each mistake, and signal POLICY-ERRORS."
  (handler-bind ((policy-errors
                   (lambda (condition)
                     (dolist (line (policy-errors-lines condition))
                       (log-error "a mistake in the policy" :at line)))))
    (if (string= path "") nil (load-policy path))))

(defun count-text (condition)
  (counted (+ (length (policy-errors-list condition)) (policy-errors-left-out condition)) "mistake"))

(defun begin-policy (dispatcher path now)
  "Have the policy in the file PATH decide, if that is not empty. Signal CANNOT-START if it is wrong."
  (handler-case (let ((policy (named path)))
                  (when policy
                    (put-in-force dispatcher policy now)))
    (policy-errors (condition)
      (error 'cannot-start
             :reason (format nil "the policy ~A has ~A; `hydramesh policy check` tells them too" path
                             (count-text condition))))))

(defun follow-policy (dispatcher path now)
  "Have what is in the file PATH now decide, or no policy if it is empty. If it is wrong, the old one stays."
  (handler-case (named path)
    (policy-errors (condition)
      (refuse dispatcher (format nil "~{~A~^~%~}" (policy-errors-lines condition)))
      (log-error "the policy is not replaced" :file path :mistakes (count-text condition)))
    (:no-error (policy)
      (cond ((same-p policy (in-force-policy (registry-in-force (dispatcher-workers dispatcher))))
             (refuse dispatcher "")
             (warn-of dispatcher policy)) ; the settings may have changed
            (t (put-in-force dispatcher policy now))))))

(defun same-p (policy other)
  "Return whether the two say the same, or are both NIL."
  (equal (and policy (policy-digest policy)) (and other (policy-digest other))))

(defun put-in-force (dispatcher policy now)
  "Have POLICY decide from now on, or none if it is NIL."
  (enforce dispatcher policy now)
  (warn-of dispatcher policy)
  (if policy
      (log-info "policy in force" :name (policy-name policy)
                                  :rules (policy-rule-count policy)
                                  :digest (policy-digest policy))
      (log-info "no policy is in force")))

(defun warn-of (dispatcher policy)
  "Log what of POLICY, which may be NIL, does nothing because of the settings."
  (when policy
    (let ((hedging (policy-hedging (dispatcher-policy dispatcher))))
      (loop for (line text) in (policy-warnings policy (hedging-share hedging))
            do (log-warning text :policy (policy-name policy) :line line)))))
