"""The most that strangers can make the gateway hold or wait for, and what happens at each limit.

Each docstring says "what: what happens". A test compares them with the table
in docs/gateway.md. Limits that an operator sets are in `settings`
(`max_body_bytes`, `request_timeout`, limits for each key).
"""

KIB = 1 << 10
MIB = 1 << 20

HEADER_BYTES = 32 * KIB
"""A request line with its header lines: 431, and the connection is closed."""
HEADER_LINES = 100
"""Header lines, trailers included: 431, and the connection is closed."""
FRAMING_BYTES = 16 * KIB
"""Chunk extensions and trailers, beyond eight times the body: 431, and the connection is closed."""
FRAMING_SHARE = 8
"""Bytes of framing that each byte of a chunked body may have; chunks of one byte need five."""
PIECE = 8 * KIB
"""Bytes that the HTTP parser gets before limits are checked again."""
PIPELINED = 64
"""Requests that wait on one connection behind another: the connection is closed."""
DISCARDED_BYTES = 16 * MIB
"""A body that nobody reads: the connection is closed."""
BODIES_BYTES = 512 * MIB
"""Bodies of all running requests: 429."""
CLIENT_BODIES_BYTES = 256 * MIB
"""Bodies of one client's running requests: 429."""
CONNECTIONS = 8192
"""Open connections: the one that has been idle for longest is closed; if none is, 503."""
BACKLOG = 4096
"""Connections that wait to be accepted: the kernel keeps others waiting."""

HEADER_PATIENCE = 30.0
"""Time for the header of a request to arrive: the connection is closed."""
BODY_PATIENCE = 30.0
"""Time for the body of a request to arrive: 408."""
PACE_BYTES = 128 * KIB
"""The slowest that a body may arrive after that, in a second: 408."""
KEEP_ALIVE = 75
"""Time between an answer and the next request: the connection is closed."""
UNREAD_PATIENCE = 60.0
"""Time for which a client reads nothing of its answer: the connection is closed."""
LINGER = 2.0
"""Time for a refused client to read the reason: the connection is closed."""
PROVIDER_PATIENCE = 10.0
"""Time for a login provider to answer: 502."""
PROVIDER_BYTES = 256 * KIB
"""An answer of a login provider: 502."""

CHOICES = 16
"""Answers to one prompt, `n`: 400."""
PROMPTS = 64
"""Prompts in one request: 400."""
ANSWERS = 128
"""Answers to one request, prompts times `n`: 400."""
IMAGES = 10
"""Images of one request, `n`: 400."""
PARTIAL_IMAGES = 3
"""Partial images of each, `partial_images`: 400."""
INPUTS = 2048
"""Texts to embed in one request: 400."""
DOCUMENTS = 2048
"""Documents to rank in one request: 400."""
RECORDING_BYTES = 25 * MIB
"""A recording to write down: 400."""
SPOKEN = 4096
"""Characters of a text to say: 400."""
INPUT_TOKENS = 65_536
"""Tokens of a text to embed that comes as tokens: 400."""
MESSAGES = 4096
"""Messages in one conversation: 400."""
TOOLS = 128
"""Tools of one request, and calls in one message: 400."""
TOOL_NAME = 128
"""Characters of a tool's name: 400."""
SCHEMA_BYTES = 256 * KIB
"""A schema, a regular expression or a grammar: 400."""
SCHEMA_DEPTH = 64
"""Levels of a schema: 400."""
LOGIT_BIASES = 1024
"""Tokens of a `logit_bias`: 400."""
CHOSEN = 1024
"""Texts of a `choice`: 400."""
MEDIA = 16
"""Images and recordings in one conversation: 400."""
MEDIA_BYTES = 20 * MIB
"""An image that is fetched: 400."""
FETCH_PATIENCE = 20.0
"""Time for an image to be fetched: 400."""
REDIRECTS = 3
"""Redirects of an image that is fetched: 400."""
FORM_PARTS = 64
"""Parts of a form: 400."""
PART_HEADERS = 8
"""Header lines of a part of a form: 400."""
PART_HEADER_BYTES = 2 * KIB
"""A header line of a part of a form: 400."""
FIELD_BYTES = 256 * KIB
"""A part of a form that is not a file: 400."""
RESPONSES = 1000
"""Responses of one client that are kept, to be continued: the one unused for longest is dropped."""
CLIENT_RESPONSES_BYTES = 64 * MIB
"""Responses of one client, with their input: the one unused for longest is dropped."""
RESPONSES_BYTES = 256 * MIB
"""Responses of all clients, with their input: the one unused for longest is dropped."""
RESPONSE_PATIENCE = 86400.0
"""Time for which a response is kept unused: it is dropped."""
ERROR_TEXT = 2000
"""Characters of a request that an error quotes: the rest is left out."""

BENCH_STREAMS = 64
"""Streams at once of a bench: 400."""
BENCH_TOKENS = 512
"""Tokens of an answer in a bench: 400."""
BENCH_WORKERS = 256
"""Workers that a bench names, and tags: 400."""
KEPT_MEASUREMENTS = 500
"""Results of benches that are kept: the oldest is dropped."""

STATUS_PATIENCE = 10.0
"""Time for the head to tell of its tasks or its policy: 504."""
KEPT_REQUESTS = 30
"""Finished requests that the page shows: the oldest is dropped."""
USAGE_ROWS = 200_000
"""Kept rows of what was used, one for each key, model and day: the oldest day is dropped."""
USAGE_DAYS = 400
"""Days of use that one answer tells of: the rest is on the next page."""
USAGE_RESULTS = 10_000
"""Results of use in one answer: the rest of the days is on the next page."""
PENDING_USES = 20_000
"""Rows of what was used that wait to be written: what comes then is not counted."""
KEY_LABELS = 1000
"""Names of keys in metrics: the rest is counted as `other`."""
KNOWN_CLIENTS = 10_000
"""Clients whose use is remembered, for their limits: the one that was idle longest is forgotten."""
