"""What llama-server streams becomes text, reasoning and whole calls."""

from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.chat_answer import ChatAnswer


def event(delta: dict[str, Any], *tokens: int, reason: str | None = None) -> dict[str, Any]:
    told = [{"id": token, "logprob": -0.5, "bytes": [97]} for token in tokens]
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"choices": [choice | ({"logprobs": {"content": told}} if told else {})]}


def call(index: int, **function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": "", "function": function}]}


def read(answer: ChatAnswer, *events: dict[str, Any]) -> list[pb.Result]:
    parts = [answer.push(one) for one in events]
    return [part for part in parts if part is not None] + [answer.final()]


def test_reasoning_and_text_come_apart_with_their_tokens() -> None:
    first, second, last = read(
        ChatAnswer(resumed=0, logprobs=None, tools=False),
        event({"role": "assistant", "content": None}, 1),
        event({"reasoning_content": "hm"}, 2),
        event({"content": "yes"}, 3),
        event({}, reason="stop"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
    )
    assert (first.reasoning, list(first.tokens)) == ("hm", [2])
    assert (second.text, list(second.tokens)) == ("yes", [3])
    assert last.usage == pb.Usage(prompt_tokens=9, completion_tokens=4, reasoning_tokens=1)
    assert last.finish_reason == pb.FINISH_REASON_STOP


def test_a_call_comes_once_it_is_whole() -> None:
    parts = read(
        ChatAnswer(resumed=0, logprobs=None, tools=True),
        event({"content": "Wait.\n"}, 5),
        event(call(0, name="look", arguments='{"a"')),
        event(call(0, arguments=": 1}")),
        event(call(1, name="go", arguments="{}")),
        event({}, reason="tool_calls"),
    )
    assert [part.text for part in parts] == ["Wait.", ""]
    assert [(one.name, one.arguments) for one in parts[-1].tool_calls] == [
        ("look", '{"a": 1}'),
        ("go", "{}"),
    ]
    assert parts[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS


def test_a_call_that_was_cut_off_is_left_out() -> None:
    last = read(
        ChatAnswer(resumed=0, logprobs=None, tools=True),
        event(call(0, name="look", arguments='{"a": "')),
        event({}, reason="length"),
    )[-1]
    assert not last.tool_calls
    assert last.finish_reason == pb.FINISH_REASON_LENGTH


def test_blanks_that_no_call_follows_are_part_of_the_text() -> None:
    parts = read(
        ChatAnswer(resumed=0, logprobs=None, tools=True),
        event({"content": "a\n"}, 1),
        event({"content": "\n"}, 2),
        event({"content": "b "}, 3),
        event({}, reason="stop"),
    )
    assert "".join(part.text for part in parts) == "a\n\nb "
    assert [token for part in parts for token in part.tokens] == [1, 2, 3]


def test_a_resumed_answer_counts_what_was_delivered_before() -> None:
    last = read(
        ChatAnswer(resumed=3, logprobs=None, tools=False),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
    )[-1]
    assert last.usage == pb.Usage(prompt_tokens=6, completion_tokens=7)
