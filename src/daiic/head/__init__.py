"""The head: takes tasks, gives each to the best worker, and relays the answers.

`dispatcher` is where to start reading. Everything but `daemon` is free of I/O:
it is given messages and the time, and sends through a `Link`.
"""
