"""POST /v1/chat/completions: the request."""

from typing import Annotated, Any

from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.limits import MESSAGES
from daiic.gateway.openai.schema.fields import Count, Effort
from daiic.gateway.openai.schema.messages import Message
from daiic.gateway.openai.schema.sampling import TopLogprobs
from daiic.gateway.openai.schema.text import TextRequest
from daiic.gateway.openai.schema.tools import ToolChoice, Tools


class ChatRequest(TextRequest, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MESSAGES)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    web_search_options: Any = None

    @property
    def limit(self) -> int:
        return self.max_completion_tokens or self.max_tokens or 0

    @property
    def likeliest(self) -> int | None:
        return self.top_logprobs or 0 if self.logprobs else None

    def check(self) -> None:
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "top_logprobs: send logprobs: true with it", param="top_logprobs")
        for name in ("functions", "function_call"):
            if getattr(self, name):
                raise unsupported_parameter(name, "it is the old form; send tools and tool_choice")
        if any(modality != "text" for modality in self.modalities or ()):
            raise unsupported_parameter("modalities", 'answers are "text" only')
        if self.web_search_options is not None:
            raise unsupported_parameter(
                "web_search_options", "workers search nothing; offer the model a tool that does"
            )
