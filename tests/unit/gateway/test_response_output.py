"""Whatever order a model thinks, says and calls in, the events of a response build up its items."""

from hypothesis import given
from hypothesis import strategies as st

from daiic.gateway.openai.responses.output import Output
from daiic.gateway.openai.schema.response_events import (
    ArgumentsDelta,
    ArgumentsDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ReasoningDelta,
    ReasoningDone,
)
from daiic.wire import daiic_pb2 as pb

words = st.text("ab", max_size=3)
calls = st.lists(
    st.builds(pb.ToolCallPart, index=st.integers(0, 2), name=words, arguments=words), max_size=2
)
parts = st.lists(st.builds(pb.Result, text=words, reasoning=words, tool_calls=calls), max_size=8)


@given(parts)
def test_events_and_items_agree(said: list[pb.Result]) -> None:
    output = Output("x")
    final = pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)
    events = [event for part in [*said, final] for event in output.add(part)]
    added = [event for event in events if isinstance(event, OutputItemAdded)]
    done = [event for event in events if isinstance(event, OutputItemDone)]
    assert [event.output_index for event in added] == list(range(len(output.items)))
    assert [event.item for event in done] == output.items
    assert [one.item.id for one in added] == [item.id for item in output.items]
    assert len({item.id for item in output.items}) == len(output.items) >= 1
    for deltas, dones, whole in (
        (OutputTextDelta, OutputTextDone, "".join(part.text for part in said)),
        (ReasoningDelta, ReasoningDone, "".join(part.reasoning for part in said)),
        (
            ArgumentsDelta,
            ArgumentsDone,
            "".join(call.arguments for part in said for call in part.tool_calls),
        ),
    ):
        streamed = "".join(event.delta for event in events if isinstance(event, deltas))
        told = "".join(
            getattr(event, "arguments", None) or getattr(event, "text", "")
            for event in events
            if isinstance(event, dones)
        )
        assert streamed == told == whole


@given(parts, st.integers(0, 7))
def test_only_what_is_open_is_cut_off(said: list[pb.Result], number: int) -> None:
    output = Output("x")
    final = pb.Result(final=True, finish_reason=pb.FINISH_REASON_LENGTH)
    for part in [*said[:number], final]:
        list(output.add(part))
    assert {item.status for item in output.items[:-1]} <= {"completed"}
    assert output.items[-1].status == "incomplete"
