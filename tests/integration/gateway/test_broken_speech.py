"""Speech whose making fails midway: nobody takes what there is of it for the whole."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead, failing
from support.processes.gateway_process import RunningGateway


@pytest.mark.parametrize("kind", ["wav", "pcm", "mp3", "opus"])
async def test_a_sound_file_that_breaks_off_has_no_end(
    gateway: RunningGateway, head: ScriptedHead, kind: str
) -> None:
    go_on = asyncio.Event()

    async def breaking(task: pb.Task) -> AsyncIterator[pb.Result]:
        sentence = pb.Speech(samples=bytes(96_000), rate=24_000)
        yield pb.Result(speech=sentence, tokens=[1])
        await go_on.wait()
        async for part in failing(pb.INTERNAL)(task):
            yield part

    head.script = breaking
    asked = {"model": "stub-chat", "input": "one two", "voice": "alloy", "response_format": kind}
    got = b""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            async with http.stream("POST", "/v1/audio/speech", json=asked) as answer:
                async for piece in answer.aiter_bytes():
                    got += piece
                    go_on.set()
    assert got
