"""What strangers can make the gateway hold or wait for at most, and what happens at each bound.

What an operator sets is in `settings` (`max_body_bytes`, `request_timeout`,
limits per key). docs/gateway.md has all of it as a table, which a test
compares with this file.
"""

KIB = 1 << 10
MIB = 1 << 20

HEADER_BYTES = 32 * KIB
"""A request line with its header lines: 431, and the connection ends."""
HEADER_LINES = 100
"""Header lines, trailers included: 431, and the connection ends."""
FRAMING_BYTES = 16 * KIB
"""Chunk sizes, extensions and trailers beyond `FRAMING_SHARE`: 431, and the connection ends."""
FRAMING_SHARE = 8
"""Bytes of framing that each byte of a chunked body may have; one byte a chunk needs five."""
PIECE = 8 * KIB
"""Bytes that the HTTP parser is fed before bounds are looked at again."""
PIPELINED = 64
"""Requests that wait on a connection behind the one that runs: the connection ends."""
DISCARDED_BYTES = 16 * MIB
"""Of a body that nobody waits for: the connection ends."""
CONNECTIONS = 8192
"""Open connections: the one that has been without a request longest ends; if none is, 503."""
BACKLOG = 4096
"""Connections that the kernel holds until they are accepted: it drops more, and clients retry."""

HEADER_PATIENCE = 30.0
"""Seconds in which the header of a request must arrive: the connection ends."""
BODY_PATIENCE = 30.0
"""Seconds in which the body of a request must arrive: 408."""
KEEP_ALIVE = 75
"""Seconds between an answer and the next request: the connection ends."""
UNREAD_PATIENCE = 60.0
"""Seconds in which a client takes in nothing of its answer: the connection ends."""
LINGER = 2.0
"""Seconds that a refused client has to read why, before the connection ends."""

CHOICES = 16
"""Answers to one prompt, `n`: 400."""
PROMPTS = 64
"""Prompts in one request: 400."""
ANSWERS = 128
"""Answers to one request, prompts times `n`: 400."""
INPUTS = 2048
"""Texts to embed in one request: 400."""
MESSAGES = 4096
"""Messages in one conversation: 400."""
ERROR_TEXT = 2000
"""Characters that an error says of a request: the rest is left out."""

KEPT_REQUESTS = 30
"""Requests that have ended and that the page still shows: the oldest goes."""
KNOWN_CLIENTS = 10_000
"""Clients whose use is remembered for their limits: the one longest unseen is forgotten."""
