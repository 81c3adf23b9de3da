"""What clients may ask for, and how they are told what is wrong."""

import gc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.request_body import decode
from daiic.gateway.limits import ERROR_TEXT, SCHEMA_BYTES
from daiic.gateway.media.reader import MediaReader
from daiic.gateway.openai.conversation import add_messages
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.schema.chat import ChatRequest
from daiic.gateway.openai.schema.completions import CompletionRequest
from daiic.gateway.openai.schema.embeddings import EmbeddingRequest
from daiic.gateway.openai.schema.images import ImageRequest
from daiic.gateway.text.json_schema import schema_text
from daiic.wire import daiic_pb2 as pb

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


NESTED: dict[str, object] = {}
for _ in range(80):
    NESTED = {"items": NESTED}


def refusal(kind: type, **fields: object) -> ApiError:
    with pytest.raises(ApiError) as refused:
        decode(msgspec.json.encode(fields), kind).check()
    assert refused.value.status == 400
    return refused.value


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("temperature", 3),
        ("temperature", "hot"),
        ("top_p", -0.1),
        ("n", 0),
        ("n", 17),
        ("max_tokens", 0),
        ("seed", 2**63),
        ("stop", [1]),
        ("stream", "yes"),
        ("messages", []),
        ("messages", "hi"),
        ("stream_options", {"include_usage": True}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"x": 5}),
        ("logit_bias", {str(2**32): 5}),
        ("logit_bias", {"9" * 5000: 5}),
        ("logit_bias", {str(token): 1 for token in range(2000)}),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.5),
        ("repetition_penalty", 0),
        ("min_p", 2),
        ("top_logprobs", 3),
        ("top_logprobs", 21),
        ("reasoning_effort", "Much!"),
        ("reasoning_effort", "low\n"),
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("modalities", ["text", "audio"]),
        ("web_search_options", {}),
        ("response_format", {"type": "xml"}),
        ("tools", [{"type": "function", "function": {"name": "a b"}}]),
        ("tools", [{"type": "function", "function": {"name": "a\n"}}]),
        ("tools", [{"type": "function", "function": {"name": "a"}}] * 129),
    ],
)
def test_a_wrong_chat_parameter_is_named(param: str, value: object) -> None:
    error = refusal(ChatRequest, **{**CHAT, param: value})
    assert error.param.startswith(param)
    assert error.message.startswith(param)


@pytest.mark.parametrize(
    "extra",
    [
        {"user": "ann", "store": True, "metadata": {"a": "b"}, "service_tier": "auto"},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "logprobs": False},
        {"response_format": {"type": "text"}, "presence_penalty": 0, "n": 1, "logit_bias": {}},
        {"temperature": None, "max_tokens": None, "stop": None, "seed": None, "stream": None},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"max_completion_tokens": 5, "max_tokens": 9},
    ],
)
def test_harmless_chat_parameters_are_accepted(extra: dict[str, object]) -> None:
    request = decode(msgspec.json.encode({**CHAT, **extra}), ChatRequest)
    request.check()
    assert request.limit == extra.get("max_completion_tokens", 0)


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_named(field: str) -> None:
    error = refusal(ChatRequest, **{k: v for k, v in CHAT.items() if k != field})
    assert error.param == field and "missing" in error.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "function", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": "x", "tool_calls": [{"id": "a"}]}, "messages[0].tool_calls"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]},
            "messages[0].tool_calls[0].type",
        ),
        ({"role": "user"}, "messages[0].content"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "messages[0].content[0].image_url",
        ),
        (
            {"role": "user", "content": [{"type": "image_url"}]},
            "messages[0].content[0].image_url",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio"}]},
            "messages[0].content[0].input_audio",
        ),
        ({"role": "user", "content": [{"type": "file"}]}, "messages[0].content[0].type"),
    ],
)
async def test_messages_that_no_model_could_take_are_refused(
    message: dict[str, object], param: str
) -> None:
    request = decode(msgspec.json.encode({**CHAT, "messages": [message]}), ChatRequest)
    with pytest.raises(ApiError) as refused:
        await add_messages(pb.TextTask(), request.messages, MediaReader((), lambda piece: None))
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("echo", True),
        ("suffix", "x"),
        ("best_of", 4),
        ("logprobs", 21),
        ("prompt", []),
        ("prompt", [[]]),
        ("prompt", [1, "a"]),
        ("prompt", [-1]),
        ("prompt", [2**32]),
        ("prompt", ["a"] * 65),
    ],
)
def test_a_wrong_completion_parameter_is_named(param: str, value: object) -> None:
    error = refusal(CompletionRequest, **{"model": "m", "prompt": "x", param: value})
    assert error.param.startswith(param)


@pytest.mark.parametrize("size", ["0x0", "100x100", "64x8192", "1024", "x", "-8x8"])
def test_sizes_that_cannot_be_painted_are_refused(size: str) -> None:
    assert refusal(ImageRequest, prompt="x", size=size).param == "size"


def test_a_size_is_width_then_height() -> None:
    assert ImageRequest(prompt="x", size="64x128").pixels == (64, 128)
    assert ImageRequest(prompt="x", size="auto").pixels == (0, 0)


@pytest.mark.parametrize(
    "given_input",
    ["", ["a", ""], [], [1, "a"], [[1], "a"], [[]], [-1], [[1.5]], [[2**32]], [[1]] * 2049],
)
def test_inputs_without_an_embedding_are_refused(given_input: object) -> None:
    error = refusal(EmbeddingRequest, model="m", input=given_input)
    assert error.param.startswith("input")


def test_what_an_input_is_to_the_model_is_said_once() -> None:
    asked = {"model": "m", "input": "a", "prompt_name": "query"}
    decode(msgspec.json.encode(asked), EmbeddingRequest).check()
    assert refusal(EmbeddingRequest, **asked, task="retrieval.query").param == "prompt_name"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"model":"\xed\xa0\x80"}', b"NaN"])
def test_what_is_not_json_is_said_to_be_so(data: bytes) -> None:
    with pytest.raises(ApiError, match="is not JSON") as refused:
        decode(data, ChatRequest)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_object"}, "regex": "a+"},
            "regex",
        ),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.choice"),
        ({"grammar": "x" * 300_000}, "grammar"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": NESTED}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_format_that_cannot_be_kept_to_is_named(fields: dict[str, object], param: str) -> None:
    request = decode(msgspec.json.encode({**CHAT, **fields}), ChatRequest)
    with pytest.raises(ApiError) as refused:
        _ = request.constraint
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, pb.Constraint(json=True)),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "array"}, "strict": True},
                }
            },
            pb.Constraint(json_schema='{"type":"array"}'),
        ),
        (
            {"response_format": {"type": "json_object", "schema": {"type": "object"}}},
            pb.Constraint(json_schema='{"type":"object"}'),
        ),
        ({"structured_outputs": {"choice": ["a.b", "c"]}}, pb.Constraint(regex=r"(?:a\.b)|(?:c)")),
        ({"structured_outputs": {"json": {}}}, pb.Constraint(json_schema="{}")),
        ({"regex": "a+"}, pb.Constraint(regex="a+")),
        ({"grammar": "start: /a/"}, pb.Constraint(grammar="start: /a/")),
    ],
)
def test_formats_reach_the_worker(
    fields: dict[str, object], constraint: pb.Constraint | None
) -> None:
    found = decode(msgspec.json.encode({**CHAT, **fields}), ChatRequest).constraint
    assert (found[0] if found else None) == constraint


@pytest.mark.parametrize("depth", [1000, 100_000])
@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("field", ["tools", "anything"])
def test_nesting_without_end_is_refused(depth: int, open_: str, close: str, field: str) -> None:
    nested = f"{open_ * depth}1{close * depth}"
    body = f'{{"model":"m","messages":[{{"role":"user","content":"x"}}],"{field}":{nested}}}'
    with pytest.raises(ApiError) as refused:
        decode(body.encode(), ChatRequest)
    assert refused.value.status == 400


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e400", "NaN", "Infinity"])
@pytest.mark.parametrize("field", ["seed", "temperature", "max_tokens", "top_k"])
def test_numbers_beyond_all_reason_are_refused(field: str, number: str) -> None:
    body = f'{{"model":"m","messages":[{{"role":"user","content":"x"}}],"{field}":{number}}}'
    with pytest.raises(ApiError) as refused:
        decode(body.encode(), ChatRequest)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "message",
    [
        {"role": "x" * 1_000_000, "content": "x"},
        {"role": "user", "content": [{"type": "x" * 1_000_000}]},
    ],
    ids=["role", "type"],
)
async def test_a_refusal_does_not_repeat_all_that_was_sent(message: dict[str, object]) -> None:
    body = msgspec.json.encode({**CHAT, "messages": [message]})
    with pytest.raises(ApiError) as refused:
        await add_messages(
            pb.TextTask(), decode(body, ChatRequest).messages, MediaReader((), lambda piece: None)
        )
    assert len(error_body(refused.value)) < 2 * ERROR_TEXT


@given(st.binary())
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    with pytest.raises(ApiError):
        decode(data, ChatRequest)


def test_of_a_schema_that_is_too_large_nothing_but_its_size_is_looked_at() -> None:
    schema = {**NESTED, "description": "x" * SCHEMA_BYTES}
    with pytest.raises(ApiError) as refused:
        schema_text(schema, "schema")
    assert f"send at most {SCHEMA_BYTES}" in refused.value.message


def test_collecting_garbage_waits_until_a_body_of_many_lists_is_decoded() -> None:
    body = msgspec.json.encode({**CHAT, "functions": [[[] for _ in range(50_000)]]})
    seen: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        seen.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    try:
        decode(body, ChatRequest)
        assert seen.count("start") <= 2 and gc.isenabled()  # when it is over
    finally:
        gc.callbacks.remove(note)
