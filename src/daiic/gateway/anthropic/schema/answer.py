"""Messages that models write, whole and as events."""

from typing import Any, Literal

import msgspec

from daiic.wire import daiic_pb2 as pb

StopReason = Literal["end_turn", "max_tokens", "tool_use"]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of the prompt that were computed, those that were there already, and the answer's."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0

    @classmethod
    def of(cls, usage: pb.Usage) -> "Usage":
        """Return what `usage` says."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        return cls(usage.prompt_tokens - cached, usage.completion_tokens, cached)


class TextBlock(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """What the model says."""

    text: str


class ThinkingBlock(msgspec.Struct, frozen=True, tag_field="type", tag="thinking"):
    """What the model thinks. Nothing here is signed; clients send it back as it came."""

    thinking: str
    signature: str = ""


class ToolUseBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    input: msgspec.Raw | dict[str, Any]


Block = TextBlock | ThinkingBlock | ToolUseBlock


class Message(msgspec.Struct, frozen=True):
    """An answer; `stop_reason` is not known before its end."""

    id: str
    model: str
    content: list[Block]
    usage: Usage
    stop_reason: StopReason | None = None
    stop_sequence: None = None
    role: Literal["assistant"] = "assistant"
    type: Literal["message"] = "message"


class MessageStart(msgspec.Struct, frozen=True, tag_field="type", tag="message_start"):
    """Begins a stream; what the prompt took is told at its end."""

    message: Message


class BlockStart(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_start"):
    """Begins the block `index`, which is empty so far."""

    index: int
    content_block: Block


class TextDelta(msgspec.Struct, frozen=True, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    """More of what the model thinks."""

    thinking: str


class InputDelta(msgspec.Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    """More of the JSON of a call's input."""

    partial_json: str


Delta = TextDelta | ThinkingDelta | InputDelta


class BlockDelta(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """More of the block `index`."""

    index: int
    delta: Delta


class BlockStop(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    """Ends the block `index`."""

    index: int


class Ending(msgspec.Struct, frozen=True):
    """Why an answer ended."""

    stop_reason: StopReason
    stop_sequence: None = None


class MessageDelta(msgspec.Struct, frozen=True, tag_field="type", tag="message_delta"):
    """Comes before the end of a stream, with what all of it took."""

    delta: Ending
    usage: Usage


class MessageStop(msgspec.Struct, frozen=True, tag_field="type", tag="message_stop"):
    """Ends a stream."""


class TokenCount(msgspec.Struct, frozen=True):
    """How many tokens a prompt has."""

    input_tokens: int


_REASONS: dict[int, StopReason] = {
    pb.FINISH_REASON_LENGTH: "max_tokens",
    pb.FINISH_REASON_TOOL_CALLS: "tool_use",
}


def stop_reason(result: pb.Result) -> StopReason:
    """Return why an answer ended; workers do not tell which stop sequence it was, if any."""
    return _REASONS.get(result.finish_reason, "end_turn")
