"""Tools, reasoning, formats, sampling and log probabilities, through the real `openai` client."""

import json
from collections.abc import AsyncIterator

import openai
import pydantic

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead
from support.peers.tool_caller import CITY, USAGE, says_json, thinks_says_calls
from support.processes.gateway_process import RunningGateway

SAY = [{"role": "user", "content": "weather?"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "of a city", "parameters": CITY, "strict": True},
}


class City(pydantic.BaseModel):
    city: str


async def test_a_whole_answer_has_reasoning_text_and_calls(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinks_says_calls
    answer = await gateway.openai.chat.completions.create(
        model="stub-chat",
        messages=SAY,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        reasoning_effort="low",
    )
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Asking now.", "let me see")
    calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]
    assert calls == [
        ("call_a", "weather", '{"city":"Rome"}'),
        ("call_b", "weather", '{"city":"Oslo"}'),
    ]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    text = head.tasks[0].text
    tool = text.tools[0]
    assert (tool.name, tool.description, tool.strict) == ("weather", "of a city", True)
    assert json.loads(tool.parameters) == CITY
    assert (text.tool_choice.name, text.one_call, text.reasoning_effort) == ("weather", True, "low")


async def test_the_clients_own_stream_puts_the_same_answer_together(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinks_says_calls
    client = gateway.openai
    whole = await client.chat.completions.create(model="stub-chat", messages=SAY, tools=[WEATHER])
    async with client.chat.completions.stream(
        model="stub-chat",
        messages=SAY,
        tools=[WEATHER],
        stream_options={"include_usage": True},
    ) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    assert {"content.delta", "tool_calls.function.arguments.delta"} <= kinds

    def said(completion: openai.types.chat.ChatCompletion) -> object:
        message = completion.choices[0].message
        calls = message.tool_calls or ()
        return (
            message.content,
            message.reasoning_content,
            [(call.id, call.function.name, call.function.arguments) for call in calls],
            completion.choices[0].finish_reason,
            completion.usage,
        )

    assert said(final) == said(whole)


async def test_arguments_are_streamed_as_openai_streams_them(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinks_says_calls
    stream = await gateway.openai.chat.completions.create(
        model="stub-chat", messages=SAY, tools=[WEATHER], stream=True
    )
    deltas = [event.choices[0].delta for event in [event async for event in stream]]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [(call.index, call.id, call.type, call.function.name) for call in calls] == [
        (0, "call_a", "function", "weather"),
        (0, None, None, None),
        (1, "call_b", "function", "weather"),
    ]
    assert deltas[0].role == "assistant"
    thought = [getattr(delta, "reasoning_content", None) for delta in deltas]
    assert [one for one in thought if one] == ["let me ", "see"]


async def test_what_a_tool_returned_reaches_the_model(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    called = {"name": "weather", "arguments": '{"city":"Rome"}'}
    await gateway.openai.chat.completions.create(
        model="stub-chat",
        messages=[
            *SAY,
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "call_a", "type": "function", "function": called}],
            },
            {"role": "tool", "tool_call_id": "call_a", "content": "warm"},
        ],
        tools=[WEATHER],
    )
    _, assistant, tool = head.tasks[0].text.messages
    call = assistant.tool_calls[0]
    assert (call.id, call.name, call.arguments) == ("call_a", "weather", '{"city":"Rome"}')
    assert (assistant.content, assistant.reasoning) == ("", "hm")
    assert (tool.role, tool.tool_call_id, tool.content) == ("tool", "call_a", "warm")


async def test_parsed_answers_are_held_to_the_schema(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = says_json
    answer = await gateway.openai.chat.completions.parse(
        model="stub-chat", messages=SAY, response_format=City
    )
    assert answer.choices[0].message.parsed == City(city="Rome")
    schema = json.loads(head.tasks[0].text.constraint.json_schema)
    assert schema["properties"]["city"]["type"] == "string"


async def test_what_a_worker_finds_wrong_is_named_as_the_client_sent_it(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    said = ""

    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        raise TaskError(pb.BAD_REQUEST, said, "send another")
        yield

    head.script = script
    schema = {"type": "json_schema", "json_schema": {"schema": {}}}
    found: list[tuple[str, dict[str, object], str | None]] = [
        (
            "`json_schema` cannot be kept to: no `$ref`",
            {"response_format": schema},
            "response_format.json_schema.schema",
        ),
        ("`regex` is wrong", {"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        (
            "`weather.parameters` cannot be kept to",
            {"tools": [WEATHER]},
            "tools[0].function.parameters",
        ),
        ("`top_p` is 0", {}, "top_p"),
        ("the prompt has 9 tokens", {}, None),
    ]
    async with gateway.http as http:
        for said, asked, param in found:
            body = {"model": "stub-chat", "messages": SAY, **asked}
            refused = await http.post("/v1/chat/completions", json=body)
            assert refused.status_code == 400
            error = refused.json()["error"]
            assert (error["param"], error["code"]) == (param, "bad_request")
            assert error["message"] == f"{said}: send another"


async def test_a_task_asks_for_sampling_only_where_the_request_does(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = gateway.openai
    await client.chat.completions.create(
        model="stub-chat",
        messages=SAY,
        presence_penalty=0,
        frequency_penalty=0,
        logit_bias={},
        logprobs=False,
        extra_body={"min_p": 0, "repetition_penalty": 1},
    )
    assert not head.tasks[0].text.HasField("sampling")
    await client.chat.completions.create(
        model="stub-chat",
        messages=SAY,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"7": -100},
        logprobs=True,
        top_logprobs=2,
        extra_body={"min_p": 0.25, "repetition_penalty": 1.5},
    )
    assert head.tasks[1].text.sampling == pb.Sampling(
        min_p=0.25,
        repetition_penalty=1.5,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={7: -100},
        logprobs=2,
    )


async def two_tokens(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Say "aé" in two tokens, the second of which is told in two pieces."""

    def logprob(token: int, value: float, text: bytes) -> pb.TokenLogprob:
        return pb.TokenLogprob(token=token, logprob=value, bytes=text)

    a, b = logprob(1, -0.5, b"a"), logprob(2, -1.5, b"b")
    yield pb.Result(text="a", tokens=[1], logprobs=[pb.TokenLogprobs(token=a, likeliest=[a, b])])
    half = logprob(3, -0.25, b"\xc3")
    yield pb.Result(tokens=[3], logprobs=[pb.TokenLogprobs(token=half, likeliest=[half])])
    rest = logprob(4, -2, b"\xa9")
    yield pb.Result(text="é", tokens=[4], logprobs=[pb.TokenLogprobs(token=rest)])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP, usage=USAGE)


async def test_log_probabilities_have_openais_shape(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = two_tokens
    client = gateway.openai
    asked = {"model": "stub-chat", "messages": SAY, "logprobs": True, "top_logprobs": 2}
    whole = await client.chat.completions.create(**asked)
    told = whole.choices[0].logprobs.content
    assert [(one.token, one.logprob, one.bytes) for one in told] == [
        ("a", -0.5, [97]),
        ("\ufffd", -0.25, [0xC3]),
        ("\ufffd", -2.0, [0xA9]),
    ]
    assert [(one.token, one.logprob) for one in told[0].top_logprobs] == [("a", -0.5), ("b", -1.5)]
    stream = await client.chat.completions.create(**asked, stream=True)
    events = [event.choices[0] async for event in stream]
    streamed = [one for event in events if event.logprobs for one in event.logprobs.content]
    assert streamed == told
    assert "".join(event.delta.content or "" for event in events) == "aé"


async def test_completions_tell_log_probabilities_in_the_old_shape(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = two_tokens
    client = gateway.openai
    asked = {"model": "stub-chat", "prompt": [5, 6], "logprobs": 2}
    whole = (await client.completions.create(**asked)).choices[0].logprobs
    assert whole.tokens == ["a", "\ufffd", "\ufffd"]
    assert whole.token_logprobs == [-0.5, -0.25, -2.0]
    assert whole.top_logprobs[0] == {"a": -0.5, "b": -1.5}
    assert whole.text_offset == [0, 1, 2]
    assert list(head.tasks[0].text.prompt_tokens) == [5, 6] and not head.tasks[0].text.prompt
    stream = await client.completions.create(**asked, stream=True)
    told = [event.choices[0].logprobs async for event in stream if event.choices[0].logprobs]
    assert [offset for one in told for offset in one.text_offset] == [0, 1, 2]


async def test_prompts_of_tokens_are_one_or_several(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = gateway.openai
    await client.completions.create(model="stub-chat", prompt=[[1, 2], [3]])
    assert sorted(list(task.text.prompt_tokens) for task in head.tasks) == [[1, 2], [3]]
