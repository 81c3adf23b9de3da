;;;; What every use of the sources needs before it loads a system.

(require :asdf)

;; The status port is for programs on this machine or behind a proxy; TLS would load OpenSSL for nothing.
(push :hunchentoot-no-ssl *features*)
