(defpackage #:hydramesh/tests/service/settings
  (:use #:cl)
  (:import-from #:fiveam #:test #:is)
  (:import-from #:hydramesh/tests/suite)
  (:import-from #:hydramesh/settings
                #:load-settings #:settings-error #:differences #:settings-queue-size
                #:settings-worker-timeout #:settings-log-level #:settings-allow-unauthenticated
                #:settings-http-listen #:settings-state-dir #:settings-peers)
  (:documentation "Settings from the environment and flags, and the messages about those that do not fit.
Files are in tests/integration/hydramesh."))
(in-package #:hydramesh/tests/service/settings)

(fiveam:def-suite settings :in hydramesh/tests/suite:hydramesh)
(fiveam:in-suite settings)

(defun refusal (arguments &optional environment)
  (handler-case (progn (load-settings arguments environment) nil)
    (settings-error (condition) (princ-to-string condition))))

(test flags-win-over-the-environment
  (let ((settings (load-settings '("--queue-size" "2" "--queue-size=3" "--allow" "true")
                                 '(("DAIIC_QUEUE_SIZE" . "9") ("DAIIC_WORKER_TIMEOUT" . "2.5")
                                   ("DAIIC_HTTP_LISTEN" . "") ("HOME" . "/h")))))
    (is (= 3 (settings-queue-size settings)))
    (is (= 2.5d0 (settings-worker-timeout settings)))
    (is (string= "" (settings-http-listen settings)))
    (is (string= "info" (settings-log-level settings)))
    (is (eq t (settings-allow-unauthenticated settings)))
    (is (string= "/h/.local/state/daiic/hydramesh" (settings-state-dir settings)))))

(test lists-are-written-with-commas
  (flet ((peers (text)
           (settings-peers (load-settings (list (format nil "--peers=~A" text)) '()))))
    (is (equalp #("a:1" "[::1]:2") (peers "a:1, [::1]:2,")))
    (is (equalp #() (peers "")))
    (is (equal '() (differences (load-settings '("--peers=a:1") '()) (load-settings '("--peers=a:1") '()))))
    (is (equal '("peers") (differences (load-settings '("--peers=a:1") '()) (load-settings '() '()))))))

(test a-value-that-does-not-fit-is-named-with-its-key-its-source-and-what-would-be-right
  (loop for (argument . parts)
          in '(("--listen=nowhere" "listen = \"nowhere\" (flag --listen) is not valid: it must be host:port")
               ("--listen=a:123456" "host:port") ("--listen=[::1]:7" nil) ("--listen=a b:1" "host:port")
               ("--http-listen=x" "or \"\" for none")
               ("--worker-timeout=0" "a number of seconds above 0") ("--worker-timeout=nan" "above 0")
               ("--worker-timeout=inf" "at most 1e9") ("--worker-timeout=1e3" nil)
               ("--log-level=loud" "one of debug, info, warning, error")
               ("--allow-unauthenticated=perhaps" "bool") ("--queue-size=many" "a whole number above 0")
               ("--queue-size=1.5" "a whole number")
               ("--peers=a:1,b" "a list, each item host:port")
               ("--peers=a:65536" "a list, each item host:port") ("--peers=a:0" "a list, each item host:port") ("--queue-size=1e3" nil) ("--queue-size=0" "above 0")
               ("--storage=tape" "one of sqlite, streamdb, none")
               ("--foo" "unrecognized arguments: --foo") ("bar" "unrecognized arguments: bar")
               ("--listen" "argument --listen: expected one argument")
               ("--l=a:1" "ambiguous option: --l could match --listen, --log-level"))
        do (dolist (part parts)
             (if part
                 (is (search part (refusal (list argument))) "~A: ~A" argument (refusal (list argument)))
                 (is (null (refusal (list argument))) "~A: ~A" argument (refusal (list argument)))))))

(test a-message-about-anything-is-one-short-line
  (dolist (text (list (format nil "a~%b") (make-string 100000 :initial-element #\x)
                      (format nil "~C[31m" (code-char 27))))
    (dolist (message (list (refusal (list (format nil "--listen=~A" text)))
                           (refusal '() `(("DAIIC_CLUSTER_KEY_FILE" . ,(format nil "~A~C" text (code-char 0)))))
                           (refusal (list text))))
      (is (< 0 (length message) 1000))
      (is (every #'graphic-char-p message)))))

(test only-what-differs-is-named
  (is (equal '("queue_size" "log_level")
             (sort (differences (load-settings '() '())
                                (load-settings '("--queue-size=7" "--log-level=debug") '()))
                   #'string> ))))
