"""POST /v1/responses: the request."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import missing_parameter, unsupported_parameter
from daiic.gateway.limits import MESSAGES, TOOLS
from daiic.gateway.openai.schema.fields import Count, Effort
from daiic.gateway.openai.schema.response_items import InputItem
from daiic.gateway.openai.schema.sampling import SampledRequest, TopLogprobs
from daiic.gateway.openai.schema.tools import ToolName
from daiic.gateway.text.json_schema import schema_text
from daiic.wire import daiic_pb2 as pb

LOGPROBS = "message.output_text.logprobs"
"""What `include` says to get log probabilities."""


class ResponseTool(msgspec.Struct, frozen=True):
    """Something that the model may use: a `function`; `parameters` is a JSON Schema."""

    type: str
    name: ToolName | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedResponseTool(msgspec.Struct, frozen=True):
    """The one tool that the model must use."""

    type: str
    name: ToolName | None = None


class TextFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    """`text`, any JSON object, or JSON that satisfies a `schema`."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct, frozen=True):
    """What the text of the answer must be."""

    format: TextFormat | None = None


class ReasoningConfig(msgspec.Struct, frozen=True):
    """How much the model should think."""

    effort: Effort | None = None


class ResponseRequest(SampledRequest, frozen=True, kw_only=True):
    """POST /v1/responses."""

    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=MESSAGES)]
    instructions: str | None = None
    previous_response_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    store: bool | None = None
    tools: Annotated[list[ResponseTool], Meta(max_length=TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedResponseTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    max_output_tokens: Count | None = None
    include: Annotated[list[str], Meta(max_length=16)] | None = None
    top_logprobs: TopLogprobs | None = None
    metadata: (
        Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)] | None
    ) = None
    truncation: Literal["auto", "disabled"] | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    response_format: Any = None

    @property
    def limit(self) -> int:
        return self.max_output_tokens or 0

    @property
    def likeliest(self) -> int | None:
        asked = self.top_logprobs or LOGPROBS in (self.include or ())
        return self.top_logprobs or 0 if asked else None

    @property
    def constraint(self) -> tuple[pb.Constraint, str] | None:
        form = self.text.format if self.text else None
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return pb.Constraint(json=True), "text.format"
        where = "text.format.schema"
        if form.schema is None:
            raise missing_parameter(where)
        return pb.Constraint(json_schema=schema_text(form.schema, where)), where

    def check(self) -> None:
        super().check()
        refused = {
            "background": "every response is made while its client waits; leave it out",
            "conversation": "conversations are not kept by name; send previous_response_id",
            "prompt": "there are no prompt templates here; send input and instructions",
            "context_management": "conversations are never shortened; leave it out",
            "response_format": "in this API it is text.format",
        }
        for name, reason in refused.items():
            if getattr(self, name):
                raise unsupported_parameter(name, reason)
        if self.truncation == "auto":
            raise unsupported_parameter(
                "truncation", 'conversations are never shortened; send "disabled"'
            )
