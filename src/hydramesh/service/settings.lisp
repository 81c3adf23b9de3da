(defpackage #:hydramesh/service/settings
  (:use #:cl)
  (:import-from #:hydramesh/bounded-file #:read-bounded #:unreadable-file #:unreadable-file-reason)
  (:import-from #:hydramesh/service/toml
                #:parse-toml #:malformed-toml #:nested-too-deeply #:table-entries)
  (:import-from #:hydramesh/service/setting-kinds
                #:convert #:unsuitable #:kind-expected #:shown-value #:writable-p #:+unwritable+)
  (:import-from #:hydramesh/service/close-match #:close-match)
  (:import-from #:hydramesh/service/flags #:parse-flags)
  (:import-from #:hydramesh/service/setting
                #:setting-key #:setting-kind #:setting-default #:setting-variable #:refuse
                #:+environment-prefix+)
  (:import-from #:hydramesh/shown #:printable)
  (:export #:load-values)
  (:documentation "A daemon's settings: one TOML file, then the environment, then flags."))
(in-package #:hydramesh/service/settings)

(defparameter +most-bytes+ (ash 256 10) "Bytes of a settings file.")

(defun load-values (settings program about arguments environment)
  "Return an alist of the keys of SETTINGS, a list of SETTING, and their values.
ARGUMENTS are strings, ENVIRONMENT an alist of them. The file is named by `--config` or DAIIC_CONFIG;
without one the defaults hold. Signal SETTINGS-ERROR for an unreadable file, an unknown key or flag, or
a value that does not fit; FLAGS:HELP if the arguments ask for it, in which PROGRAM and ABOUT are named."
  (let* ((flags (parse-flags settings program about arguments))
         (config (named-file flags environment))
         (given (make-hash-table :test 'equal)))
    (flet ((give (setting value source textual)
             (setf (gethash (setting-key setting) given) (list value source textual))))
      (when config
        (loop for (key . value) in (read-file config)
              for setting = (find key settings :key #'setting-key :test #'string=)
              do (unless setting
                   (refuse "~A: unknown key ~A~A" (printable config) (printable key)
                           (suggestion key settings)))
                 (give setting value (printable config) nil)))
      (dolist (setting settings)
        (let ((variable (assoc (setting-variable setting) environment :test #'string=)))
          (when variable
            (give setting (cdr variable) (format nil "environment ~A" (car variable)) t)))
        (let ((flag (assoc (setting-key setting) flags :test #'string=)))
          (when flag
            (give setting (cdr flag) (format nil "flag --~A" (substitute #\- #\_ (car flag)))
                  t)))))
    (loop for setting in settings
          for key = (setting-key setting)
          for found = (gethash key given)
          collect (cons key (if found
                                (apply #'value-of setting found)
                                (setting-default setting))))))

(defun named-file (flags environment)
  (flet ((name (pairs key)
           (let ((name (cdr (assoc key pairs :test #'string=))))
             (and name (string/= name "") name))))
    (or (name flags "config")
        (name environment (format nil "~ACONFIG" +environment-prefix+)))))

(defun decoded (octets)
  (let ((text (sb-ext:octets-to-string octets :external-format :utf-8)))
    (when (find-if (lambda (character) (<= #xd800 (char-code character) #xdfff)) text)
      (error 'malformed-toml :reason "it is not UTF-8"))
    text))

(defun read-file (path)
  (let ((shown (printable path)))
    (handler-case (table-entries (parse-toml (decoded (read-bounded path +most-bytes+))))
      (unreadable-file (condition)
        (refuse "~A cannot be read: ~A" shown (unreadable-file-reason condition)))
      (nested-too-deeply ()
        (refuse "~A is not TOML for settings: it is nested too deeply" shown))
      (sb-int:character-decoding-error ()
        (refuse "~A is not TOML: it is not UTF-8" shown))
      (malformed-toml (condition)
        (refuse "~A is not TOML: ~A" shown (printable (princ-to-string condition)))))))

(defun value-of (setting value source textual)
  (flet ((refuse-value (expected)
           (refuse "~A = ~A (~A) is not valid: it must be ~A"
                   (setting-key setting) (shown-value value) source expected)))
    (let ((value (handler-case (convert (setting-kind setting) value textual)
                   (unsuitable () (refuse-value (kind-expected (setting-kind setting)))))))
      (if (and (stringp value) (not (writable-p value)))
          (refuse-value +unwritable+)
          value))))

(defun suggestion (key settings)
  (let* ((keys (mapcar #'setting-key settings))
         (close (close-match (subseq key 0 (min 200 (length key))) keys)))
    (if close
        (format nil "; did you mean ~A?" close)
        (format nil "; the keys are ~{~A~^, ~}" keys))))
