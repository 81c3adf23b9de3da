;;;; A greenhouse: how wet its beds are and how warm its air is comes from sensors of other programs, and a model
;;;; is asked for advice when a bed gets too dry.
;;;;
;;;;   hydramesh run greenhouse.lisp --domain-listen 127.0.0.1:7720 --heads 127.0.0.1:7717
;;;;   BED="bed 1" PROBE=/run/bed-1 hydramesh run greenhouse-bed.lisp --domain-listen 127.0.0.1:0 \
;;;;     --domain-peers 127.0.0.1:7720
;;;;   hydramesh readings
;;;;
;;;; It needs a worker with a model that answers; GREENHOUSE_MODEL names it.

(defvar *model* (or (uiop:getenvp "GREENHOUSE_MODEL") "daiic-tiny-chat"))

(defun ask-for-advice (bed value)
  (ask *model* (format nil "The soil of ~A is at ~,1F % moisture, which is too dry. What should I do?" bed value)
       :max-tokens 60
       :then (lambda (advice) (log-info "advice" :bed bed :advice advice))
       :else (lambda (error) (log-warning "no advice" :bed bed :reason (princ-to-string error)))))

(defsensor soil-moisture "How wet the soil of a bed is."
  (:unit "%")
  (:range 0 100)
  (:period 1 :second)
  (:silence 30 :seconds)
  (:window hourly 1 :hour :mean)
  (:threshold dry :below 25 :until 30)
  (:threshold too-wet :above 80 :until 70 :of hourly)
  (:on dry (bed value)
    (log-info "a bed is too dry" :bed bed :moisture value)
    (ask-for-advice bed value))
  (:on (over dry) (bed value)
    (log-info "a bed is wet enough again" :bed bed :moisture value))
  (:on too-wet (bed value)
    (log-info "a bed was too wet for an hour" :bed bed :moisture value))
  (:on silent (bed value)
    (log-warning "nothing is heard of a bed" :bed bed :moisture value)))

(defsensor air-temperature "How warm the air is."
  (:unit "°C")
  (:range -40 85)
  (:period 10 :seconds)
  (:threshold frost :below 2 :until 4)
  (:on frost (place value)
    (log-warning "frost is near" :place place :temperature value)))
