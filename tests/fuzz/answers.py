"""Answers requests with results of any content, in which the gateway finds nothing to fail at.

By hand: `python tests/fuzz/driver.py answers --coverage 900` (see there). The first byte of an
input chooses the request; the rest are serialized results, with SEPARATOR between them.
"""

import json
from collections.abc import AsyncIterator, Callable

from google.protobuf.message import DecodeError

from daiic.wire import daiic_pb2 as pb
from fuzz import forms
from fuzz.bodies import BODIES
from fuzz.posts import post, with_gateway
from support.gateway_in_process import GatewayInProcess
from support.peers.scripted_head import PNG

SEPARATOR = b"\x1e\x1e"
JSON = b"application/json"
REQUESTS = [
    *((path, json.dumps(body).encode(), JSON) for path, body in BODIES),
    *(
        (forms.PATHS[data[0]], *reversed(data[1:].split(b"\n", 1)))
        for data in forms.SAMPLES
        if data[0] >= forms.PATHS.index("/v1/audio/transcriptions")
    ),
]
"""Path, body and media type of each."""

_USAGE = pb.Usage(prompt_tokens=7, completion_tokens=3, reasoning_tokens=1, cached_tokens=2)
_CALL = pb.ToolCallPart(index=0, id="a", name="f", arguments='{"x":1}')
_LOGPROBS = pb.TokenLogprobs(
    token=pb.TokenLogprob(token=1, bytes=b"a", logprob=-0.5),
    likeliest=[pb.TokenLogprob(token=2, bytes=b"\xff", logprob=-1)],
)
_SEGMENT = pb.Segment(end=1.5, text="one two", words=[pb.Word(text="one", end=0.5)], tokens=[1])
_ANSWERS = (
    [
        pb.Result(reasoning="x", tokens=[1]),
        pb.Result(text="a b", tokens=[2, 3], logprobs=[_LOGPROBS]),
        pb.Result(tool_calls=[_CALL], tokens=[4]),
        pb.Result(final=True, finish_reason=pb.FINISH_REASON_TOOL_CALLS, usage=_USAGE),
    ],
    [pb.Result(text="a"), pb.Result(started_over=True, text="b"), pb.Result(final=True)],
    [pb.Result(progress=pb.Progress(phase="download", done=1, total=2)), pb.Result(final=True)],
    [pb.Result(final=True, embeddings=[pb.Embedding(values=[0.5, -1])], usage=_USAGE)],
    [pb.Result(final=True, scores=[0.5, 0.25], usage=_USAGE)],
    [
        pb.Result(previews=[pb.Preview(number=1, media=pb.Media(data=PNG, type="image/png"))]),
        pb.Result(final=True, images=[pb.Image(png=PNG, seed=1)]),
    ],
    [
        pb.Result(segments=[_SEGMENT], text="one two", language="en", seconds=1.5),
        pb.Result(final=True, usage=_USAGE),
    ],
    [
        pb.Result(speech=pb.Speech(samples=b"\0\1" * 240, rate=24_000), tokens=[0]),
        pb.Result(final=True, usage=_USAGE),
    ],
)
_USUAL = {
    "/v1/images/generations": 5,
    "/v1/embeddings": 3,
    "/v1/rerank": 4,
    "/v1/audio/speech": 7,
    "/v1/audio/transcriptions": 6,
    "/v1/audio/translations": 6,
    "/api/embed": 3,
    "/api/embeddings": 3,
    "/api/pull": 2,
    "/api/models": 2,
    "/api/delete": 2,
}
"""Which of the answers fits; one of text fits all others."""
SAMPLES = [
    bytes([number])
    + SEPARATOR.join(part.SerializeToString() for part in _ANSWERS[_USUAL.get(path, 0)])
    for number, (path, _, _) in enumerate(REQUESTS)
] + [
    bytes([0]) + SEPARATOR.join(part.SerializeToString() for part in answer) for answer in _ANSWERS
]
WORDS = [
    *(SEPARATOR, b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff" * 9 + b"\x01", b"\x18\x01"),
    *(b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff"),  # not a number, and the infinities
    *(b"\0\0\0\0\0\0\xf8\x7f", b"\0\0\0\0\0\0\xf0\x7f", b"\xff\xff\xff\xff\xff\xff\xef\x7f"),
    *(b"{", b"}", b'"', b"[DONE]", b"\n\n", b"\r", "\u2028".encode(), "\U0001f600".encode()),
    *(part.SerializeToString() for answer in _ANSWERS for part in answer),
]


def results(data: bytes) -> list[pb.Result]:
    """Return those of `data` that can be read, up to the first that is final, with a final one."""
    found = []
    for each in data.split(SEPARATOR):
        try:
            found.append(pb.Result.FromString(each))
        except DecodeError:  # the mesh counts it and goes on
            continue
        # Only JSON clients get errors in results; the mesh has a message of its own for them.
        found[-1].ClearField("error")
        if found[-1].final:
            return found
    return [*found, pb.Result(final=True)]


def target() -> Callable[[bytes], None]:
    """Return what answers one request of a gateway that lives as long as the run."""

    async def ask(gateway: GatewayInProcess, data: bytes) -> None:
        path, body, content_type = REQUESTS[data[0] % len(REQUESTS) if data else 0]

        async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
            for part in results(data[1:]):
                yield part

        gateway.cluster.script = script
        status, answer, media_type = await post(gateway, path, body, content_type)
        assert b"the gateway failed" not in answer, (path, status, answer)
        if media_type == JSON.decode():
            json.loads(answer)

    return with_gateway(ask, only_local_names=True)
