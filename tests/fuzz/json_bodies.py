"""Sends bodies to each endpoint of a gateway; each is answered, or refused with a reason.

By hand: `python tests/fuzz/driver.py json_bodies --coverage 900` (see there). The first byte of an
input chooses the endpoint.
"""

import asyncio
import json
import logging
from collections.abc import Callable

import structlog

from fuzz.bodies import BODIES
from support.gateway_in_process import GatewayInProcess
from support.peers.scripted_head import able_worker

PATHS = list(dict.fromkeys(path for path, _ in BODIES))
LONGEST_ERROR = 8000
ENDS = (
    "[DONE]",
    "image_generation.completed",
    "response.completed",
    "message_stop",
    '"done":true',
    '"status":"success"',
    '"error"',
)
"""What the last part of a stream has; each API ends it in its own way."""

SAMPLES = [bytes([PATHS.index(path)]) + json.dumps(body).encode() for path, body in BODIES]
WORDS = [
    *(b'"', b"[", b"]", b"{", b"}", b":", b",", b"null", b"true", b"false", b"-", b"0", b"9", b"e"),
    *(b"NaN", b"Infinity", b"1e999", b"-1e999", b"1e-999", b"0.1", b"9" * 60, b"-0", b"2147483648"),
    *(b"18446744073709551616", b"-9223372036854775809", b"9007199254740993", b"0x0", b"99999999"),
    *(
        b'"\\ud800"',
        b"\\udc00\\ud800",
        b"\\u0000",
        b"\\",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\x1b[2J",
    ),
    *(b'{"a":', b'[{"type":"text","text":', b'"model":"other",', b'"n":16,', b'"stream":true,'),
    *(f'"{key}":'.encode() for _, body in BODIES for key in body),
]


def target() -> Callable[[bytes], None]:
    """Return what posts one body to a gateway that lives as long as the run."""
    loop = asyncio.new_event_loop()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def begin() -> GatewayInProcess:
        gateway = GatewayInProcess(only_local_names=True)  # whose clients may manage models
        gateway.cluster.now = able_worker()
        gateway.view.update(gateway.cluster.now)
        return gateway

    gateway = loop.run_until_complete(begin())

    async def send(data: bytes) -> None:
        path, body = PATHS[data[0] % len(PATHS) if data else 0], data[1:]
        status, answer, media_type = await post(gateway, path, body)
        if status != 200:
            assert status in (400, 404), (status, answer)
            check_refusal(answer)
        elif media_type.startswith("audio/"):
            assert answer
        elif media_type in ("text/event-stream", "application/x-ndjson"):
            last = answer.decode().strip().rpartition("\n")[2]
            assert any(end in last for end in ENDS), last
        else:
            assert json.loads(answer).get("error") is None
        gateway.cluster.tasks.clear()

    return lambda data: loop.run_until_complete(send(data))


def check_refusal(answer: bytes) -> None:
    """Check that `answer` says what is wrong, in a few words; of Ollama's API it is a text."""
    assert len(answer) < LONGEST_ERROR
    error = json.loads(answer)["error"]
    assert error if isinstance(error, str) else error["message"]


async def post(
    gateway: GatewayInProcess, path: str, body: bytes, content_type: bytes = b"application/json"
) -> tuple[int, bytes, str]:
    """Return the status, the body and its media type."""
    started: dict[str, object] = {}
    answer = bytearray()
    asked = False

    async def receive() -> dict[str, object]:
        nonlocal asked
        if asked:
            await asyncio.Future()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            answer.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "DELETE" if path == "/api/delete" else "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", content_type)],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 7700),
        "state": {},
    }
    await gateway.app(scope, receive, send)
    headers = dict(started["headers"])
    return started["status"], bytes(answer), headers[b"content-type"].decode().partition(";")[0]
