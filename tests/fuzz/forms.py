"""Posts forms to a gateway; each is answered, or refused with a reason.

By hand: `python tests/fuzz/driver.py forms --coverage 900` (see there). An input is a byte that
chooses the endpoint, the header that tells the form's boundary, a line feed and the form.
"""

import json
from collections.abc import Callable

from fuzz.posts import check_refusal, post, with_gateway
from support.gateway_in_process import GatewayInProcess

PATHS = (
    "/v1/images/edits",
    "/v1/images/variations",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)

_TYPE = b"multipart/form-data; boundary=b\n"


def _part(field: str, content: bytes = b"x", *more: str) -> bytes:
    headers = [f'Content-Disposition: form-data; name="{field}"', *more]
    return b"--b\r\n" + "\r\n".join(headers).encode() + b"\r\n\r\n" + content + b"\r\n"


_FILE = 'image[]"; filename="a.png'
_SOUND = 'file"; filename="a.wav'
_HEAR = _part("model", b"stub-hear")
SAMPLES = [
    bytes([endpoint]) + _TYPE + b"".join(parts) + b"--b--\r\n"
    for endpoint, parts in (
        (
            0,
            (
                _part(_FILE, b"\x89PNG\r\n", "Content-Type: image/png"),
                _part("prompt"),
                _part("n", b"2"),
            ),
        ),
        (
            0,
            (
                _part("prompt"),
                _part(_FILE),
                _part('mask"; filename="b', b"--b\r\n"),
                _part("seed", b"1"),
            ),
        ),
        (
            0,
            (
                _part(_FILE),
                _part("prompt"),
                _part("stream", b"true"),
                _part("partial_images", b"2"),
            ),
        ),
        (
            0,
            (
                _part("prompt"),
                _part(_FILE),
                _part("output_format", b"webp"),
                _part("strength", b"0.5"),
            ),
        ),
        (1, (_part(_FILE), _part("n", b"2"), _part("response_format", b"b64_json"))),
        (2, (_HEAR, _part(_SOUND, b"RIFF", "Content-Type: audio/wav"), _part("language", b"en"))),
        (2, (_HEAR, _part(_SOUND), _part("stream", b"true"), _part("temperature", b"0.5"))),
        (
            2,
            (
                _HEAR,
                _part(_SOUND),
                _part("response_format", b"verbose_json"),
                _part("timestamp_granularities[]", b"word"),
                _part("timestamp_granularities[]", b"segment"),
            ),
        ),
        (3, (_HEAR, _part(_SOUND), _part("prompt"), _part("response_format", b"srt"))),
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
    *(
        b"9" * 60,
        b"1e999",
        b"\x1b[2J",
        b"\xed\xa0\x80",
        b"model",
        b"file",
        b"__class__",
        b"__init__",
    ),
]


def target() -> Callable[[bytes], None]:
    """Return what posts one form to a gateway that lives as long as the run."""

    async def send(gateway: GatewayInProcess, data: bytes) -> None:
        path = PATHS[data[0] % len(PATHS) if data else 0]
        content_type, _, form = data[1:].partition(b"\n")
        status, answer, media_type = await post(gateway, path, form, content_type)
        if status != 200:
            assert status in (400, 404, 415), (status, answer)
            check_refusal(answer)
        elif media_type == "text/event-stream":
            last = answer.decode().strip().rpartition("\n")[2]
            assert any(end in last for end in ("image_edit.completed", "[DONE]", '"error"')), last
        elif media_type == "application/json":
            assert json.loads(answer).get("error") is None
        else:
            assert media_type in ("text/plain", "text/vtt", "application/x-subrip"), media_type

    return with_gateway(send)
