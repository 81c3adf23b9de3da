"""Posts forms to a gateway; each is answered, or refused with a reason.

By hand: `python tests/fuzz/driver.py forms --coverage 900` (see there). An input is the header that
tells the form's boundary, a line feed and the form.
"""

import asyncio
import json
import logging
from collections.abc import Callable

import structlog

from daiic.wire import daiic_pb2 as pb
from fuzz.json_bodies import LONGEST_ERROR, post
from support.gateway_in_process import GatewayInProcess

_TYPE = b"multipart/form-data; boundary=b\n"


def _part(field: str, content: bytes = b"x", *more: str) -> bytes:
    headers = [f'Content-Disposition: form-data; name="{field}"', *more]
    return b"--b\r\n" + "\r\n".join(headers).encode() + b"\r\n\r\n" + content + b"\r\n"


_FILE = 'image[]"; filename="a.png'
SAMPLES = [
    _TYPE + b"".join(parts) + b"--b--\r\n"
    for parts in (
        (
            _part(_FILE, b"\x89PNG\r\n", "Content-Type: image/png"),
            _part("prompt"),
            _part("n", b"2"),
        ),
        (
            _part("prompt"),
            _part(_FILE),
            _part('mask"; filename="b', b"--b\r\n"),
            _part("seed", b"1"),
        ),
        (_part(_FILE), _part("prompt"), _part("stream", b"true"), _part("partial_images", b"2")),
        (_part("prompt"), _part(_FILE), _part("output_format", b"webp"), _part("strength", b"0.5")),
    )
]
WORDS = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"--b",
        b"--b\r\n",
        b"--b--\r\n",
        b"\r\n\r\n",
        b"--",
        b":",
        b";",
        b'"',
    ),
    *(b"Content-Disposition: form-data; ", b'name="', b'filename="', b"filename*=UTF-8''x", b"\\"),
    *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Type: ", b"boundary=", b"\0", b"\xff"),
    *(b"prompt", b"image", b"mask", b"[]", b"[0]", b"n", b"size", b"64x64", b"null", b"nan", b"-1"),
    *(b"9" * 60, b"1e999", b"\x1b[2J", b"\xed\xa0\x80", b"model", b"__class__", b"__init__"),
]


def target() -> Callable[[bytes], None]:
    """Return what posts one form to a gateway that lives as long as the run."""
    loop = asyncio.new_event_loop()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def begin() -> GatewayInProcess:
        gateway = GatewayInProcess()
        for model in gateway.cluster.now.workers[0].heartbeat.models:
            if model.kind == pb.IMAGE:
                model.capabilities.extend([pb.PAINT, pb.EDIT, pb.FORMATS])
        gateway.view.update(gateway.cluster.now)
        return gateway

    gateway = loop.run_until_complete(begin())

    async def send(data: bytes) -> None:
        content_type, _, form = data.partition(b"\n")
        status, answer, stream = await post(gateway, "/v1/images/edits", form, content_type)
        said = answer.decode()
        if stream:
            *_, last = said.strip().split("\n\n")
            assert "image_edit.completed" in last or '"error"' in last
        elif status != 200:
            assert status in (400, 404, 415), (status, said)
            assert json.loads(said)["error"]["message"]
            assert len(said) < LONGEST_ERROR
        gateway.cluster.tasks.clear()

    return lambda data: loop.run_until_complete(send(data))
