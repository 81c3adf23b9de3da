;;;; Loads the whole program, and stops at what no program should have: build.sh loads this.

(defun undefined-of-ours-p (warning)
  "Return whether WARNING says that one of our own symbols stands for nothing."
  (when (typep warning 'simple-condition)
    (let* ((name (second (simple-condition-format-arguments warning)))
           (symbol (if (consp name) (second name) name)))
      (and (member (first (simple-condition-format-arguments warning)) '(:function :variable :type))
           (symbolp symbol)
           (eql 0 (search "HYDRAMESH/" (package-name (symbol-package symbol))))))))

;; SBCL says so only when all is compiled, too late for ASDF to stop there.
(let ((undefined '()))
  (handler-bind ((warning (lambda (warning)
                            (when (undefined-of-ours-p warning)
                              (pushnew (princ-to-string warning) undefined :test #'string=)))))
    (asdf:load-system "hydramesh"))
  (when undefined
    ;; What has been compiled would be loaded without any warning the next time.
    (uiop:delete-directory-tree
     (asdf:apply-output-translations (asdf:system-source-directory "hydramesh")) :validate t)
    (format *error-output* "~&hydramesh does not build: ~{~A~^; ~}~%" undefined)
    (sb-ext:exit :code 1 :abort t)))
