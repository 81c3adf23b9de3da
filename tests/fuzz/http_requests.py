"""Sends bytes to a gateway's connections; each gets an answer or is refused, and nothing stays.

By hand: `python tests/fuzz/driver.py http_requests --coverage 900` (see there). The first byte of
an input says how it is cut into pieces, and whether the gateway asks for keys.
"""

import asyncio
import logging
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

from daiic.gateway.http.api_keys import KeyFile
from daiic.gateway.limits import DISCARDED_BYTES, PIPELINED
from support.gateway_in_process import READ, GatewayInProcess

PIECES = (READ, 1, 7, 100, 1000, 8192, 8193, 20_000)

_JSON = b"Content-Type: application/json\r\n"
_BODY = b'{"model":"stub-chat","prompt":"a b","stream":true}'
_POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" + _JSON
SAMPLES = [
    first + request
    for first in (b"\0", b"\x02", b"\x85")
    for request in (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models/stub%2Fimage?x=y HTTP/1.1\r\nHost: [::1]:7700\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\nGET /page/page.js HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nwhat follows",
        b"GET /api/cluster HTTP/1.1\r\nHost: h\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n",
        _POST + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY,
        _POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY,
        _POST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"%x;a=b\r\n%b\r\n0\r\nX-Trailer: x\r\n\r\n" % (len(_BODY), _BODY),
        _POST + b"Authorization: Bearer daiic-00000000-x\r\nContent-Length: 1000000\r\n\r\n{",
    )
]
WORDS = [
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"%00", b"%ff", b"\xff", b"a"),
    *(b"GET ", b"POST ", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http://a", b"*", b"//", b"?"),
    *(b"Host: ", b"Host: [\r\n", b"Host: localhost\r\n", b"Host: evil.example\r\n", b"[::1]"),
    *(b"Content-Length: 0\r\n", b"Content-Length: 99999999999999999999\r\n", b"-1", b"+1"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        b"1\r\nx\r\n",
        b"ffffffffffffffff\r\n",
        b";a",
    ),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\n", b"a: b\r\n"),
    *(b"Authorization: Bearer x\r\n", b"X-Request-Id: x\r\n", b"Origin: null\r\n", _JSON, _BODY),
    *(b"/v1/chat/completions", b"/v1/embeddings", b"/v1/images/files/x.png", b"/metrics", b"/.."),
]

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_FINE = {100, 200, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 503}


def target() -> Callable[[bytes], None]:
    """Return what sends one input to a gateway that lives as long as the run."""
    loop = asyncio.new_event_loop()
    errors: list[object] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("uvicorn.error").addHandler(_Raised(errors))
    logging.getLogger("uvicorn.error").propagate = False

    async def begin() -> tuple[GatewayInProcess, GatewayInProcess]:
        keys = KeyFile(Path(tempfile.mkdtemp()) / "keys.json")
        keys.create("ann")
        return GatewayInProcess(only_local_names=True), GatewayInProcess(keys=keys)

    gateways = loop.run_until_complete(begin())

    async def talk(data: bytes) -> None:
        how, sent = data[0] if data else 0, data[1:]
        gateway, size = gateways[how >> 7], PIECES[how & 7]
        size = max(size, len(sent) // 200)
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        taken, answer = await gateway.talk(pieces)
        assert not errors, errors
        assert taken <= DISCARDED_BYTES
        statuses = [int(code) for code in _STATUS.findall(answer)]
        assert set(statuses) <= _FINE, answer
        assert not answer or answer.startswith(b"HTTP/1.1 "), answer
        assert len(statuses) <= len(sent) // 10 + 1, "more answers than requests"
        assert not gateway.state.tasks, "a request goes on although its client is gone"
        assert not gateway.state.connections, "a connection is kept although it is closed"
        assert not gateway.connection_limit.idle_count, "a connection is kept although it is closed"
        assert len(gateway.cluster.tasks) <= PIPELINED + 1
        gateway.cluster.tasks.clear()

    return lambda data: loop.run_until_complete(talk(data))


class _Raised(logging.Handler):
    """Keeps what uvicorn says of exceptions in the application."""

    def __init__(self, into: list[object]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append((record.getMessage(), record.exc_info))
