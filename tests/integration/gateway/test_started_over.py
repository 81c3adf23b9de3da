"""An answer that another model begins again: nobody gets halves of two answers."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest

from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import PNG, ScriptedHead
from support.processes.gateway_process import RunningGateway

SAY = [{"role": "user", "content": "hello"}]
USAGE = pb.Usage(prompt_tokens=1, completion_tokens=2)
NEW = pb.ModelIdentity(weights="other")


async def text_again(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Say "old", and then "new one" from the beginning."""
    yield pb.Result(text="old ", tokens=[1])
    await asyncio.sleep(0.05)  # so that "old" is on its way before
    yield pb.Result(text="new", tokens=[2], started_over=True, model=NEW)
    yield pb.Result(text=" one", tokens=[3])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP, usage=USAGE)


async def test_a_whole_answer_is_that_of_the_last_run(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = text_again
    client = gateway.openai
    chat = await client.chat.completions.create(model="stub-chat", messages=SAY)
    assert chat.choices[0].message.content == "new one"
    assert chat.usage.completion_tokens == 2
    completion = await client.completions.create(model="stub-chat", prompt="x", n=2)
    assert [choice.text for choice in completion.choices] == ["new one", "new one"]


@pytest.mark.parametrize("n", [1, 2])
async def test_a_stream_that_has_sent_text_ends_with_an_error_that_says_to_ask_again(
    gateway: RunningGateway, head: ScriptedHead, n: int
) -> None:
    go_on = asyncio.Event()

    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="old", tokens=[1])
        await go_on.wait()
        yield pb.Result(text="new", tokens=[2], started_over=True, model=NEW)
        await asyncio.Event().wait()

    head.script = script
    stream = await gateway.openai.chat.completions.create(
        model="stub-chat", messages=SAY, stream=True, n=n
    )
    said = []
    with pytest.raises(openai.APIError, match="send the request again") as ended:
        async for event in stream:
            said.append(event.choices[0].delta.content)
            go_on.set()
    assert (ended.value.code, ended.value.type) == ("answer_started_over", "server_error")
    assert "old" in said and "new" not in said
    # What runs for nobody is cancelled.
    await asyncio.wait_for(head.cancelled.get(), 5)


async def test_a_stream_that_has_sent_no_text_goes_on(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(progress=pb.Progress(phase="load", done=1, total=2))
        yield pb.Result(text="new", tokens=[2], started_over=True, model=NEW)
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP, usage=USAGE)

    head.script = script
    stream = await gateway.openai.completions.create(model="stub-chat", prompt="x", stream=True)
    assert "".join([event.choices[0].text async for event in stream]) == "new"


@pytest.mark.parametrize("stream", [False, True])
async def test_images_are_those_of_the_last_run(
    gateway: RunningGateway, head: ScriptedHead, stream: bool
) -> None:
    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(images=[pb.Image(png=b"old", seed=1)])
        yield pb.Result(progress=pb.Progress(phase="steps", done=1, total=2), started_over=True)
        yield pb.Result(images=[pb.Image(png=PNG, seed=2)])
        yield pb.Result(images=[pb.Image(png=PNG, seed=3)], final=True)

    head.script = script
    async with gateway.http as http:
        answer = await http.post(
            "/v1/images/generations",
            json={
                "model": "stub/image",
                "prompt": "x",
                "n": 2,
                "response_format": "b64_json",
                "stream": stream,
            },
        )
    assert answer.status_code == 200
    assert [f'"seed":{seed}' in answer.text for seed in (1, 2, 3)] == [False, True, True]


async def test_embeddings_are_those_of_the_last_run(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(embeddings=[pb.Embedding(values=[1])])
        yield pb.Result(
            embeddings=[pb.Embedding(values=[2])], started_over=True, final=True, usage=USAGE
        )

    head.script = script
    answer = await gateway.openai.embeddings.create(model="stub-embed", input="a")
    assert [item.embedding for item in answer.data] == [[2.0]]
