"""The real `ollama` client gets from this gateway what it gets from Ollama."""

from collections.abc import AsyncIterator

import httpx
import ollama
import pytest

from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead, failing
from support.processes.gateway_process import RunningGateway

SAY = [{"role": "user", "content": "one two three"}]


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: where
    """
    return f"rain in {city}"


def client_of(gateway: RunningGateway) -> ollama.AsyncClient:
    return ollama.AsyncClient(host=gateway.url, timeout=60)


async def thinking_and_calling(task: pb.Task) -> AsyncIterator[pb.Result]:
    yield pb.Result(reasoning="hm", tokens=[1])
    yield pb.Result(text="I look.", tokens=[2])
    call = pb.ToolCallPart(index=0, id="call_a", name="weather", arguments='{"city":')
    yield pb.Result(tool_calls=[call], tokens=[3])
    yield pb.Result(
        tool_calls=[pb.ToolCallPart(index=0, arguments=' "Oslo"}')],
        tokens=[4],
        final=True,
        finish_reason=pb.FINISH_REASON_TOOL_CALLS,
        usage=pb.Usage(prompt_tokens=40, completion_tokens=4, reasoning_tokens=1),
    )


async def test_chat_is_answered_whole_and_streamed(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = client_of(gateway)
    options = {"num_predict": 9, "temperature": 0.5, "seed": 3, "repeat_penalty": 1.2, "num_ctx": 1}
    whole = await client.chat("stub-chat:latest", SAY, options={**options, "stop": ["x"]})
    assert whole.message.role == "assistant" and whole.message.content == "one two three"
    assert (whole.done, whole.done_reason, whole.model) == (True, "stop", "stub-chat:latest")
    assert (whole.prompt_eval_count, whole.eval_count) == (7, 3)
    assert whole.total_duration >= whole.eval_duration >= 0
    text = head.tasks[0].text
    assert (head.tasks[0].model, text.max_tokens, text.seed, list(text.stop)) == (
        *("stub-chat", 9, 3),
        ["x"],
    )
    assert round(text.sampling.repetition_penalty, 3) == 1.2
    parts = [part async for part in await client.chat("stub-chat", SAY, stream=True)]
    assert [part.message.content for part in parts] == ["one", " two", " three", ""]
    assert [part.done for part in parts] == [False, False, False, True]
    assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (7, 3)


async def test_thoughts_and_calls_are_told(gateway: RunningGateway, head: ScriptedHead) -> None:
    head.script = thinking_and_calling
    client = client_of(gateway)
    whole = await client.chat("stub-chat", SAY, tools=[weather])
    parts = [
        part async for part in await client.chat("stub-chat", SAY, tools=[weather], stream=True)
    ]
    assert head.tasks[0].text.tools[0].name == "weather"
    assert whole.message.thinking == "hm" and whole.message.content == "I look."
    assert "".join(part.message.thinking or "" for part in parts) == "hm"
    for calls in (
        whole.message.tool_calls,
        [call for part in parts for call in part.message.tool_calls or ()],
    ):
        (call,) = calls
        assert (call.function.name, dict(call.function.arguments)) == ("weather", {"city": "Oslo"})
    hidden = await client.chat("stub-chat", SAY, think=False)
    assert not hidden.message.thinking


async def test_results_of_tools_find_their_calls(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    def call(city: str) -> dict[str, object]:
        return {"function": {"name": "weather", "arguments": {"city": city}}}

    await client_of(gateway).chat(
        "stub-chat",
        [
            *SAY,
            {"role": "assistant", "content": "", "tool_calls": [call("Oslo"), call("Rome")]},
            {"role": "tool", "content": "rain", "tool_name": "weather"},
            {"role": "tool", "content": "sun"},
        ],
    )
    _, asked, *results = head.tasks[0].text.messages
    ids = [one.id for one in asked.tool_calls]
    assert len(set(ids)) == 2
    assert [result.tool_call_id for result in results] == ids


async def test_generate_takes_a_turn_a_raw_text_a_format_and_no_prompt_at_all(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = client_of(gateway)
    answer = await client.generate("stub-chat", "one two", system="be brief", format="json")
    assert answer.response == "one two"
    said = [(m.role, m.content) for m in head.tasks[0].text.messages]
    assert said == [("system", "be brief"), ("user", "one two")]
    assert head.tasks[0].text.constraint.json
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    await client.generate("stub-chat", "x", format=schema, think="low")
    assert '"integer"' in head.tasks[1].text.constraint.json_schema
    assert head.tasks[1].text.reasoning_effort == "low"
    raw = await client.generate("stub-chat", "d e f", raw=True)
    assert (raw.response, head.tasks[2].text.prompt) == ("d e f", "d e f")
    loaded = await client.generate("stub-chat")
    assert (loaded.done_reason, loaded.response) == ("load", "")
    assert head.tasks[3].WhichOneof("work") == "load"
    with pytest.raises(ollama.ResponseError, match="suffix"):
        await client.generate("stub-chat", "x", suffix="y")


async def test_texts_are_embedded(gateway: RunningGateway, head: ScriptedHead) -> None:
    client = client_of(gateway)
    answer = await client.embed("stub-embed", ["one", "two"])
    assert len(answer.embeddings) == 2 and answer.prompt_eval_count > 0
    one = await client.embed("stub-embed", "one", dimensions=2)
    assert head.tasks[1].embed.dimensions == 2
    assert list(one.embeddings[0]) == list(answer.embeddings[0])
    old = await client.embeddings("stub-embed", "one")
    assert list(old.embedding) == list(answer.embeddings[0])


async def test_models_are_listed_shown_and_pulled(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = client_of(gateway)
    listed = {model.model for model in (await client.list()).models}
    assert {"stub-chat", "stub/image", "stub-embed"} < listed
    running = (await client.ps()).models
    assert {model.name for model in running} == listed
    shown = await client.show("stub-chat")
    assert shown.capabilities == ["completion"]
    assert (await client.show("stub-embed")).capabilities == ["embedding"]
    with pytest.raises(ollama.ResponseError, match="other") as missing:
        await client.show("other")
    assert missing.value.status_code == 404

    async def loading(task: pb.Task) -> AsyncIterator[pb.Result]:
        assert task.WhichOneof("work") == "load"
        yield pb.Result(progress=pb.Progress(phase="download", done=1, total=4))
        yield pb.Result(progress=pb.Progress(phase="load", done=1, total=2))
        yield pb.Result(final=True)

    head.script = loading
    told = [p async for p in await client.pull("hf.co/owner/name", stream=True)]
    assert [(p.status, p.completed, p.total) for p in told] == [
        ("downloading", 1, 4),
        ("loading", 1, 2),
        ("success", None, None),
    ]
    assert (await client.pull("hf.co/owner/name")).status == "success"
    assert head.tasks[-1].model == "owner/name"


async def test_errors_are_sentences_whole_and_in_streams(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = client_of(gateway)
    head.script = failing(pb.MODEL_NOT_FOUND, "there is no such model")
    with pytest.raises(ollama.ResponseError, match="there is no such model") as refused:
        await client.chat("stub-chat", SAY)
    assert refused.value.status_code == 404

    async def breaking(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        async for part in failing(pb.WORKER_LOST, "it is lost")(task):
            yield part

    head.script = breaking
    with pytest.raises(ollama.ResponseError, match="it is lost"):
        async for _ in await client.chat("stub-chat", SAY, stream=True):
            pass


async def test_refusals_before_any_work_are_sentences_too(
    start_gateway: StartGateway, keys: KeyFile
) -> None:
    keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    client = client_of(gateway)
    for asked in (client.chat("stub-chat", SAY), client.list()):
        with pytest.raises(ollama.ResponseError) as refused:
            await asked
        assert refused.value.status_code == 401
        assert refused.value.error.startswith("an API key is needed")


async def test_streams_are_lines_of_json(gateway: RunningGateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        body = {"model": "stub-chat", "messages": SAY}
        answer = await http.post("/api/chat", json=body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.count("\n") == 4
