"""HydraMesh reads and prints as JSON what Python's json_format does, and refuses the same."""

import contextlib
import json
import re

import pytest
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from daiic.errors import TaskError
from daiic.head.dialect import JSON
from daiic.wire import daiic_pb2 as pb
from support.processes.lisp_codec import LispCodec, MalformedError
from support.strange_messages import agree_on_json, many, printed, some_message

numbers = (
    st.text("0123456789_.eE+- \t\u00a0\x1c\x00infaINFA٣", max_size=8).map(json.dumps)
    | st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
    | st.from_regex(r'"[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,4})?"', fullmatch=True)
    | st.integers().map(str)
    | st.floats().map(json.dumps)
)
others = r'true false null [] {} [null] "" "READY" "ready" [1] {"1":1} "\ud800" "x" NaN'
values = numbers | st.sampled_from(others.split(" "))


@many
@given(numbers | values)
@example("1" * 310)
@example("9" * 309)
@example('"' + "0" * 4300 + '1"')
@example("0." + "0" * 400 + "1e400")
@example("9007199254740993." + "0" * 900 + "1")
@example("2.2250738585072011e-308")
@example("3.4028235677973366e38")
@example('"3.4028235677973366e38"')
@example('"1' + "0" * 5000 + '"')
def test_both_read_or_refuse_values_for_every_kind_of_field(codec: LispCodec, value: str) -> None:
    # Python's looks enums up by the low 32 bits of a number that is too large for one.
    if not re.match(r'"?\W*\w{10}', value):
        for item in (value, f"[{value}]"):
            field = "kind" if item is value else "capabilities"
            agree_on_json(codec, pb.ModelStatus, f'{{"{field}":{item}}}')
    for form, field in (
        (pb.ModelStatus, "bytes"),
        (pb.ModelStatus, "progress"),
        (pb.ModelStatus, "rate"),
        (pb.ModelStatus, "name"),
        (pb.ModelStatus, "identity"),
        (pb.Heartbeat, "canDownload"),
        (pb.Media, "data"),
        (pb.Resume, "index"),
        (pb.Constraint, "json"),
        (pb.Sampling, "logitBias"),
    ):
        agree_on_json(codec, form, f'{{"{field}":{value}}}')
    for form, field in ((pb.Resume, "tokens"), (pb.Task, "tags")):
        agree_on_json(codec, form, f'{{"{field}":[{value}]}}')
    agree_on_json(codec, pb.Sampling, f'{{"logitBias":{{"7":{value}}}}}')


@many
@given(st.text("aGk=+/-_! é", max_size=12))
def test_both_read_or_refuse_base64(codec: LispCodec, text: str) -> None:
    agree_on_json(codec, pb.Media, json.dumps({"data": text}))


@many
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_printed_and_read_as_by_python(codec: LispCodec, number: float) -> None:
    for message in (pb.Heartbeat(tokens_per_second=number), pb.Adapter(scale=number)):
        payload = message.SerializeToString()
        assert codec.ask("j", type(message), payload).decode() == printed(message)
    agree_on_json(codec, pb.Heartbeat, printed(pb.Heartbeat(tokens_per_second=number)))


@many
@given(some_message, st.data())
def test_both_read_or_refuse_json_that_was_damaged(
    codec: LispCodec, message: Message, data: st.DataObject
) -> None:
    text = printed(message)
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 2))
        piece = st.sampled_from([*'{}[]",:\\ 0-.eé\n', "\\u00e4", "\\ud83d\\ude00", "null", "[]"])
        text = text[:start] + data.draw(piece) + text[end:]
    agree_on_json(codec, type(message), text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '""',
        "5",
        "null",
        "\ufeff{}",
        " {} ",
        "{} x",
        '{"id":1,"id":2}',
        '{"deadlineMs":1,"deadline_ms":2}',
        '{"resume":{"index":1},"resume":{"text":"a"}}',
        '{"text":{},"image":{}}',
        '{"text":{},"image":null}',
        '{"image":null,"text":{"topP":1}}',
        '{"text":{"topP":1,"top_p":2}}',
        '{"text":{"topP":1,"top_p":null}}',
        '{"text":{"toolChoice":{"mode":"NONE","name":"x"}}}',
        '{"text":{"toolChoice":{"mode":0}}}',
        '{"text":{"constraint":{"json":false}}}',
        '{"text":{"sampling":{"logitBias":{"5":1,"5.0":2," 5":3}}}}',
        '{"text":{"sampling":{"logitBias":{"5":1},"logit_bias":{"6":1}}}}',
        '{"tags":["a"],"tags":["b"]}',
        '{"status":[]}',
        '{"resume":["index"]}',
        '{"worker_id":"a","workerId":null}',
        '{"x":1}',
        '{"work":1}',
        '{"[a.b]":1}',
        '{"model":"\\ud83d\\ude00\\ud83d"}',
        '{"model":"\\ud83d\\u0041"}',
        '{"model":"\\ude00\\ud83d"}',
        '{"model":"\\u00g0"}',
        '{"model":"\x7f\\/\\b\\f\\n\\r\\t"}',
        '{"model":"\t"}',
        "[" * 10000,
        '{"text":' * 10000,
    ],
    ids=lambda text: text[:50],
)
def test_both_read_or_refuse_json_with(codec: LispCodec, text: str) -> None:
    agree_on_json(codec, pb.Task, text)


def test_a_reason_says_where_json_is_wrong(codec: LispCodec) -> None:
    for text in (
        '{"text":{"maxToken":5}}',
        '{"resume":{"model":{"weight":""}}}',
        '{"text":{},"image":{}}',
        '{"deadlineMs":true}',
        '{"resume":{"tokens":[1,null]}}',
        '{"stream":1}',
        '{"text":{"toolChoice":{"mode":"never"}}}',
    ):
        with pytest.raises(TaskError) as expected:
            JSON.read(text.encode())
        with pytest.raises(MalformedError) as found:
            codec.ask("p", pb.Task, text.encode())
        if "acceptable" not in str(expected.value):
            assert str(found.value) in str(expected.value)
        assert "Task" in str(found.value)


def test_large_json_has_a_bound_of_values_and_none_of_text(codec: LispCodec) -> None:
    long = json.dumps({"text": {"prompt": "x" * (1 << 20)}}).encode()
    assert codec.ask("p", pb.Task, long) == JSON.read(long)[0].SerializeToString()
    for count in (19_997, 19_998):
        many = json.dumps({"tags": ["x"] * count, "model": "x" * (1 << 16)}).encode()
        try:
            expected = JSON.read(many)[0].SerializeToString()
        except TaskError:
            with pytest.raises(MalformedError, match="too many values"):
                codec.ask("p", pb.Task, many)
        else:
            assert codec.ask("p", pb.Task, many) == expected


@pytest.mark.parametrize("value", ["9" * (1 << 20), "1e" + "9" * (1 << 20), "0." + "7" * (1 << 20)])
def test_long_numbers_cost_no_more_than_their_length(codec: LispCodec, value: str) -> None:
    for field in ("bytes", "rate", "kind"):
        agree_on_json(codec, pb.ModelStatus, f'{{"{field}":"{value}"}}')
        with contextlib.suppress(MalformedError):
            codec.ask("p", pb.ModelStatus, f'{{"{field}":{value}}}'.encode())
