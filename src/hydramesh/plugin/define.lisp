(defpackage #:hydramesh/plugin/define
  (:use #:cl)
  (:import-from #:hydramesh/definitions #:instead-of #:mistaken #:printed)
  (:import-from #:hydramesh/plugin/plugin #:make-plugin #:register-plugin)
  (:export #:define-plugin)
  (:documentation "The language in which plugins are written: one macro, which checks what it is given."))
(in-package #:hydramesh/plugin/define)

(defparameter +fields+
  '((:documentation . "(:documentation \"What it is for, in a line.\")")
    (:version . "(:version \"1.0.0\")")
    (:wanted . "(:wanted (settings) form...)")
    (:start . "(:start () form...)")
    (:stop . "(:stop (started) form...)")
    (:transport . "(:transport (started mesh settings) form...)")
    (:store . "(:store \"name\" (started path writing) form...)")
    (:report . "(:report (started) form...)"))
  "Each field, and how it is written.")

(defparameter +reserved+ '("sqlite" "none") "Names that no plugin's store can have.")

(defvar *form* nil "The macro's name and that of the plugin whose definition is looked at.")

(defun wrong (field control &rest arguments)
  "Say that what CONTROL and ARGUMENTS make is wrong in FIELD, and how that is written."
  (apply #'mistaken *form* field (format nil "write ~A" (cdr (assoc field +fields+))) control arguments))

(defun name-p (text)
  "Return whether TEXT is a name: lower case letters, digits and hyphens, 40 at most, a letter first."
  (and (stringp text)
       (<= 1 (length text) 40)
       (char<= #\a (char text 0) #\z)
       (every (lambda (character)
                (or (char<= #\a character #\z) (char<= #\0 character #\9) (char= character #\-)))
              text)))

(defun version-p (text)
  "Return whether TEXT is a version: numbers between dots, and what may follow a hyphen or a plus."
  (and (stringp text)
       (<= 1 (length text) 40)
       (digit-char-p (char text 0))
       (digit-char-p (char text (1- (length text))))
       (every (lambda (character) (or (alphanumericp character) (find character ".-+"))) text)
       (not (search ".." text))))

;;; The fields

(defun field-of (clause)
  (unless (and (consp clause) (keywordp (first clause)) (ignore-errors (list-length clause)))
    (mistaken *form* nil "a field is a list that begins with a keyword, as (:version \"1.0.0\")"
              "~A is no field" (printed clause)))
  (unless (assoc (first clause) +fields+)
    (mistaken *form* (first clause) (instead-of (first clause) (mapcar #'car +fields+))
              "there is no such field"))
  (first clause))

(defun check-once (clauses)
  (loop for (clause . others) on clauses
        for field = (first clause)
        when (and (not (eq field :store)) (find field others :key #'first))
          do (mistaken *form* field "leave one of them" "it is there twice")))

(defun text-in (field clauses)
  "Return the string that FIELD, which must be there, has in CLAUSES."
  (let ((clause (assoc field clauses)))
    (cond ((null clause) (wrong field "it is missing"))
          ((/= (length clause) 2) (wrong field "it takes one string, not ~D values" (1- (length clause))))
          ((not (stringp (second clause))) (wrong field "~A is no string" (printed (second clause))))
          (t (second clause)))))

(defun documentation-in (clauses)
  (let ((text (text-in :documentation clauses)))
    (if (and (<= 1 (length text) 200) (every #'graphic-char-p text))
        text
        (wrong :documentation "it must be one line, of 200 characters at most"))))

(defun version-in (clauses)
  (let ((text (text-in :version clauses)))
    (if (version-p text)
        text
        (wrong :version "~A is no version" (printed text)))))

(defun function-of (field parameters body count)
  "Return the form of the function that FIELD has: COUNT PARAMETERS, and BODY."
  (cond ((not (and (listp parameters)
                   (ignore-errors (list-length parameters))
                   (every (lambda (name) (and name (symbolp name) (not (constantp name)))) parameters)))
         (wrong field "~A is no list of parameters" (printed parameters)))
        ((intersection parameters lambda-list-keywords)
         (wrong field "~A is more than names" (printed parameters)))
        ((/= (length parameters) count)
         (wrong field "it takes ~R parameter~:P, not ~D" count (length parameters)))
        ((null body) (wrong field "nothing is done in it"))
        (t `(lambda ,parameters
              (declare (ignorable ,@parameters))
              ,@body))))

(defun function-in (field clauses count)
  "Return the form of FIELD's function in CLAUSES, or NIL if it has none."
  (let ((clause (assoc field clauses)))
    (when clause
      (when (null (rest clause))
        (wrong field "it has no parameters"))
      (function-of field (second clause) (cddr clause) count))))

(defun check-store-name (field name others)
  "Signal BAD-DEFINITION unless NAME, which FIELD has, can be a store's beside OTHERS."
  (flet ((mistake (remedy control)
           (mistaken *form* field remedy control (printed name))))
    (cond ((not (name-p name))
           (wrong field "~A is no name: a string of lower case letters, digits and hyphens" (printed name)))
          ((member name +reserved+ :test #'string=)
           (mistake "give it another name" "~A is HydraMesh's own"))
          ((member name others :test #'string=)
           (mistake "leave one of them" "~A is there twice")))))

(defun stores-in (clauses)
  "Return a form that makes the alist of the stores in CLAUSES."
  (let ((names '()))
    `(list ,@(loop for (field name parameters . body) in clauses
                   when (eq field :store)
                     do (check-store-name field name names)
                        (push name names)
                     and collect `(cons ,name ,(function-of field parameters body 3))))))

(defmacro define-plugin (name &body fields)
  "Define the plugin NAME, a symbol, and register it. FIELDS are, in any order:

  (:documentation \"...\")            what it is for, in a line
  (:version \"1.0.0\")                its version
  (:wanted (settings) ...)          whether a head with these settings should start it. Without this, a plugin
                                    that has stores starts when one of them is opened, and any other at once
  (:start () ...)                   what it begins with; STARTED is what that returns
  (:stop (started) ...)             how it ends, also when it is disabled
  (:transport (started mesh settings) ...)
                                    returns a transport, see hydramesh/plugin/transport, for the head's mesh.
                                    It is called by the head's thread before anything is received
  (:store \"name\" (started path writing) ...)
                                    returns a store, see hydramesh/storage/store, in the file at PATH, for
                                    `storage = \"name\"`. Unless WRITING, the file is only read. It signals
                                    STORAGE-FAILURE. There may be several
  (:report (started) ...)           returns a line on how it goes, for people; any thread may call it

The first two are needed. A function that cannot do its work as something is not there signals
PLUGIN-UNUSABLE. Whatever a function but :report's signals disables the plugin. What is wrong here is
signalled as BAD-DEFINITION when this is compiled."
  (let ((*form* (list 'define-plugin name)))
    (unless (and name (symbolp name) (name-p (printed name)))
      (mistaken '(define-plugin) nil
                "write (define-plugin my-plugin ...): letters, digits and hyphens, a letter first, 40 at most"
                "~A is no name of a plugin" (printed name)))
    (unless (ignore-errors (list-length fields))
      (mistaken *form* nil "write its fields as lists" "its fields are no list"))
    (mapc #'field-of fields)
    (check-once fields)
    `(register-plugin (make-plugin :name ,(printed name)
                                   :documentation ,(documentation-in fields)
                                   :version ,(version-in fields)
                                   :wanted ,(function-in :wanted fields 1)
                                   :start ,(function-in :start fields 0)
                                   :stop ,(function-in :stop fields 1)
                                   :transport ,(function-in :transport fields 3)
                                   :stores ,(stores-in fields)
                                   :report ,(function-in :report fields 1)))))
