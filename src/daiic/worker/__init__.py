"""The worker: loads models and runs tasks on them.

`daemon` is where to start reading. `tasks` runs what heads send; `models` are
the files, `memory` decides which of them are loaded, and `engines` run them.
torch is imported only by engines and by what measures memory, after the daemon
has its socket.
"""
