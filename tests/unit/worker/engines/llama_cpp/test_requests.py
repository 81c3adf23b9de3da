"""A task becomes a request that llama-server can take, or is refused in words for its sender."""

import io
import json

import pytest
from PIL import Image

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp import constraint
from daiic.worker.engines.llama_cpp.chat_request import (
    Template,
    chat_fields,
    needs_chat,
    said_before,
    template_in,
)
from daiic.worker.engines.llama_cpp.conversation import messages_of, tool_fields
from daiic.worker.engines.llama_cpp.images import data_uri
from daiic.worker.engines.llama_cpp.parameters import parameter_fields
from daiic.worker.engines.llama_cpp.sampling import sampling_fields

PLAIN = Template(tools=False, thinks=False, efforts=False)
THINKS = Template(tools=True, thinks=True, efforts=False)
HELLO = pb.ChatMessage(role="user", content="hello")


def png(width: int = 4, height: int = 4, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, kind)
    return file.getvalue()


def refusal(error: pytest.ExceptionInfo[TaskError]) -> tuple[str, str]:
    return error.value.name, error.value.message


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"min_p": 1.5}, "min_p"),
        ({"min_p": float("nan")}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"presence_penalty": 3.0}, "presence_penalty"),
        ({"frequency_penalty": float("-inf")}, "frequency_penalty"),
        ({"logit_bias": {7: float("nan")}}, "logit_bias"),
        ({"logit_bias": {7: 101.0}}, "logit_bias"),
        ({"logit_bias": dict.fromkeys(range(1025), 1.0)}, "logit_bias"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_sampling_beyond_its_bounds_is_refused_by_name(
    asked: dict[str, object], field: str
) -> None:
    with pytest.raises(TaskError) as error:
        sampling_fields(pb.Sampling(**asked))
    name, message = refusal(error)
    assert name == "BAD_REQUEST"
    assert field in message


def test_log_probabilities_of_the_made_tokens_alone_can_be_asked_for() -> None:
    assert sampling_fields(pb.Sampling(logprobs=0)) == {"n_probs": 1}
    assert sampling_fields(pb.Sampling()) == {}


def test_the_type_is_that_of_the_data() -> None:
    assert data_uri(pb.Media(data=png(kind="JPEG"), type="image/png")).startswith("data:image/jpeg")
    assert data_uri(pb.Media(data=png(kind="WEBP"))).startswith("data:image/png"), "which it reads"


def test_a_conversation_keeps_its_calls_results_and_reasoning() -> None:
    call = pb.ToolCall(id="1", name="look", arguments='{"a": 1}')
    task = pb.TextTask(
        messages=[
            HELLO,
            pb.ChatMessage(role="assistant", reasoning="hm", tool_calls=[call]),
            pb.ChatMessage(role="tool", content="42", tool_call_id="1"),
        ]
    )
    assert messages_of(task)[1:] == [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"a": 1}'},
                }
            ],
        },
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]


def test_naming_a_tool_offers_no_other() -> None:
    tools = [pb.Tool(name="a"), pb.Tool(name="b")]
    fields = tool_fields(pb.TextTask(tools=tools, tool_choice=pb.ToolChoice(name="b")))
    assert [tool["function"]["name"] for tool in fields["tools"]] == ["b"]
    assert fields["tool_choice"] == "required"
    with pytest.raises(TaskError, match="names c"):
        tool_fields(pb.TextTask(tools=tools, tool_choice=pb.ToolChoice(name="c")))


@pytest.mark.parametrize("parameters", ["{", "[]", "1", '{"a":' * 100 + "1" + "}" * 100])
def test_parameters_that_are_no_schema_are_refused(parameters: str) -> None:
    with pytest.raises(TaskError, match=r"look\.parameters"):
        tool_fields(pb.TextTask(tools=[pb.Tool(name="look", parameters=parameters)]))


def test_only_what_needs_the_chat_endpoint_goes_there() -> None:
    plain = pb.TextTask(messages=[HELLO])
    assert not needs_chat(plain, PLAIN)
    assert needs_chat(plain, THINKS)
    assert not needs_chat(pb.TextTask(prompt="hello"), THINKS)
    for more in (
        pb.TextTask(tools=[pb.Tool(name="look")]),
        pb.TextTask(constraint=pb.Constraint(json=True)),
        pb.TextTask(messages=[pb.ChatMessage(role="tool", content="42")]),
        pb.TextTask(
            messages=[pb.ChatMessage(role="user", parts=[pb.ContentPart(image=pb.Media())])]
        ),
    ):
        both = pb.TextTask()
        both.CopyFrom(plain)
        both.MergeFrom(more)
        assert needs_chat(both, PLAIN)


def test_an_effort_that_the_template_does_not_follow_is_refused() -> None:
    task = pb.TextTask(messages=[HELLO], reasoning_effort="high")
    follows = Template(tools=False, thinks=True, efforts=True)
    fields = chat_fields(task, follows, constrained=False, said=("", ""))
    assert fields["chat_template_kwargs"] == {"reasoning_effort": "high"}
    with pytest.raises(TaskError) as error:
        chat_fields(task, THINKS, constrained=False, said=("", ""))
    assert refusal(error)[0] == "UNSUPPORTED"
    task.reasoning_effort = "none"
    fields = chat_fields(task, THINKS, constrained=False, said=("", ""))
    assert fields["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("delivered", "text", "before"),
    [
        ("", "", ("", "")),
        ("Let me", "", ("Let me", "")),
        ("Let me see.Yes", "Yes", ("Let me see.", "Yes")),
        ("Yes", "Yes", ("", "Yes")),
        ("No. No", "No", ("No. ", "No")),
    ],
)
def test_what_was_delivered_is_taken_apart(
    delivered: str, text: str, before: tuple[str, str]
) -> None:
    assert said_before(delivered, text) == before


def test_a_template_is_known_by_what_llama_server_tells() -> None:
    assert template_in({}) == PLAIN
    caps = {"supports_tools": True, "supports_tool_calls": True}
    assert template_in({"chat_template_caps": caps, "chat_template": "…</think>"}) == THINKS


async def refuses(body: object) -> dict[str, object]:
    raise AssertionError("nothing was to be asked")


@pytest.mark.parametrize(
    "asked",
    [
        pb.Constraint(json_schema="{"),
        pb.Constraint(json_schema="[1]"),
        pb.Constraint(json_schema=json.dumps({"a": 1})[:-1] * 3),
        pb.Constraint(json_schema='{"not":' * 70 + "{}" + "}" * 70),
        pb.Constraint(json_schema='{"a":' * 20_000),
        pb.Constraint(regex="a" * 300_000),
    ],
)
async def test_a_constraint_that_is_none_is_refused_without_asking(asked: pb.Constraint) -> None:
    with pytest.raises(TaskError) as error:
        await constraint.constraint_fields(asked, refuses, llguidance=False)
    assert refusal(error)[0] == "BAD_REQUEST"


async def test_a_grammar_is_refused_where_no_program_reads_it() -> None:
    asked = pb.Constraint(grammar='start: "a"')
    with pytest.raises(TaskError) as error:
        await constraint.constraint_fields(asked, refuses, llguidance=False)
    assert refusal(error)[0] == "UNSUPPORTED"


def test_what_follows_a_move_is_drawn_by_a_seed_of_its_own() -> None:
    task = pb.TextTask(seed=7)
    seeds = [parameter_fields(task, {}, made)["seed"] for made in (0, 1, 2, 1)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3 and seeds[1] == seeds[3]
    assert all(0 <= seed < (1 << 32) - 1 for seed in seeds)
    assert "seed" not in parameter_fields(pb.TextTask(), {}, 5)
