(defpackage #:hydramesh/memory
  (:use #:cl)
  (:export #:prepare-heap)
  (:documentation "How much memory the heap may have, and how often it is cleaned.

A heap without room ends the process, so build.sh reserves more than the head's limits let into it:

     512 MiB  tasks that wait or run, encoded (tasks_memory)
     512 MiB  what was delivered of them (delivered_memory)
     512 MiB  parts of answers that are ahead of an earlier one (ahead_memory)
     512 MiB  a message of 256 MiB while it is handled, as it came and as it is passed on
     256 MiB  the ids of a million finished tasks, and 16384 clients
     128 MiB  heartbeats of 16 MiB, decoded
      32 MiB  what 16 other heads tell of 1024 workers each
      40 MiB  the hashes of 65536 prompts that are to be recorded, and which of 131072 blocks came when

What waits in the network, 512 MiB more, is libdcf's and not in the heap. Cleaning copies what is small,
and what is old and dead is found later than what is young, so the reserve is four times the sum. It is
address space: memory is taken when it is written to."))
(in-package #:hydramesh/memory)

(defparameter +nursery+ (ash 24 20)
  "Bytes that are allocated between two collections. A collection takes as long as there is to keep, a
few milliseconds, and everything waits for it.")

(defparameter +older+ (ash 64 20)
  "Bytes that have outlived collections before those are looked at too. What SBCL has for this is a
twentieth of the reserve; so much would be taken, and then take long.")

(defun prepare-heap ()
  "Set what a saved heap does not keep."
  (setf (sb-ext:bytes-consed-between-gcs) +nursery+)
  (loop for generation from 1 to sb-vm:+highest-normal-generation+
        do (setf (sb-ext:generation-bytes-consed-between-gcs generation) +older+))
  ;; The next collection was planned before, for when a twentieth of the reserve is taken.
  (sb-ext:gc))
