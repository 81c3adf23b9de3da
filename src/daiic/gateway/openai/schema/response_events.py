"""POST /v1/responses: the events of a stream."""

import msgspec

from daiic.gateway.openai.schema.logprobs import TokenLogprob
from daiic.gateway.openai.schema.response import Response
from daiic.gateway.openai.schema.response_items import OutputItem, OutputText, ReasoningText


class ResponseEvent(msgspec.Struct, kw_only=True, tag_field="type"):
    """What every event has; `sequence_number` counts those of a stream."""

    sequence_number: int = 0


class ResponseCreated(ResponseEvent, tag="response.created"):
    """The model begins."""

    response: Response


class ResponseInProgress(ResponseEvent, tag="response.in_progress"):
    """The model goes on."""

    response: Response


class ResponseCompleted(ResponseEvent, tag="response.completed"):
    """The last event: the whole response."""

    response: Response


class ResponseIncomplete(ResponseEvent, tag="response.incomplete"):
    """The last event, if the answer was cut off."""

    response: Response


class ResponseFailed(ResponseEvent, tag="response.failed"):
    """The last event, if the answer broke off; `response.error` says why."""

    response: Response


class OutputItemAdded(ResponseEvent, tag="response.output_item.added"):
    """An item of the output begins."""

    output_index: int
    item: OutputItem


class OutputItemDone(ResponseEvent, tag="response.output_item.done"):
    """An item of the output is whole."""

    output_index: int
    item: OutputItem


class OfItem(ResponseEvent):
    """What every event about an item's content has."""

    item_id: str
    output_index: int


class ContentPartAdded(OfItem, tag="response.content_part.added"):
    """A part of an item's content begins."""

    part: OutputText | ReasoningText
    content_index: int = 0


class ContentPartDone(OfItem, tag="response.content_part.done"):
    """A part of an item's content is whole."""

    part: OutputText | ReasoningText
    content_index: int = 0


class OutputTextDelta(OfItem, tag="response.output_text.delta"):
    """What is added to the text."""

    delta: str
    logprobs: list[TokenLogprob] = []
    content_index: int = 0


class OutputTextDone(OfItem, tag="response.output_text.done"):
    """The whole text."""

    text: str
    logprobs: list[TokenLogprob] = []
    content_index: int = 0


class ReasoningDelta(OfItem, tag="response.reasoning_text.delta"):
    """What is added to the reasoning."""

    delta: str
    content_index: int = 0


class ReasoningDone(OfItem, tag="response.reasoning_text.done"):
    """The whole reasoning."""

    text: str
    content_index: int = 0


class ArgumentsDelta(OfItem, tag="response.function_call_arguments.delta"):
    """What is added to a call's arguments."""

    delta: str


class ArgumentsDone(OfItem, tag="response.function_call_arguments.done"):
    """The whole arguments of a call."""

    arguments: str
    name: str


EVENTS = (
    ResponseCreated,
    ResponseInProgress,
    OutputItemAdded,
    ContentPartAdded,
    OutputTextDelta,
    OutputTextDone,
    ReasoningDelta,
    ReasoningDone,
    ArgumentsDelta,
    ArgumentsDone,
    ContentPartDone,
    OutputItemDone,
    ResponseCompleted,
    ResponseIncomplete,
    ResponseFailed,
)
"""All of them, in the order in which they can come."""
