"""The Responses API through the real `openai` client: objects, events, conversations, the store."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import openai
import pydantic
import pytest

from daiic.errors import TaskError
from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import PNG, ScriptedHead
from support.peers.tool_caller import CITY, USAGE, says_json, thinks_says_calls
from support.processes.gateway_process import RunningGateway

WEATHER = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}


async def test_a_whole_response_has_every_item(gateway: RunningGateway, head: ScriptedHead) -> None:
    head.script = thinks_says_calls
    response = await gateway.openai.responses.create(
        model="stub-chat",
        input="weather?",
        instructions="be brief",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
        max_output_tokens=50,
        metadata={"a": "b"},
    )
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert response.output[0].content[0].text == "let me see"
    assert response.output_text == "Asking now."
    calls = [(call.call_id, call.name, call.arguments) for call in response.output[2:]]
    assert calls == [
        ("call_a", "weather", '{"city":"Rome"}'),
        ("call_b", "weather", '{"city":"Oslo"}'),
    ]
    assert (response.status, response.error, response.metadata) == ("completed", None, {"a": "b"})
    assert (response.usage.total_tokens, response.usage.input_tokens_details.cached_tokens) == (
        16,
        3,
    )
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    text = head.tasks[0].text
    assert [(m.role, m.content) for m in text.messages] == [
        ("system", "be brief"),
        ("user", "weather?"),
    ]
    assert text.tools[0].strict and json.loads(text.tools[0].parameters) == CITY
    assert (text.tool_choice.name, text.one_call, text.reasoning_effort) == ("weather", True, "low")


async def test_a_stream_builds_up_what_a_whole_response_has(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinks_says_calls
    client = gateway.openai
    asked = {"model": "stub-chat", "input": "weather?", "tools": [WEATHER]}
    whole = await client.responses.create(**asked)
    async with client.responses.stream(**asked) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == 4
    assert kinds.count("response.output_item.done") == 4

    def joined(kind: str) -> str:
        return "".join(event.delta for event in events if event.type == kind)

    assert joined("response.output_text.delta") == "Asking now."
    assert joined("response.reasoning_text.delta") == "let me see"
    arguments = joined("response.function_call_arguments.delta")
    assert arguments == '{"city":"Rome"}{"city":"Oslo"}'

    def content(response: openai.types.responses.Response) -> list[dict[str, object]]:
        items = [item.model_dump(exclude={"id", "parsed_arguments"}) for item in response.output]
        for item in items:
            for part in item.get("content") or ():
                part.pop("parsed", None)
        return items

    assert content(final) == content(whole)
    assert final.usage == whole.usage


async def test_parsed_answers_are_held_to_the_schema(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    class City(pydantic.BaseModel):
        city: str

    head.script = says_json
    response = await gateway.openai.responses.parse(
        model="stub-chat", input="where?", text_format=City
    )
    assert response.output_parsed == City(city="Rome")
    schema = json.loads(head.tasks[0].text.constraint.json_schema)
    assert schema["properties"]["city"]["type"] == "string"


async def test_a_conversation_goes_on_from_a_response(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinks_says_calls
    client = gateway.openai
    first = await client.responses.create(
        model="stub-chat", input="weather?", tools=[WEATHER], instructions="only once"
    )
    results = [
        {"type": "function_call_output", "call_id": "call_a", "output": "warm"},
        {
            "type": "function_call_output",
            "call_id": "call_b",
            "output": [{"type": "input_text", "text": "cold"}],
        },
    ]
    second = await client.responses.create(
        model="stub-chat", input=results, previous_response_id=first.id, tools=[WEATHER]
    )
    third = await client.responses.create(
        model="stub-chat", input="thanks", previous_response_id=second.id
    )
    assert third.previous_response_id == second.id
    messages = head.tasks[-1].text.messages
    assert [message.role for message in messages] == [
        *("user", "assistant", "tool", "tool", "assistant", "user")
    ]
    assert (messages[1].content, messages[1].reasoning) == ("Asking now.", "let me see")
    assert [call.id for call in messages[1].tool_calls] == ["call_a", "call_b"]
    assert [(m.tool_call_id, m.content) for m in messages[2:4]] == [
        ("call_a", "warm"),
        ("call_b", "cold"),
    ]
    assert messages[-1].content == "thanks"


async def test_the_whole_conversation_may_be_sent_instead(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinks_says_calls
    client = gateway.openai
    first = await client.responses.create(model="stub-chat", input="weather?", tools=[WEATHER])
    history = [
        {"role": "user", "content": "weather?"},
        *[item.to_dict() for item in first.output],
        {"type": "function_call_output", "call_id": "call_a", "output": "warm"},
    ]
    await client.responses.create(model="stub-chat", input=history, store=False)
    messages = head.tasks[-1].text.messages
    assert [message.role for message in messages] == ["user", "assistant", "tool"]
    assert messages[1].reasoning == "let me see" and len(messages[1].tool_calls) == 2


async def test_images_are_shown_to_the_model_again_when_a_conversation_goes_on(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = gateway.openai
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    shown = [{"type": "input_text", "text": "what is"}, {"type": "input_image", "image_url": url}]
    head.script = thinks_says_calls
    first = await client.responses.create(
        model="stub-chat", input=[{"role": "user", "content": shown}]
    )
    await client.responses.create(
        model="stub-chat", input="and now?", previous_response_id=first.id
    )
    for task in head.tasks:
        said, seen = task.text.messages[0].parts
        assert (said.text, seen.image.data, seen.image.type) == ("what is", PNG, "image/png")


async def test_responses_are_kept_listed_and_deleted(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = gateway.openai
    items = [{"role": "user", "content": f"number {n}"} for n in range(5)]
    made = await client.responses.create(model="stub-chat", input=items)
    assert (await client.responses.retrieve(made.id)).output == made.output
    listed = [item async for item in client.responses.input_items.list(made.id, limit=2)]
    assert [item.content for item in listed] == [f"number {n}" for n in (4, 3, 2, 1, 0)]
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        await client.responses.cancel(made.id)
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError, match="whole conversation") as gone:
        await client.responses.create(model="stub-chat", input="x", previous_response_id=made.id)
    assert gone.value.param == "previous_response_id"
    unkept = await client.responses.create(model="stub-chat", input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(unkept.id)


async def test_responses_of_other_keys_are_not_found(
    start_gateway, head: ScriptedHead, keys: KeyFile
) -> None:
    mine, other = keys.create("mine"), keys.create("other")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    made = await gateway.openai.with_options(api_key=mine).responses.create(
        model="stub-chat", input="secret"
    )
    stranger = gateway.openai.with_options(api_key=other)
    for attempt in (
        stranger.responses.retrieve(made.id),
        stranger.responses.delete(made.id),
        stranger.responses.cancel(made.id),
        stranger.responses.create(model="stub-chat", input="x", previous_response_id=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await attempt
    assert await gateway.openai.with_options(api_key=mine).responses.retrieve(made.id)


async def test_an_answer_that_is_cut_off_is_incomplete(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="once upon", tokens=[1])
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_LENGTH, usage=USAGE)

    head.script = script
    client = gateway.openai
    whole = await client.responses.create(model="stub-chat", input="x", max_output_tokens=2)
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    stream = await client.responses.create(model="stub-chat", input="x", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output[0].status == "incomplete"


async def test_a_stream_that_breaks_off_ends_with_why(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        await asyncio.sleep(0.05)
        raise TaskError(pb.WORKER_LOST, "the worker is gone", "ask again")

    head.script = script
    stream = await gateway.openai.responses.create(model="stub-chat", input="x", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.failed"
    error = events[-1].response.error
    assert (error.code, error.message) == ("worker_lost", "the worker is gone: ask again")


async def test_what_cannot_be_honoured_is_named(gateway: RunningGateway) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ]
    async with gateway.http as http:
        for fields, param in wrong:
            asked = {"model": "stub-chat", "input": "x", **fields}
            answer = await http.post("/v1/responses", json=asked)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"].startswith(param)
