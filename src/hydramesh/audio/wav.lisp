(defpackage #:hydramesh/audio/wav
  (:use #:cl)
  (:import-from #:hydramesh/audio/limits #:+wav+ #:+wav-chunks+)
  (:import-from #:hydramesh/audio/resampling #:resampled)
  (:import-from #:hydramesh/audio/samples #:samples #:make-samples #:saturated)
  (:import-from #:hydramesh/bounded-file #:read-bounded #:unreadable-file)
  (:import-from #:hydramesh/events #:octets)
  (:export #:read-wav #:decode-wav #:encode-wav #:bad-wav
           #:wav-file #:wav-file-stream #:open-wav #:append-wav #:close-wav)
  (:documentation "Sound in WAV files: RIFF, with samples of 16 bits, or what can be made such.

A file from anywhere is read within bounds, and what it says of itself is not believed where its size says
otherwise."))
(in-package #:hydramesh/audio/wav)

(define-condition bad-wav (error)
  ((reason :initarg :reason))
  (:report (lambda (condition stream) (write-string (slot-value condition 'reason) stream)))
  (:documentation "A file is no WAV file with sound that is understood; the text says what would be."))

(defun refuse (control &rest arguments)
  "Signal BAD-WAV with the text that FORMAT makes of CONTROL and ARGUMENTS."
  (error 'bad-wav :reason (apply #'format nil control arguments)))

(defconstant +pcm-format+ 1)
(defconstant +float-format+ 3)
(defconstant +extensible+ #xfffe "The format is in the first two bytes of a longer name.")

(defun little (octets at size)
  "Return the number of SIZE bytes at AT of OCTETS, least byte first."
  (declare (type octets octets))
  (loop for index below size
        sum (ash (aref octets (+ at index)) (* 8 index))))

(defun name-at (octets at)
  "Return the four characters at AT of OCTETS."
  (map 'string #'code-char (subseq octets at (+ at 4))))

(defun find-chunk (octets name)
  "Return where the content of the chunk NAME of OCTETS begins, and ends; NIL if there is none.
The last chunk may say that it is longer than the file: programs that write to a pipe cannot know."
  (loop with at = 12
        repeat +wav-chunks+
        while (<= (+ at 8) (length octets))
        do (let* ((start (+ at 8))
                  (end (+ start (little octets (+ at 4) 4))))
             (when (string= name (name-at octets at))
               (return (values start (min end (length octets)))))
             (setf at (+ end (logand end 1))))))

(defun read-format (octets)
  "Return the format of the samples in OCTETS, how many channels they have, how many a second, and their bits."
  (multiple-value-bind (start end) (find-chunk octets "fmt ")
    (unless (and start (>= (- end start) 16))
      (refuse "it has no chunk `fmt ', which says what kind of sound it is"))
    (let ((format (little octets start 2)))
      (values (if (and (= format +extensible+) (>= (- end start) 26))
                  (little octets (+ start 24) 2)
                  format)
              (little octets (+ start 2) 2)
              (little octets (+ start 4) 4)
              (little octets (+ start 14) 2)))))

(defun sample-reader (format bits)
  "Return a function that reads the sample at a place of octets, from -32768 to 32767."
  (cond ((and (= format +pcm-format+) (= bits 8))
         (lambda (octets at) (ash (- (aref octets at) 128) 8)))
        ((and (= format +pcm-format+) (member bits '(16 24 32)))
         (let ((least (floor (- bits 16) 8)))
           (lambda (octets at) (two-bytes octets (+ at least)))))
        ((and (= format +float-format+) (= bits 32))
         (lambda (octets at) (float-sample (little octets at 4))))
        (t
         (refuse "its samples have the format ~D with ~D bits; 8, 16, 24 or 32 bits of PCM (format 1), or 32 of ~
                  floats (format 3) can be read" format bits))))

(defun two-bytes (octets at)
  "Return the sample of 16 bits at AT of OCTETS."
  (declare (type octets octets) (type fixnum at) (optimize speed))
  (let ((number (logior (aref octets at) (ash (aref octets (1+ at)) 8))))
    (if (logbitp 15 number) (- number 65536) number)))

(defun float-sample (number)
  "Return the sample that the float with the bits NUMBER stands for; 0 if it is none."
  (let ((exponent (ldb (byte 8 23) number)))
    (cond ((= exponent 255) 0)
          ((>= exponent 127) (if (logbitp 31 number) -32768 32767))
          (t
           (let ((value (sb-kernel:make-single-float (if (logbitp 31 number) (- number (ash 1 32)) number))))
             (max -32768 (min 32767 (round (* value 32768)))))))))

(defun decode-wav (octets rate)
  "Return the sound of the WAV file that OCTETS are, at RATE samples a second: its channels' mean.
Signal BAD-WAV if they are none."
  (declare (type octets octets))
  (unless (and (>= (length octets) 12)
               (string= "RIFF" (name-at octets 0))
               (string= "WAVE" (name-at octets 8)))
    (refuse "it is no WAV file: it does not begin with RIFF and WAVE"))
  (multiple-value-bind (format channels its-rate bits) (read-format octets)
    (unless (<= 1 channels 8)
      (refuse "it has ~D channels; 1 to 8 can be read" channels))
    (unless (<= 8000 its-rate 192000)
      (refuse "it has ~D samples a second; 8,000 to 192,000 can be read" its-rate))
    (multiple-value-bind (start end) (find-chunk octets "data")
      (unless start
        (refuse "it has no chunk `data', where the sound is"))
      (resampled (read-samples octets start end channels (floor bits 8) (sample-reader format bits))
                 its-rate rate))))

(defun read-samples (octets start end channels size reader)
  "Return the sound in OCTETS from START to END. READER reads a sample of SIZE bytes; those of CHANNELS become one."
  (declare (type function reader) (type (unsigned-byte 32) start end) (type (integer 1 8) channels size))
  (let ((samples (make-samples (floor (- end start) (* channels size)))) (at start))
    (declare (type samples samples) (type (unsigned-byte 40) at))
    (dotimes (index (length samples) samples)
      (let ((sum 0))
        (declare (type (signed-byte 40) sum))
        (dotimes (channel channels)
          (incf sum (the fixnum (funcall reader octets at)))
          (incf at size))
        (setf (aref samples index) (saturated (round sum channels)))))))

(defun read-wav (path rate)
  "Return the sound of the file PATH at RATE samples a second. Signal BAD-WAV or UNREADABLE-FILE."
  (handler-case (decode-wav (read-bounded path +wav+) rate)
    (bad-wav (condition) (refuse "~A: ~A" path condition))
    (unreadable-file (condition) (refuse "~A: ~A" path condition))))

;;; Writing

(defun header (rate count)
  "Return what a file with COUNT samples at RATE a second begins with."
  (let ((header (make-array 44 :element-type '(unsigned-byte 8))) (at 0))
    (flet ((text (string) (loop for char across string
                                do (setf (aref header at) (char-code char))
                                   (incf at)))
           (number (value size) (dotimes (index size)
                                  (setf (aref header at) (ldb (byte 8 (* 8 index)) value))
                                  (incf at))))
      (text "RIFF") (number (min (+ 36 (* 2 count)) #xffffffff) 4) (text "WAVE")
      (text "fmt ") (number 16 4) (number +pcm-format+ 2) (number 1 2)
      (number rate 4) (number (* 2 rate) 4) (number 2 2) (number 16 2)
      (text "data") (number (min (* 2 count) #xffffffff) 4))
    header))

(defun write-samples (samples octets start)
  "Write SAMPLES to OCTETS from START on, and return these."
  (declare (type samples samples) (type octets octets) (type (unsigned-byte 32) start) (optimize speed))
  (dotimes (index (length samples) octets)
    (let ((at (+ start (* 2 index))) (sample (aref samples index)))
      (setf (aref octets at) (ldb (byte 8 0) sample)
            (aref octets (1+ at)) (ldb (byte 8 8) sample)))))

(defun encode-wav (samples rate)
  "Return a WAV file with SAMPLES, RATE a second, as octets."
  (let ((octets (make-array (+ 44 (* 2 (length samples))) :element-type '(unsigned-byte 8))))
    (replace octets (header rate (length samples)))
    (write-samples samples octets 44)))

(defstruct (wav-file (:constructor %open-wav (stream rate)))
  "A file that is being written."
  stream
  (rate 0 :type (unsigned-byte 32))
  (count 0 :type unsigned-byte))

(defun open-wav (path rate)
  "Make the file PATH for sound at RATE samples a second, in place of any that there is. Signal FILE-ERROR.
It can be read at any time: until it is closed, it says that it is longer than any is, as programs do that write
to a pipe."
  (let ((file (%open-wav (open (sb-ext:parse-native-namestring path) :direction :output :element-type '(unsigned-byte 8)
                                    :if-exists :supersede)
                         rate)))
    (write-sequence (header rate (ash 1 32)) (wav-file-stream file))
    file))

(defun append-wav (file samples)
  "Write SAMPLES to FILE. Signal STREAM-ERROR if that is not possible."
  (write-sequence (write-samples samples (make-array (* 2 (length samples)) :element-type '(unsigned-byte 8)) 0)
                  (wav-file-stream file))
  (incf (wav-file-count file) (length samples)))

(defun close-wav (file)
  "Write to FILE how long its sound is, and close it."
  (let ((stream (wav-file-stream file)))
    (when (open-stream-p stream)
      (file-position stream 0)
      (write-sequence (header (wav-file-rate file) (wav-file-count file)) stream)
      (close stream))))
