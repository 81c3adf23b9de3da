"""`Task.prefix` is as the vectors say, and a prompt that goes on begins with the earlier one's."""

import json
import os
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from daiic.client.prompt_prefix import prompt_prefix
from daiic.prompt_blocks import ENDS, HASH, hashes_in
from daiic.wire import daiic_pb2 as pb
from vectors import generate_prefixes

VECTORS: dict[str, Any] = json.loads(generate_prefixes.PATH.read_text("utf-8"))

words = st.text(max_size=8)
long = st.builds(
    lambda word, times: f"{word} " * times, st.text(min_size=1, max_size=20), st.integers(0, 99)
)
texts = st.one_of(words, long)
media = st.builds(pb.Media, data=st.binary(max_size=20), type=words)
content_parts = st.one_of(
    st.builds(pb.ContentPart, text=texts),
    st.builds(pb.ContentPart, image=media),
    st.builds(pb.ContentPart, audio=media),
)
calls = st.builds(pb.ToolCall, id=words, name=words, arguments=texts)
messages = st.one_of(
    st.builds(pb.ChatMessage, role=words, content=texts, reasoning=words, tool_call_id=words),
    st.builds(pb.ChatMessage, role=words, parts=st.lists(content_parts, max_size=3)),
    st.builds(pb.ChatMessage, role=words, tool_calls=st.lists(calls, max_size=2)),
)
conversations = st.lists(messages, min_size=1, max_size=6)
tools = st.lists(st.builds(pb.Tool, name=words, description=texts, parameters=words), max_size=2)


def prefix(model: str = "m", **text: object) -> bytes:
    return prompt_prefix(pb.Task(model=model, text=pb.TextTask(**text)))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    task = json_format.ParseDict(case["task"], pb.Task())
    if "times" in case:
        task.text.prompt *= case["times"]
    assert prompt_prefix(task).hex() == case["prefix"]


def test_vectors_are_those_of_their_generator_and_blocks_end_where_they_say() -> None:
    assert generate_prefixes.PATH.read_text("utf-8") == generate_prefixes.text()
    assert list(ENDS) == VECTORS["ends"]
    assert set(VECTORS) == {"about", "ends", "cases"}


@given(conversations, conversations, tools)
def test_a_conversation_that_goes_on_begins_with_all_hashes_of_the_earlier_one(
    before: list[pb.ChatMessage], after: list[pb.ChatMessage], tools: list[pb.Tool]
) -> None:
    shorter = prefix(messages=before, tools=tools)
    assert prefix(messages=before + after, tools=tools).startswith(shorter)


@given(texts, texts)
def test_a_prompt_that_goes_on_begins_with_all_hashes_of_the_shorter_one(
    before: str, after: str
) -> None:
    assert prefix(prompt=before + after).startswith(prefix(prompt=before))


@given(st.lists(st.integers(0, 2**32 - 1), max_size=300), st.lists(st.integers(0, 9), max_size=300))
def test_so_do_tokens(before: list[int], after: list[int]) -> None:
    assert prefix(prompt_tokens=before + after).startswith(prefix(prompt_tokens=before))


@given(conversations)
def test_texts_in_a_row_are_one_text(messages: list[pb.ChatMessage]) -> None:
    joined = []
    for message in messages:
        parts: list[pb.ContentPart] = []
        for part in message.parts:
            if parts and part.HasField("text") and parts[-1].HasField("text"):
                parts[-1] = pb.ContentPart(text=parts[-1].text + part.text)
            else:
                parts.append(part)
        other = pb.ChatMessage()
        other.CopyFrom(message)
        del other.parts[:]
        other.parts.extend(parts)
        joined.append(other)
    assert prefix(messages=joined) == prefix(messages=messages)


@given(st.integers(0, 300_000))
def test_hashes_are_of_whole_blocks_and_at_most_64(length: int) -> None:
    hashes = hashes_in(prefix(prompt="x" * length))
    assert len(hashes) == sum(end <= length + 1 for end in ENDS) <= 64
    assert len(set(hashes)) == len(hashes)


def test_prompts_that_differ_share_no_hash_from_there_on() -> None:
    text = "0123456789" * 2000
    hashes = hashes_in(prefix(prompt=text))
    for place in 0, 300, 5000, 19_000:
        other = hashes_in(prefix(prompt=text[:place] + "-" + text[place + 1 :]))
        same = sum(end <= place + 1 for end in ENDS[: len(hashes)])
        assert hashes[:same] == other[:same]
        assert not {*hashes[same:]} & {*other[same:]}
    assert not {*hashes} & {*hashes_in(prefix("other", prompt=text))}


def test_hashes_that_count() -> None:
    whole = os.urandom(HASH * 100)
    assert hashes_in(whole) == tuple(whole[at : at + HASH] for at in range(0, HASH * 64, HASH))
    assert hashes_in(whole[:-1]) == ()
    assert hashes_in(b"") == ()
