"""The head: accepts tasks, gives each to the best worker, and relays the answers.

Start reading at `dispatcher`. Everything but `daemon` is free of I/O: it gets
messages and the time, and sends through a `Link`.
"""
