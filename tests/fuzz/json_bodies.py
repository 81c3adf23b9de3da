"""Sends bodies to each endpoint of a gateway; each is answered, or refused with a reason.

By hand: `python tests/fuzz/driver.py json_bodies --coverage 900` (see there). The first byte of an
input chooses the endpoint.
"""

import json
from collections.abc import Callable

from fuzz.bodies import BODIES
from fuzz.posts import check_refusal, post, with_gateway
from support.gateway_in_process import GatewayInProcess

PATHS = list(dict.fromkeys(path for path, _ in BODIES))
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

    async def send(gateway: GatewayInProcess, data: bytes) -> None:
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

    return with_gateway(send, only_local_names=True)  # whose clients may manage models
