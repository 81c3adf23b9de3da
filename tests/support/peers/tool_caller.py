"""Scripts of a head whose model thinks and calls tools, the same way each time."""

from collections.abc import AsyncIterator

from daiic.wire import daiic_pb2 as pb

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
USAGE = pb.Usage(prompt_tokens=7, completion_tokens=9, reasoning_tokens=2, cached_tokens=3)


async def thinks_says_calls(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Think, say something, and call `weather` twice, the first time in pieces."""
    yield pb.Result(reasoning="let me ", tokens=[1])
    yield pb.Result(reasoning="see", tokens=[2])
    yield pb.Result(text="Asking", tokens=[3])
    yield pb.Result(text=" now.", tokens=[4])
    first = pb.ToolCallPart(index=0, id="call_a", name="weather", arguments='{"city":')
    yield pb.Result(tool_calls=[first], tokens=[5])
    yield pb.Result(tool_calls=[pb.ToolCallPart(index=0, arguments='"Rome"}')], tokens=[6])
    second = pb.ToolCallPart(index=1, id="call_b", name="weather", arguments='{"city":"Oslo"}')
    yield pb.Result(tool_calls=[second], tokens=[7])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_TOOL_CALLS, usage=USAGE)


async def asks_then_tells(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Call the first tool for Rome; once that has returned something, tell it."""
    last = task.text.messages[-1]
    if last.role != "tool":
        call = pb.ToolCallPart(index=0, id="call_a", name=task.text.tools[0].name)
        yield pb.Result(tool_calls=[call], tokens=[1])
        for token, piece in enumerate(('{"city"', ': "Rome"', "}")):
            more = pb.ToolCallPart(index=0, arguments=piece)
            yield pb.Result(tool_calls=[more], tokens=[token])
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_TOOL_CALLS, usage=USAGE)
        return
    for token, word in enumerate(("It is ", last.content, ".")):
        yield pb.Result(text=word, tokens=[token])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP, usage=USAGE)


async def says_json(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Say a city as JSON."""
    for token, piece in enumerate(('{"city"', ': "Rome"', "}")):
        yield pb.Result(text=piece, tokens=[token])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP, usage=USAGE)
