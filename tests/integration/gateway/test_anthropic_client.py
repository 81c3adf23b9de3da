"""The real `anthropic` client gets from this gateway what it gets from Anthropic."""

from collections.abc import AsyncIterator

import anthropic
import pytest

from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead, failing
from support.processes.gateway_process import RunningGateway

SAY = [{"role": "user", "content": "one two three"}]
WEATHER = {
    "name": "weather",
    "description": "tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TIMES = {"max_retries": 0, "timeout": 60}


def client_of(gateway: RunningGateway) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key="unused", **TIMES)


async def thinking_and_calling(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Answer as a worker does whose model thinks, speaks, and calls two tools at once."""
    yield pb.Result(reasoning="the user ", tokens=[1])
    yield pb.Result(reasoning="asks", tokens=[2])
    yield pb.Result(text="I look.", tokens=[3])
    for part in (
        pb.ToolCallPart(index=0, id="call_a", name="weather", arguments='{"city":'),
        pb.ToolCallPart(index=0, arguments=' "Oslo"}'),
        pb.ToolCallPart(index=1, id="call_b", name="weather", arguments='{"city": "Rome"}'),
    ):
        yield pb.Result(tool_calls=[part], tokens=[4])
    yield pb.Result(
        final=True,
        finish_reason=pb.FINISH_REASON_TOOL_CALLS,
        usage=pb.Usage(prompt_tokens=40, completion_tokens=6, cached_tokens=32, reasoning_tokens=2),
    )


async def cut_off(task: pb.Task) -> AsyncIterator[pb.Result]:
    call = pb.ToolCallPart(index=0, id="call_a", name="weather", arguments='{"city": "Os')
    yield pb.Result(tool_calls=[call], tokens=[4])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_LENGTH)


async def test_message_is_answered_whole(gateway: RunningGateway, head: ScriptedHead) -> None:
    answer = await client_of(gateway).messages.create(
        model="stub-chat",
        max_tokens=9,
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        messages=SAY,
        stop_sequences=["x"],
        extra_body={"temperature": 0.5, "top_k": 3},
        metadata={"user_id": "somebody"},
    )
    assert [block.text for block in answer.content] == ["one two three"]
    assert (answer.role, answer.model, answer.stop_reason) == ("assistant", "stub-chat", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    text = head.tasks[0].text
    said = [(message.role, message.content) for message in text.messages]
    assert said == [("system", "be brief"), ("user", "one two three")]
    assert (list(text.stop), text.max_tokens, text.top_k) == (["x"], 9, 3)


async def test_message_is_streamed(gateway: RunningGateway) -> None:
    async with client_of(gateway).messages.stream(
        model="stub-chat", max_tokens=9, messages=SAY
    ) as stream:
        assert [text async for text in stream.text_stream] == ["one", " two", " three"]
        answer = await stream.get_final_message()
    assert answer.content[0].text == "one two three"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)


async def test_thoughts_text_and_calls_are_blocks_whole_and_streamed(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinking_and_calling
    asked = {"model": "stub-chat", "max_tokens": 99, "messages": SAY, "tools": [WEATHER]}
    client = client_of(gateway)
    whole = await client.messages.create(**asked)
    async with client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    for answer in (whole, streamed):
        assert [block.type for block in answer.content] == [
            *("thinking", "text", "tool_use", "tool_use")
        ]
        thinking, text, first, second = answer.content
        assert (thinking.thinking, text.text) == ("the user asks", "I look.")
        assert (first.id, first.name, first.input) == ("call_a", "weather", {"city": "Oslo"})
        assert (second.id, second.input) == ("call_b", {"city": "Rome"})
        assert answer.stop_reason == "tool_use"
        assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (8, 32)
    assert head.tasks[0].text.tools[0].parameters == (
        '{"type":"object","properties":{"city":{"type":"string"}}}'
    )


async def test_thoughts_are_left_out_where_they_are_not_wanted(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinking_and_calling
    asked = {"model": "stub-chat", "max_tokens": 99, "messages": SAY}
    client = client_of(gateway)
    whole = await client.messages.create(**asked, thinking={"type": "disabled"})
    async with client.messages.stream(**asked, thinking={"type": "disabled"}) as stream:
        streamed = await stream.get_final_message()
    for answer in (whole, streamed):
        assert {block.type for block in answer.content} == {"text", "tool_use"}


async def test_a_call_that_is_cut_off_is_not_told_as_one(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = cut_off
    answer = await client_of(gateway).messages.create(
        model="stub-chat", max_tokens=4, messages=SAY, tools=[WEATHER]
    )
    assert answer.stop_reason == "max_tokens"
    assert [block.type for block in answer.content] == ["text"]


async def test_a_turn_with_tools_goes_through_the_models_own_roles(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    call = {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Oslo"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "call_a",
        "content": [{"type": "text", "text": "rain"}],
    }
    await client_of(gateway).messages.create(
        model="stub-chat",
        max_tokens=9,
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        messages=[
            {"role": "user", "content": "how is Oslo?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "text", "text": "I look."},
                    call,
                ],
            },
            {"role": "user", "content": [result, {"type": "text", "text": "and now?"}]},
        ],
    )
    text = head.tasks[0].text
    _, assistant, tool, user = text.messages
    assert (assistant.role, assistant.content, assistant.reasoning) == (
        *("assistant", "I look.", "hm"),
    )
    assert assistant.tool_calls[0].arguments == '{"city":"Oslo"}'
    assert (tool.role, tool.tool_call_id, tool.content) == ("tool", "call_a", "rain")
    assert (user.role, user.parts[0].text) == ("user", "and now?")
    assert text.tool_choice.mode == pb.ToolChoice.REQUIRED and text.one_call


async def test_schemas_and_effort_reach_the_worker(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    await client_of(gateway).messages.create(
        model="stub-chat",
        max_tokens=9,
        messages=SAY,
        output_config={
            "effort": "low",
            "format": {"type": "json_schema", "schema": {"type": "object"}},
        },
    )
    text = head.tasks[0].text
    assert text.reasoning_effort == "low"
    assert text.constraint.json_schema == '{"type":"object"}'


async def test_tokens_are_counted_by_the_worker_that_knows_the_template(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    counted = await client_of(gateway).messages.count_tokens(
        model="stub-chat", messages=SAY, tools=[WEATHER], tool_choice={"type": "any"}
    )
    assert counted.input_tokens == 7
    text = head.tasks[0].text
    assert (text.max_tokens, len(text.tools), text.HasField("tool_choice")) == (1, 1, False)


async def test_models_are_listed_and_shown(gateway: RunningGateway) -> None:
    client = client_of(gateway)
    names = [model.id async for model in client.models.list()]
    assert {"stub-chat", "stub/image"} < set(names)
    shown = await client.models.retrieve("stub-chat")
    assert (shown.display_name, shown.type) == ("stub-chat", "model")
    assert shown.created_at.year > 2020


async def test_errors_are_those_that_the_client_knows(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = client_of(gateway)
    asked = {"model": "stub-chat", "max_tokens": 9}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]\.type"):
        content = [{"type": "search_result"}]
        await client.messages.create(**asked, messages=[{"role": "user", "content": content}])
    with pytest.raises(anthropic.BadRequestError, match="not continued"):
        begun = [*SAY, {"role": "assistant", "content": "The answer is ("}]
        await client.messages.create(**asked, messages=begun)
    for code, expected in (
        (pb.MODEL_NOT_FOUND, anthropic.NotFoundError),
        (pb.QUEUE_FULL, anthropic.RateLimitError),
        (pb.NO_WORKER, anthropic.InternalServerError),
    ):
        head.script = failing(code)
        with pytest.raises(expected) as caught:
            await client.messages.create(**asked, messages=SAY)
        assert caught.value.body["type"] == "error"


async def test_refusals_before_any_work_have_the_same_shape(
    start_gateway: StartGateway, keys: KeyFile
) -> None:
    keys.create("ann")
    client = client_of(await start_gateway(f"--api-keys-file={keys.path}"))
    with pytest.raises(anthropic.AuthenticationError) as refused:
        await client.messages.create(model="stub-chat", max_tokens=9, messages=SAY)
    assert refused.value.body["type"] == "error"
    assert refused.value.body["error"]["type"] == "authentication_error"


async def test_an_error_in_a_stream_is_an_event(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def breaking(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        async for part in failing(pb.WORKER_LOST)(task):
            yield part

    head.script = breaking
    with pytest.raises(anthropic.APIStatusError) as caught:
        async with client_of(gateway).messages.stream(
            model="stub-chat", max_tokens=9, messages=SAY
        ) as stream:
            await stream.get_final_message()
    assert caught.value.body["error"]["message"]
