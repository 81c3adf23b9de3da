(defpackage #:hydramesh/replay/measuring
  (:use #:cl)
  (:import-from #:hydramesh/replay/prompts #:hashes-of #:make-cache #:note-in #:prompt-tree #:share-in)
  (:import-from #:hydramesh/replay/record #:passage-begin #:record-held #:record-passages)
  (:import-from #:hydramesh/replay/service
                #:cached-share #:done-p #:make-services #:predicted #:services-alone #:services-expected
                #:services-kept #:services-loads #:services-own-loads #:services-profiles #:services-slowing
                #:services-usual-slowing #:stretch)
  (:import-from #:hydramesh/replay/speeds #:line #:profile-of #:read-time #:timed-p #:times-as-long)
  (:import-from #:hydramesh/storage/traffic
                #:passage-blocks #:passage-cold-p #:passage-end #:passage-model #:passage-prompt-tokens
                #:passage-ran #:passage-worker)
  (:export #:measure-services)
  (:documentation "What a record tells of its workers: how fast they read and answer, how much tasks that
run at once slow each other down, what they keep of prompts, and how long they load models."))
(in-package #:hydramesh/replay/measuring)

(defun by (key passages)
  "Return a list of the lists of those of PASSAGES that have the same KEY, in their order."
  (let ((table (make-hash-table :test #'equal)) (keys '()))
    (dolist (passage passages)
      (let ((key (funcall key passage)))
        (unless (gethash key table)
          (push key keys))
        (push passage (gethash key table))))
    (loop for key in (nreverse keys) collect (nreverse (gethash key table)))))

(defun measure-services (record seed)
  "Return what RECORD tells of workers; SEED is what is drawn with."
  (let* ((services (make-services :seed seed))
         (passages (append (record-held record) (coerce (record-passages record) 'list)))
         (ran (remove-if-not (lambda (passage)
                               (and (plusp (passage-ran passage)) (string/= (passage-worker passage) "")))
                             passages))
         (workers (by #'passage-worker ran))
         (crowd (make-hash-table :test #'eq)))
    (measure-prompts services passages)
    (dolist (those workers)
      (note-crowding those crowd))
    (measure-slowing services workers crowd)
    (dolist (those workers)
      (measure-worker services (passage-worker (first those)) those crowd))
    services))

;;; Tasks that run at once

(defun note-crowding (passages table)
  "Note in TABLE how many of PASSAGES, all of one worker, ran there while each did, on average."
  (let ((steps (sort (loop for passage in passages
                           collect (list (passage-begin passage) 1 passage)
                           collect (list (passage-end passage) -1 passage))
                     #'< :key #'first))
        (count 0) (area 0) (before 0))
    (loop for (at change passage) in steps
          do (incf area (* count (- at before)))
             (setf before at)
             (incf count change)
             (if (plusp change)
                 (setf (gethash passage table) area)
                 (setf (gethash passage table)
                       (max 1d0 (/ (float (- area (gethash passage table 0)) 1d0)
                                   (passage-ran passage))))))))

(defun slowing (points)
  "Return what each other task adds to one alone, from POINTS, conses of how many others and a time; NIL if
they do not tell."
  (multiple-value-bind (alone each) (line points)
    (cond ((null alone) nil)
          ((plusp alone) (max 0d0 (min 1d0 (/ each alone))))
          (t 1d0))))

(defun measure-slowing (services workers crowd)
  "Note how much tasks slow each other down on each of WORKERS, lists of passages; where too few tell, as
on all."
  (let* ((points (mapcar (lambda (those) (crowded-times those crowd)) workers))
         (usual (float (or (slowing (apply #'append points)) 0) 1d0)))
    (setf (services-usual-slowing services) usual)
    (loop for (passage) in workers
          for those in points
          do (setf (gethash (passage-worker passage) (services-slowing services))
                   (or (slowing those) usual)))))

(defun crowded-times (passages crowd)
  "Return conses of how many others ran beside each of PASSAGES, and how many times as long as usual it took."
  (loop for those in (by #'passage-model (remove-if-not #'timed-p passages))
        for profile = (profile-of those (constantly 1d0))
        append (loop for passage in those
                     collect (cons (1- (gethash passage crowd)) (times-as-long passage profile)))))

(defun measure-worker (services worker passages crowd)
  (let ((models (by #'passage-model (remove-if-not #'timed-p passages))))
    (flet ((stretched (passage) (stretch services worker (gethash passage crowd))))
      (dolist (those models)
        (setf (gethash (cons worker (passage-model (first those))) (services-profiles services))
              (profile-of those #'stretched)))
      (dolist (those (by #'passage-model passages))
        (let ((profile (gethash (cons worker (passage-model (first those))) (services-profiles services))))
          (dolist (passage those)
            (setf (gethash passage (services-alone services))
                  (alone passage profile (stretched passage))))
          (measure-loads services worker (remove-if-not #'passage-cold-p those) profile #'stretched))))))

;;; What a task took

(defun alone (passage profile stretch)
  "Return (read . make) of PASSAGE, but for STRETCH: what its worker took for it without loading the model."
  (let ((ran (/ (passage-ran passage) stretch)) (read (read-time passage)))
    (multiple-value-bind (usual-read usual-make)
        (if profile (predicted profile passage (cached-share passage)) (values 0d0 0d0))
      (cond ((passage-cold-p passage)
             (cons (float usual-read 1d0)
                   (float (if read (- ran (/ read stretch)) (min ran usual-make)) 1d0)))
            (read
             (cons (float (/ read stretch) 1d0) (float (- ran (/ read stretch)) 1d0)))
            (t
             (let ((part (if (plusp (+ usual-read usual-make)) (/ usual-read (+ usual-read usual-make)) 0d0)))
               (cons (float (* part ran) 1d0) (float (* (- 1d0 part) ran) 1d0))))))))

;;; Models that were not loaded

(defun measure-loads (services worker passages profile stretched)
  "Note how long WORKER took to load the model of PASSAGES, which all waited for that. Of those that waited
for the same, the first one tells. With PROFILE they are read and answered, which takes STRETCHED of one
times as long as alone."
  (let ((loaded-at 0) (loads '()))
    (dolist (passage (sort (copy-list passages) #'< :key #'passage-begin))
      (when (>= (passage-begin passage) loaded-at)
        (let ((load (time-loading passage profile (funcall stretched passage))))
          (setf loaded-at (+ (passage-begin passage) load)
                (gethash passage (services-own-loads services)) load)
          (when (done-p passage)
            (push load loads)))))
    (when loads
      (setf (gethash (cons worker (passage-model (first passages))) (services-loads services))
            (sort (coerce loads 'vector) #'<)))))

(defun time-loading (passage profile stretch)
  (multiple-value-bind (read make)
      (if profile (predicted profile passage (cached-share passage)) (values 0d0 0d0))
    (max 0 (round (if (read-time passage)
                      (- (read-time passage) (* stretch read))
                      (- (passage-ran passage) (* stretch (+ read make))))))))

;;; What is kept of prompts

(defun measure-prompts (services passages)
  "Note which part of each of PASSAGES its worker should have had, and which part of that it had."
  (let ((caches (make-hash-table :test #'equal)) (sums (make-hash-table :test #'equal))
        (tree (prompt-tree (coerce passages 'vector))))
    (loop for (nil what passage) in (prompt-steps passages)
          do (let* ((worker (passage-worker passage))
                    (hashes (hashes-of tree passage))
                    (cache (or (gethash worker caches) (setf (gethash worker caches) (make-cache)))))
               (ecase what
                 (:begin (note-expected services sums passage (share-in cache passage hashes)))
                 (:read (note-in cache passage hashes)))))
    (loop for key being the hash-keys of sums using (hash-value sum)
          do (setf (gethash key (services-kept services)) (/ (cdr sum) (car sum))))))

(defun note-expected (services sums passage expected)
  (when (plusp expected)
    (setf (gethash passage (services-expected services)) expected)
    (when (and (done-p passage) (plusp (passage-prompt-tokens passage)))
      (dolist (key (list (cons (passage-worker passage) (passage-model passage)) (passage-model passage)))
        (let ((sum (or (gethash key sums) (setf (gethash key sums) (cons 0 0)))))
          (incf (car sum) (float expected 1d0))
          (incf (cdr sum) (float (cached-share passage) 1d0)))))))

(defun prompt-steps (passages)
  "Return lists of when a worker began with one of PASSAGES, or had read it, in order."
  (stable-sort (loop for passage in passages
                     for begin = (passage-begin passage)
                     for read = (+ begin (or (read-time passage) (passage-ran passage)))
                     when (and (plusp (passage-blocks passage)) (plusp (passage-ran passage)))
                       collect (list begin :begin passage)
                       and collect (list read :read passage))
               #'< :key #'first))
