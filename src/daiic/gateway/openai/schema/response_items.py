"""What goes into a response and comes out of it: messages, calls and their results, reasoning."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.limits import MESSAGES
from daiic.gateway.openai.schema.logprobs import TokenLogprob

Status = Literal["in_progress", "completed", "incomplete"]


class InputContent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of an item: "input_text" and "input_image" of others, "output_text" of the model.

    `image_url` is a data URL, or an http URL of a host that the gateway may fetch from.
    """

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None


Contents = Annotated[list[InputContent], Meta(max_length=MESSAGES)]


class InputItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item of the input.

    A "message", which is what it is without a `type`, has `role` and `content`; a
    "function_call" `call_id`, `name` and `arguments`; a "function_call_output" `call_id` and
    `output`; "reasoning" `content` or a `summary`.
    """

    type: str | None = None
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | Contents | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | Contents | None = None
    summary: Contents | None = None
    status: str | None = None


class OutputText(msgspec.Struct, frozen=True, tag_field="type", tag="output_text"):
    """What the model said."""

    text: str
    logprobs: list[TokenLogprob] = []
    annotations: list[dict[str, str]] = []


class ReasoningText(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning_text"):
    """What the model thought."""

    text: str


class OutputMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """The model's message."""

    id: str
    status: Status
    content: list[OutputText]
    role: Literal["assistant"] = "assistant"


class FunctionCall(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    """A call of a function; `arguments` is JSON."""

    id: str
    status: Status
    call_id: str
    name: str
    arguments: str


class Reasoning(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """What the model thought before it answered; there is no summary of it."""

    id: str
    status: Status
    content: list[ReasoningText]
    summary: list[ReasoningText] = []


OutputItem = OutputMessage | FunctionCall | Reasoning


class InputItems(msgspec.Struct, frozen=True):
    """The response of /v1/responses/<id>/input_items."""

    data: list[InputItem]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"
