"""How the texts of Ollama's API are written down: as lines of JSON."""

import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from daiic.gateway.ollama.lines import Lines, line
from daiic.gateway.ollama.schema.answer import AnsweredCall, AnsweredFunction, AnswerMessage, Line
from daiic.gateway.openai.schema.logprobs import Logprobs
from daiic.gateway.rfc3339 import rfc3339
from daiic.gateway.text.tool_calls import complete_calls
from daiic.wire import daiic_pb2 as pb


class TextFormat(Lines):
    """The answer to one request, of a chat or of another text."""

    def __init__(self, model: str, *, is_chat: bool, shows_thinking: bool) -> None:
        self._model = model
        self._is_chat = is_chat
        self._shows_thinking = shows_thinking
        self._began = time.monotonic_ns()
        self._first = 0
        """When the first part came."""
        self._calls: list[pb.ToolCallPart] = []
        self._reason = "stop"

    def part(self, index: int, part: pb.Result) -> bytes:
        """See `AnswerFormat`; calls come at the end, as they are told whole."""
        self._note(part)
        lines = []
        shown = self._shows_thinking and part.reasoning
        if part.text or shown or part.logprobs:
            lines.append(self._line(part))
        if part.final and (calls := _calls(self._calls)):
            lines.append(self._line(pb.Result(), calls))
        return b"".join(lines)

    def end(self, usage: pb.Usage) -> bytes:
        """See `AnswerFormat`."""
        return self._line(pb.Result(), usage=usage)

    def whole(self, results: Sequence[pb.Result], usage: pb.Usage) -> bytes:
        """See `AnswerFormat`."""
        (result,) = results
        self._note(result)
        return self._line(result, _calls(self._calls), usage)

    def loaded(self) -> bytes:
        """Return the answer to a request that only has its model loaded."""
        self._reason = "load"
        return self._line(pb.Result(), usage=pb.Usage())

    def _note(self, part: pb.Result) -> None:
        if not self._first:
            self._first = time.monotonic_ns()
            self._model = part.model_name or self._model
        self._calls.extend(part.tool_calls)
        if part.finish_reason == pb.FINISH_REASON_LENGTH:
            self._reason = "length"

    def _line(
        self,
        part: pb.Result,
        calls: list[AnsweredCall] | None = None,
        usage: pb.Usage | None = None,
    ) -> bytes:
        """Return what `part` adds; with `usage`, it is the last of the answer."""
        thinking = part.reasoning if self._shows_thinking else ""
        logprobs = Logprobs.of(part)
        is_chat = self._is_chat
        told = Line(
            model=self._model,
            created_at=rfc3339(time.time()),
            done=usage is not None,
            message=(
                AnswerMessage("assistant", part.text, thinking, calls or []) if is_chat else UNSET
            ),
            response=UNSET if is_chat else part.text,
            thinking=UNSET if is_chat or not thinking else thinking,
            logprobs=UNSET if logprobs is None else logprobs.content,
        )
        if usage is not None:
            told = self._last(told, usage)
        return line(told)

    def _last(self, told: Line, usage: pb.Usage) -> Line:
        """Return `told` with what the answer took."""
        now = time.monotonic_ns()
        first = self._first or now
        return msgspec.structs.replace(
            told,
            done_reason=self._reason,
            total_duration=now - self._began,
            load_duration=0,
            prompt_eval_count=usage.prompt_tokens,
            prompt_eval_duration=first - self._began,
            eval_count=usage.completion_tokens,
            eval_duration=now - first,
        )


def _calls(parts: Sequence[pb.ToolCallPart]) -> list[AnsweredCall]:
    return [
        AnsweredCall(AnsweredFunction(call.name, msgspec.Raw(call.arguments.encode())))
        for call in complete_calls(parts)
    ]
