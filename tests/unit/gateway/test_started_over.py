"""A stream whose client is slow: text that was not sent yet can be taken back."""

import json
from collections.abc import AsyncGenerator

from daiic.wire import daiic_pb2 as pb
from support.gateway_in_process import GatewayInProcess, ScriptedCluster


async def test_text_that_waits_to_be_sent_is_dropped_when_the_answer_starts_over(
    monkeypatch,
) -> None:
    async def bursts(self, task: pb.Task) -> AsyncGenerator[list[pb.Result], None]:
        yield [
            pb.Result(text="old", tokens=[1]),
            pb.Result(text="new", tokens=[2], started_over=True),
            pb.Result(final=True),
        ]

    monkeypatch.setattr(ScriptedCluster, "bursts", bursts)
    gateway = GatewayInProcess()
    body = json.dumps({"model": "stub-chat", "prompt": "x", "stream": True}).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    _, answer = await gateway.talk([head + body])
    assert b'"text":"new"' in answer and b"old" not in answer and b"[DONE]" in answer
