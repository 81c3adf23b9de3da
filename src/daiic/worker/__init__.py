"""The worker: loads models and runs tasks on them.

`daemon` is where to start reading. Engines (`text`, `image`, `embedding`) run
models; `manager` decides which are in memory; `tasks` runs what heads send.
torch is imported only by engines and `backend`, after the daemon has its socket.
"""
