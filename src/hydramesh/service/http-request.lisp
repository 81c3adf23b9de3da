(defpackage #:hydramesh/service/http-request
  (:use #:cl)
  (:export #:request #:request-method #:request-path #:request-hosts #:parse-request #:head-end
           #:bad-request)
  (:documentation "The head of an HTTP/1 request, as RFC 9112 has it and no laxer than it must be."))
(in-package #:hydramesh/service/http-request)

(defstruct request
  "PATH is without the query. HOSTS are the values of its Host fields."
  (method "" :type string)
  (path "" :type string)
  (hosts '() :type list))

(define-condition bad-request (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream)
             (write-string (slot-value condition 'reason) stream)))
  (:documentation "What came is no request; to be answered with 400."))

(defun refuse (reason)
  (error 'bad-request :reason reason))

(defun head-end (octets end)
  "Return where the empty line ends that ends the head which begins OCTETS, or NIL if it lies after END."
  (loop for index from 0 below end
        do (when (= (aref octets index) 10)
             (let ((next (1+ index)))
               (when (and (< next end) (= (aref octets next) 13))
                 (incf next))
               (when (and (< next end) (= (aref octets next) 10))
                 (return (1+ next)))))))

(defun lines (text)
  (loop for start = 0 then (1+ end)
        for end = (position #\Newline text :start start)
        for line = (string-right-trim '(#\Return) (subseq text start end))
        until (string= line "")
        collect line
        while end))

(defun token-p (text)
  (and (plusp (length text))
       (every (lambda (character)
                (and (char< character (code-char 127))
                     (or (alphanumericp character) (find character "!#$%&'*+-.^_`|~"))))
              text)))

(defun visible-p (character)
  (let ((code (char-code character)))
    (or (< 32 code 127) (> code 127))))

(defun parse-line (line)
  "Return method, target and version of a request's first line."
  (let* ((first (position #\Space line))
         (second (and first (position #\Space line :start (1+ first))))
         (version (and second (subseq line (1+ second)))))
    (unless (and version
                 (token-p (subseq line 0 first))
                 (< (1+ first) second)
                 (every #'visible-p (subseq line (1+ first) second))
                 (= (length version) 8)
                 (string= version "HTTP/1." :end1 7)
                 (digit-char-p (char version 7)))
      (refuse "illegal request line"))
    (values (subseq line 0 first) (subseq line (1+ first) second) version)))

(defun parse-field (line)
  "Return name and value of a header line."
  (let ((colon (position #\: line)))
    (unless (and colon
                 (token-p (subseq line 0 colon))
                 (every (lambda (character)
                          (or (visible-p character) (member character '(#\Space #\Tab))))
                        (subseq line (1+ colon))))
      (refuse "illegal header line"))
    (values (subseq line 0 colon)
            (string-trim '(#\Space #\Tab) (subseq line (1+ colon))))))

(defun parse-request (octets end)
  "Return the REQUEST whose head OCTETS has up to END. Signal BAD-REQUEST if it is none."
  (let ((lines (lines (sb-ext:octets-to-string octets :end end :external-format :latin-1))))
    (multiple-value-bind (method target version) (parse-line (or (first lines) ""))
      (let ((hosts (loop for line in (rest lines)
                         for (name value) = (multiple-value-list (parse-field line))
                         when (string-equal name "host")
                           collect value)))
        (when (and (null hosts) (string/= version "HTTP/1.0"))
          (refuse "Missing mandatory Host: header"))
        (make-request :method method :hosts hosts
                      :path (subseq target 0 (position #\? target)))))))
