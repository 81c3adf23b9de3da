(defpackage #:hydramesh/storage/archive
  (:use #:cl)
  (:import-from #:hydramesh/entropy #:make-entropy)
  (:import-from #:hydramesh/storage/limits #:+traffic-age+ #:+full-chunks+)
  (:import-from #:hydramesh/storage/store
                #:store-read #:store-list #:store-write #:store-close #:store-traffic-chunks
                #:+counters+ #:+rates+ #:+traffic+ #:+salt+)
  (:import-from #:hydramesh/storage/traffic
                #:passage-kind #:passage-outcome #:passage-bytes-in #:passage-bytes-out #:passage-made
                #:passage-queued #:passage-running #:passage-moved #:passage-end
                #:make-chunk #:chunk-add #:chunk-full-p #:chunk-octets #:chunk-passages)
  (:import-from #:hydramesh/storage/timeline
                #:make-minutes #:make-hours #:timeline-note #:timeline-changes #:timeline-written
                #:timeline-outdated #:timeline-kind #:make-row #:metric-index)
  (:import-from #:hydramesh/storage/prompts #:prompts #:make-prompts)
  (:import-from #:hydramesh/storage/pseudonym #:draw-salt #:salt-octets #:salt-read)
  (:import-from #:hydramesh/storage/roster-chunks
                #:open-roster-chunks #:roster-chunks-note #:roster-chunks-writes #:roster-chunks-written)
  (:import-from #:hydramesh/storage/rates
                #:make-rates #:rates-note #:rates-octets #:rates-read)
  (:import-from #:hydramesh/storage/counters #:counters-octets #:counters-read)
  (:export #:archive #:make-archive #:open-archive #:archive-store #:archive-rates #:archive-counters
           #:archive-salt #:archive-prompts #:archive-note-workers #:archive-add-task #:archive-add-sample #:archive-add-rate #:archive-set-counters
           #:archive-write #:archive-due-p #:archive-close
           #:map-traffic)
  (:documentation "What is kept, for how long, and in which chunks of a store.

Rates by worker and model; metrics by minute for 30 days and by hour for two years; the traffic of the last
day, and what the workers were; and the counters. All of it is bounded: what is oldest leaves first. Times are given by the caller, in
microseconds since 1970."))
(in-package #:hydramesh/storage/archive)

(defconstant +rates-interval+ 60000000 "Microseconds between two writes of rates, which change all the time.")
(defconstant +trim-interval+ 600000000 "Microseconds between two searches for what is too old.")

(defstruct (archive (:constructor make-archive (store)))
  "CHUNK is the traffic that is being collected, under NUMBER; FULL are those before it that are not written
yet, as STORE-WRITE takes them, the newest first. TRAFFIC are the numbers of those that are written. SALT
makes clients' pseudonyms in it, PROMPTS tell which tasks begin alike."
  store
  (salt nil)
  (prompts (make-prompts) :type prompts)
  (salt-written nil :type boolean)
  (roster-chunks nil)
  (minutes (make-minutes))
  (hours (make-hours))
  (rates (make-rates))
  (rates-changed nil :type boolean)
  (rates-written 0 :type unsigned-byte)
  (counters '() :type list)
  (counters-changed nil :type boolean)
  (chunk nil)
  (chunk-changed nil :type boolean)
  (number 0 :type unsigned-byte)
  (full '() :type list)
  (traffic '() :type list)
  (trimmed 0 :type unsigned-byte))

(defun open-archive (store)
  "Return an archive in STORE, with what that has. Signal STORAGE-FAILURE."
  (let ((archive (make-archive store))
        (rates (store-read store +rates+ 0))
        (counters (store-read store +counters+ 0))
        (salt (store-read store +salt+ 0)))
    (when rates
      (setf (archive-rates archive) (rates-read rates)))
    (when counters
      (setf (archive-counters archive) (counters-read counters)))
    (setf (archive-traffic archive) (store-list store +traffic+)
          (archive-roster-chunks archive) (open-roster-chunks store)
          (archive-salt archive) (if salt (salt-read salt) (draw-salt (make-entropy)))
          (archive-salt-written archive) (and salt t))
    archive))

(defun archive-close (archive)
  "Let go of the store."
  (store-close (archive-store archive)))

(defun note (archive row now)
  (let ((seconds (floor now 1000000)))
    (timeline-note (archive-minutes archive) (archive-store archive) row seconds)
    (timeline-note (archive-hours archive) (archive-store archive) row seconds)))

(defun begin-chunk (archive now)
  ;; The number says when the chunk was begun, in milliseconds; so it must be above the last one's even
  ;; when the clock was set back.
  (let ((last (max (archive-number archive)
                   (or (first (last (archive-traffic archive))) 0))))
    (setf (archive-number archive) (max (floor now 1000) (1+ last))
          (archive-chunk archive) (make-chunk)
          (archive-chunk-changed archive) nil)))

(defun finish-chunk (archive)
  (push (list +traffic+ (archive-number archive) (chunk-octets (archive-chunk archive)))
        (archive-full archive))
  (when (> (length (archive-full archive)) +full-chunks+)
    (setf (archive-full archive) (butlast (archive-full archive))))
  (setf (archive-chunk archive) nil
        (archive-chunk-changed archive) nil))

(defun archive-add-task (archive passage now)
  "Keep PASSAGE, of a task that has ended at NOW. Signal STORAGE-FAILURE."
  (unless (archive-chunk archive)
    (begin-chunk archive now))
  (chunk-add (archive-chunk archive) passage)
  (setf (archive-chunk-changed archive) t)
  (when (chunk-full-p (archive-chunk archive))
    (finish-chunk archive))
  (note archive (row-of passage) now))

(defun row-of (passage)
  (let ((row (make-row)) (outcome (passage-outcome passage)) (kind (passage-kind passage)))
    (flet ((put (name number) (setf (aref row (metric-index name)) number)))
      (put :tasks 1)
      (put (cond ((string= outcome "DONE") :done)
                 ((string= outcome "CANCELLED") :cancelled)
                 (t :failed))
           1)
      (put :moved (passage-moved passage))
      (cond ((string= kind "text") (put :tokens (passage-made passage)))
            ((string= kind "image") (put :images (passage-made passage)))
            ((string= kind "embed") (put :embeddings (passage-made passage))))
      (put :bytes-in (passage-bytes-in passage))
      (put :bytes-out (passage-bytes-out passage))
      (put :queue-us (passage-queued passage))
      (put :run-us (passage-running passage)))
    row))

(defun archive-add-sample (archive queued in-flight workers now)
  "Keep how many tasks wait and run and how many workers there are at NOW. Signal STORAGE-FAILURE."
  (let ((row (make-row)))
    (setf (aref row (metric-index :queued)) queued
          (aref row (metric-index :in-flight)) in-flight
          (aref row (metric-index :workers)) workers)
    (note archive row now)))

(defun archive-add-rate (archive worker model rate now)
  "Keep that MODEL makes RATE a second on WORKER."
  (when (rates-note (archive-rates archive) worker model rate (floor now 1000000))
    (setf (archive-rates-changed archive) t)))

(defun archive-note-workers (archive workers terms now at)
  "Keep what WORKERS, a list of a head's, and its TERMS are, see ROSTER-NOTE."
  (roster-chunks-note (archive-roster-chunks archive) workers terms now at))

(defun archive-set-counters (archive counters)
  "Keep COUNTERS, a list of (name . number)."
  (unless (equal counters (archive-counters archive))
    (setf (archive-counters archive) counters
          (archive-counters-changed archive) t)))

(defun outdated-metrics (archive now)
  "Return the changes that remove metrics which are too old, or too many."
  (loop for timeline in (list (archive-minutes archive) (archive-hours archive))
        for kind = (timeline-kind timeline)
        append (loop for number in (timeline-outdated timeline (store-list (archive-store archive) kind)
                                                      (floor now 1000000))
                     collect (list kind number nil))))

(defun outdated-traffic (archive now)
  "Return the changes that remove traffic which is too old, or too much."
  (let* ((traffic (archive-traffic archive))
         (surplus (- (length traffic) (store-traffic-chunks (archive-store archive)))))
    ;; What is in a chunk has ended before the next one was begun.
    (loop for (number next) on traffic
          for index from 0
          while (or (< index surplus)
                    (and next (< next (- (floor now 1000) (* 1000 +traffic-age+)))))
          collect (list +traffic+ number nil))))

(defun trim-due-p (archive now)
  (not (< -1 (- now (archive-trimmed archive)) +trim-interval+)))

(defun rates-due-p (archive now)
  (and (archive-rates-changed archive)
       (not (< -1 (- now (archive-rates-written archive)) +rates-interval+))))

(defun archive-due-p (archive)
  "Return whether something should be written before the minute is over."
  (or (archive-chunk-changed archive) (archive-full archive) (archive-counters-changed archive)))

(defun archive-write (archive now &key all)
  "Write what has changed, and remove what is too old at NOW; if ALL, also what has time. Signal
STORAGE-FAILURE; what was not written then will be with the next write."
  (let* ((full (archive-full archive))
         (open (and (archive-chunk-changed archive)
                    (list (list +traffic+ (archive-number archive)
                                (chunk-octets (archive-chunk archive))))))
         (traffic (append open full))
         (rates (and (or all (rates-due-p archive now)) (archive-rates-changed archive)))
         (roster (roster-chunks-writes (archive-roster-chunks archive) now all))
         (trim (trim-due-p archive now))
         (outdated (append (outdated-traffic archive now)
                           (when trim (outdated-metrics archive now))))
         (changes (append (when (archive-counters-changed archive)
                            (list (list +counters+ 0 (counters-octets (archive-counters archive)))))
                          (when rates
                            (list (list +rates+ 0 (rates-octets (archive-rates archive)))))
                          (timeline-changes (archive-minutes archive))
                          (timeline-changes (archive-hours archive))
                          (unless (archive-salt-written archive)
                            (list (list +salt+ 0 (salt-octets (archive-salt archive)))))
                          roster
                          traffic
                          outdated)))
    (when changes
      (store-write (archive-store archive) changes))
    (roster-chunks-written (archive-roster-chunks archive) roster now)
    (setf (archive-counters-changed archive) nil
          (archive-salt-written archive) t
          (archive-full archive) '()
          (archive-chunk-changed archive) nil)
    (when rates
      (setf (archive-rates-changed archive) nil
            (archive-rates-written archive) now))
    (when trim
      (setf (archive-trimmed archive) now))
    (timeline-written (archive-minutes archive))
    (timeline-written (archive-hours archive))
    (note-traffic archive (mapcar #'second traffic)
                  (loop for (kind number) in outdated
                        when (= kind +traffic+) collect number))))

(defun note-traffic (archive written removed)
  (let ((traffic (archive-traffic archive)))
    (when removed
      (setf traffic (set-difference traffic removed)))
    (setf (archive-traffic archive)
          (if (or removed written)
              (sort (union traffic written) #'<)
              traffic))))

(defun map-traffic (function store &key (since 0))
  "Call FUNCTION with each passage in STORE that has ended since SINCE, microseconds since 1970.
They come roughly in the order in which they have ended. Signal STORAGE-FAILURE."
  (loop for (number next) on (store-list store +traffic+)
        ;; What is in a chunk has ended before the next one was begun.
        for content = (and (or (null next) (>= (* 1000 (1+ next)) since))
                           (store-read store +traffic+ number))
        when content
          do (dolist (passage (chunk-passages content))
               (when (>= (passage-end passage) since)
                 (funcall function passage)))))
