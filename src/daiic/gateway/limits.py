"""What strangers can make the gateway hold or wait for at most, and what happens at each bound.

A docstring here says "what: what happens", and docs/gateway.md has a table of
them, which a test compares. What an operator sets is in `settings`
(`max_body_bytes`, `request_timeout`, limits per key).
"""

KIB = 1 << 10
MIB = 1 << 20

HEADER_BYTES = 32 * KIB
"""A request line with its header lines: 431, and the connection ends."""
HEADER_LINES = 100
"""Header lines, trailers included: 431, and the connection ends."""
FRAMING_BYTES = 16 * KIB
"""Chunk extensions and trailers, beyond eight times the body: 431, and the connection ends."""
FRAMING_SHARE = 8
"""Bytes of framing that each byte of a chunked body may have; one byte a chunk needs five."""
PIECE = 8 * KIB
"""Bytes that the HTTP parser is fed before bounds are looked at again."""
PIPELINED = 64
"""Requests that wait on one connection behind another: the connection ends."""
DISCARDED_BYTES = 16 * MIB
"""A body that nobody waits for: the connection ends."""
BODIES_BYTES = 512 * MIB
"""Bodies of all requests in work: 429."""
CLIENT_BODIES_BYTES = 256 * MIB
"""Bodies of one client's requests in work: 429."""
CONNECTIONS = 8192
"""Open connections: the one without a request for longest ends; if all have one, 503."""
BACKLOG = 4096
"""Connections that wait to be accepted: the kernel lets more of them wait outside."""

HEADER_PATIENCE = 30.0
"""Time for the header of a request to arrive: the connection ends."""
BODY_PATIENCE = 30.0
"""Time for the body of a request to arrive: 408."""
KEEP_ALIVE = 75
"""Time between an answer and the next request: the connection ends."""
UNREAD_PATIENCE = 60.0
"""Time in which a client takes in nothing of its answer: the connection ends."""
LINGER = 2.0
"""Time for a refused client to read why: the connection ends."""

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
"""Characters that an error quotes of a request: the rest is left out."""

KEPT_REQUESTS = 30
"""Ended requests that the page still shows: the oldest goes."""
KNOWN_CLIENTS = 10_000
"""Clients whose use is remembered, for limits: the one unseen for longest is forgotten."""
