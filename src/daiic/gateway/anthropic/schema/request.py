"""POST /v1/messages and /v1/messages/count_tokens: the requests."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.anthropic.schema.blocks import MessageParam, SystemBlock
from daiic.gateway.http.errors import unsupported_parameter
from daiic.gateway.limits import MESSAGES, TOOLS
from daiic.gateway.openai.schema.fields import Count, Effort, ModelName
from daiic.gateway.openai.schema.sampling import Probability, StopText, TopK
from daiic.gateway.openai.schema.tools import ToolName


class Tool(msgspec.Struct, frozen=True):
    """A tool of the client's own, a "custom" one; `input_schema` is a JSON Schema."""

    name: ToolName
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    type: str | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """What the model may do with the tools: "any" demands a call, "tool" one of `name`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct, frozen=True):
    """Whether the client wants to see what the model thinks; the model decides how long it does."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """A JSON Schema that the text of the answer keeps to."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, frozen=True):
    """How hard the model should think, as its chat template knows it, and what it writes."""

    effort: Effort | None = None
    format: OutputFormat | None = None


class CountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/messages/count_tokens: what a prompt is made of."""

    model: ModelName
    messages: Annotated[list[MessageParam], Meta(min_length=1, max_length=MESSAGES)]
    system: str | Annotated[list[SystemBlock], Meta(max_length=MESSAGES)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    mcp_servers: list[Any] | None = None

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if self.mcp_servers:
            raise unsupported_parameter(
                "mcp_servers", "the gateway calls no servers; call them yourself, and offer tools"
            )
        if self.messages[-1].role == "assistant":
            raise unsupported_parameter(
                f"messages[{len(self.messages) - 1}].role",
                "an answer that is begun is not continued; end with a message of the user",
            )


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Count
    stream: bool | None = None
    stop_sequences: Annotated[list[StopText], Meta(max_length=16)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None

    @property
    def shows_thinking(self) -> bool:
        """Whether the answer tells what the model thinks."""
        thinking = self.thinking
        return thinking is None or (thinking.type != "disabled" and thinking.display != "omitted")
